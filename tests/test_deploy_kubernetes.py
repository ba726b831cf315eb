"""deploy/kubernetes: every manifest is valid, they fit together, and they hold what Pod Security calls `restricted`."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from tests import dockerfile
from tests.deployed import DEPLOY, documents, unknown_variables

KUBERNETES = DEPLOY / "kubernetes"
BASE, OVERLAY = KUBERNETES / "base", KUBERNETES / "overlays" / "example"
VERSIONS = ("1.29", kubernetes_validate.latest_version())
WORKLOADS = ("Deployment", "Job")


def manifests(directory: Path) -> list[Any]:
    """What a kustomization lists, its bases included, as kustomize reads them; patches are not applied."""
    kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
    found: list[Any] = []
    for resource in kustomization["resources"]:
        path = (directory / resource).resolve()
        found += manifests(path) if path.is_dir() else documents(str(path.relative_to(DEPLOY)))
    return found


ALL = manifests(OVERLAY)


def of_kind(*kinds: str) -> list[Any]:
    return [manifest for manifest in ALL if manifest["kind"] in kinds]


def pods() -> list[Any]:
    return [workload["spec"]["template"] for workload in of_kind(*WORKLOADS)]


def containers() -> list[Any]:
    return [container for pod in pods() for container in pod["spec"]["containers"]]


def name(manifest: Any) -> str:
    return f"{manifest['kind']}/{manifest['metadata']['name']}"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", ALL, ids=name)
def test_it_is_valid(manifest: Any, version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_every_file_is_listed_and_no_resource_twice() -> None:
    for directory in (BASE, OVERLAY):
        kustomization = yaml.safe_load((directory / "kustomization.yaml").read_text())
        listed = {*kustomization["resources"], *(patch["path"] for patch in kustomization.get("patches", ()))}
        files = {path.name for path in directory.glob("*.yaml")} - {"kustomization.yaml"}
        assert {each for each in listed if each.endswith(".yaml")} == files
    names = [name(manifest) for manifest in ALL]
    assert len(names) == len(set(names))


def test_kustomize_builds_what_is_listed() -> None:
    """By kubectl's own kustomize: one namespace, the image's name, the overlay's settings beside the base's."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here: apt-get install kubernetes-client")
    built = subprocess.run(["kubectl", "kustomize", str(OVERLAY)], capture_output=True, check=True, timeout=60)
    objects = list(yaml.safe_load_all(built.stdout))
    assert sorted(map(name, objects)) == sorted(map(name, ALL))
    for each in objects:
        kubernetes_validate.validate(each, VERSIONS[-1], strict=True)
        if each["kind"] != "Namespace":
            assert each["metadata"]["namespace"] == "cacheservice"
        if each["kind"] in WORKLOADS:
            [container] = each["spec"]["template"]["spec"]["containers"]
            assert container["image"] == "registry.example.com/cacheservice:0.1.0"
    [settings] = [each["data"] for each in objects if each["kind"] == "ConfigMap"]
    assert {"DATABASE_URL_FILE", "CACHE_PUBLIC_URL"} <= set(settings)


def test_selectors_find_the_pods_that_they_mean() -> None:
    labels = {pod["metadata"]["labels"]["app.kubernetes.io/component"]: pod["metadata"]["labels"] for pod in pods()}
    assert sorted(labels) == ["beat", "migrate", "server", "worker"]

    def found(selector: dict[str, str]) -> set[str]:
        return {component for component, own in labels.items() if selector.items() <= own.items()}

    for deployment in of_kind("Deployment"):
        own = deployment["spec"]["template"]["metadata"]["labels"]
        assert found(deployment["spec"]["selector"]["matchLabels"]) == {own["app.kubernetes.io/component"]}
    [service] = of_kind("Service")
    assert found(service["spec"]["selector"]) == {"server"}
    [budget] = of_kind("PodDisruptionBudget")
    assert found(budget["spec"]["selector"]["matchLabels"]) == {"server"}
    closed, opened = of_kind("NetworkPolicy")
    assert found(closed["spec"]["podSelector"]["matchLabels"]) == set(labels)
    assert "ingress" not in closed["spec"]
    assert found(opened["spec"]["podSelector"]["matchLabels"]) == {"server"}
    [scaler] = of_kind("HorizontalPodAutoscaler")
    assert scaler["spec"]["scaleTargetRef"]["name"] == "cacheservice-server"
    assert scaler["spec"]["minReplicas"] >= 2


def test_ports_are_named_alike_from_the_ingress_to_the_probes() -> None:
    [service], [ingress] = of_kind("Service"), of_kind("Ingress")
    [path] = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": service["metadata"]["name"], "port": {"name": "http"}}
    assert [port["targetPort"] for port in service["spec"]["ports"]] == ["http"]
    [server] = [container for container in containers() if container["name"] == "server"]
    [port] = server["ports"]
    assert (port["name"], [str(port["containerPort"])]) == ("http", dockerfile.read()[-1].ports)
    probes = {probe: server[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} == {"http"}
    assert [probe["path"] for probe in probes.values()] == ["/healthz", "/healthz", "/readyz"]
    assert [rule["ports"] for rule in of_kind("NetworkPolicy")[1]["spec"]["ingress"]] == [
        [{"protocol": "TCP", "port": "http"}]
    ]


def test_pods_are_restricted() -> None:
    """The Pod Security Standard of that name, a read-only root, no token of Kubernetes, bounded memory."""
    [account] = of_kind("ServiceAccount")
    uid = int(dockerfile.read()[-1].user.partition(":")[0])
    for pod in pods():
        spec = pod["spec"]
        assert spec["serviceAccountName"] == account["metadata"]["name"]
        assert spec["automountServiceAccountToken"] is account["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == uid
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is context["privileged"] is False
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} <= set(container["resources"]["requests"])
            assert "memory" in container["resources"]["limits"]


def test_settings_are_ours_and_secrets_come_by_reference() -> None:
    [settings] = of_kind("ConfigMap")
    patch = yaml.safe_load((OVERLAY / "settings.yaml").read_text())
    assert patch["metadata"]["name"] == settings["metadata"]["name"]
    given = {**settings["data"], **patch["data"]}
    assert unknown_variables(list(given)) == []
    files = [value for variable, value in given.items() if variable.endswith("_FILE")]
    assert {Path(each).parent for each in files} == {Path("/run/secrets/cacheservice")}
    assert of_kind("Secret") == []
    comment = (OVERLAY / "kustomization.yaml").read_text()
    assert [each for each in files if f"--from-file={Path(each).name}" not in comment] == []
    for container in containers():
        assert container["envFrom"] == [{"configMapRef": {"name": settings["metadata"]["name"]}}]
        assert "env" not in container


def test_what_is_mounted_is_there_and_what_the_image_writes_can_be_written() -> None:
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        [container] = pod["spec"]["containers"]
        mounts = {mount["mountPath"]: mount for mount in container["volumeMounts"]}
        assert {mount["name"] for mount in mounts.values()} == set(volumes)
        assert {"/tmp", dockerfile.read()[-1].environment["CACHE_VAR_DIR"]} < set(mounts)
        secrets = volumes[mounts["/run/secrets/cacheservice"]["name"]]["secret"]
        assert mounts["/run/secrets/cacheservice"]["readOnly"] is True
        assert secrets["defaultMode"] & 0o007 == 0, "manage.py check: cacheservice.E012"


def test_a_server_has_the_time_to_end() -> None:
    """Drain, then what is under way, as deploy/start has granian wait; and readiness is noticed within the drain."""
    [settings] = of_kind("ConfigMap")
    [server] = [each for each in of_kind("Deployment") if each["metadata"]["name"] == "cacheservice-server"]
    drain = int(settings["data"]["CACHE_DRAIN_SECONDS"])
    spec = server["spec"]["template"]["spec"]
    words = (DEPLOY / "start").read_text().split()
    assert drain + int(words[words.index("--workers-kill-timeout") + 1]) < spec["terminationGracePeriodSeconds"]
    probe = spec["containers"][0]["readinessProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] < drain
    assert server["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_one_beat_at_most() -> None:
    [beat] = [each for each in of_kind("Deployment") if each["metadata"]["name"] == "cacheservice-beat"]
    assert (beat["spec"]["replicas"], beat["spec"]["strategy"]) == (1, {"type": "Recreate"})
