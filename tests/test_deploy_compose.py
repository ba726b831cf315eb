"""deploy/compose: the file's structure, that its parts fit together, and what its containers may do.

There is no container engine where the tests run: the file is checked against what the compose specification says of
what it uses, and never started.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests import dockerfile
from tests.deployed import DEPLOY, documents, unknown_variables

[COMPOSE] = documents("compose/compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = ("migrate", "server", "worker", "beat")
# Of the compose specification's attributes of a service, those that this file uses.
ATTRIBUTES = {
    "build", "cap_add", "cap_drop", "command", "depends_on", "environment", "healthcheck", "image", "logging",
    "mem_limit", "networks", "pids_limit", "ports", "read_only", "restart", "secrets", "security_opt", "shm_size",
    "stop_grace_period", "stop_signal", "tmpfs", "ulimits", "user", "volumes",
}  # fmt: skip
HEALTHCHECK = {"test", "interval", "timeout", "retries", "start_period", "disable"}
CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}
DURATION = re.compile(r"\d+(us|ms|s|m|h)")
MEMORY = re.compile(r"\d+[bkmg]")


def test_its_structure_is_that_of_the_specification() -> None:
    assert {key for key in COMPOSE if not key.startswith("x-")} == {
        "name",
        "services",
        "networks",
        "volumes",
        "secrets",
    }
    for name, service in SERVICES.items():
        assert set(service) <= ATTRIBUTES, name
        assert isinstance(service.get("command", []), list)
        assert all(isinstance(each, str) for each in service.get("command", []))
        assert all(isinstance(value, str) for value in service.get("environment", {}).values()), name
        health = service.get("healthcheck", {})
        assert set(health) <= HEALTHCHECK
        assert all(DURATION.fullmatch(health[key]) for key in ("interval", "timeout", "start_period") if key in health)
        assert health.get("test", ["CMD"])[0] in ("CMD", "CMD-SHELL")
        assert MEMORY.fullmatch(service["mem_limit"])
        assert DURATION.fullmatch(service.get("stop_grace_period", "1s"))
        for needed, how in service.get("depends_on", {}).items():
            assert needed in SERVICES
            assert how["condition"] in CONDITIONS
            if how["condition"] == "service_healthy":
                assert (
                    SERVICES[needed].get("healthcheck", {}).get("test") or needed == "server"
                )  # which has the image's
            if how["condition"] == "service_completed_successfully":
                assert SERVICES[needed]["restart"] == "on-failure"


def test_what_is_named_is_declared_and_what_is_declared_is_used() -> None:
    for kind in ("networks", "secrets"):
        used = {each for service in SERVICES.values() for each in service.get(kind, [])}
        assert used == set(COMPOSE[kind]), kind
    mounted = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    sources = {volume.split(":")[0] for volume in mounted}
    assert {source for source in sources if not source.startswith(".")} == set(COMPOSE["volumes"])
    for source in sources:
        if source.startswith("."):
            assert (DEPLOY / "compose" / source).exists()
    assert (
        DEPLOY / "compose" / SERVICES["server"]["build"]["context"] / SERVICES["server"]["build"]["dockerfile"]
    ).exists()


def test_every_variable_is_a_setting_and_every_secret_a_file() -> None:
    for name in OURS:
        environment = SERVICES[name]["environment"]
        assert unknown_variables(list(environment)) == []
        files = {Path(value) for variable, value in environment.items() if variable.endswith("_FILE")}
        assert files == {Path("/run/secrets") / secret for secret in SERVICES[name]["secrets"]}
    text = (DEPLOY / "compose" / "compose.yaml").read_text()
    assert set(re.findall(r"\$\{([A-Z_]+)", text)) == {
        "SERVICE_HOST", "OPERATOR_EMAIL", "SMTP_HOST", "EMAIL_FROM", "IMAGE_TAG"
    }  # fmt: skip
    assert not re.search(r"://[^/\s$]*:[^/\s$]*@", text)
    caddy = (DEPLOY / "Caddyfile").read_text()
    assert set(SERVICES["caddy"]["environment"]) == set(re.findall(r"\{\$([A-Z_]+)", caddy))


def test_containers_may_do_nothing_more_than_they_must() -> None:
    for name, service in SERVICES.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"]
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "caddy" else [])
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["pids_limit"] > 0
    uid = dockerfile.read()[-1].user.partition(":")[0]
    var = dockerfile.read()[-1].environment["CACHE_VAR_DIR"]
    for name in OURS:
        places = [*SERVICES[name]["tmpfs"], *(each.partition(":")[2] for each in SERVICES[name].get("volumes", []))]
        assert {each.partition(":")[0] for each in places} == {"/tmp", var}
        assert all(f"uid={uid}" in each for each in SERVICES[name]["tmpfs"] if each.startswith(var))


def test_only_caddy_is_reached_from_outside_and_only_it_is_believed() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["caddy"]
    assert {name for name, service in SERVICES.items() if "front" in service["networks"]} == {"caddy", "server"}
    assert set(SERVICES["caddy"]["networks"]) & set(SERVICES["server"]["networks"]) == {"front"}, "no other way there"
    assert COMPOSE["networks"]["front"]["internal"] is COMPOSE["networks"]["data"]["internal"] is True
    [network] = COMPOSE["networks"]["front"]["ipam"]["config"]
    assert SERVICES["server"]["environment"]["CACHE_TRUSTED_PROXIES"] == network["subnet"]


def test_commands_are_starts_and_the_server_has_the_time_to_end() -> None:
    text = (DEPLOY / "start").read_text()
    assert {SERVICES[name]["command"][0] for name in OURS} <= set(re.findall(r"^(\w+)\)$", text, re.MULTILINE))
    words = text.split()
    wait = int(words[words.index("--workers-kill-timeout") + 1])
    drain = int(SERVICES["server"]["environment"]["CACHE_DRAIN_SECONDS"])
    assert drain + wait < int(SERVICES["server"]["stop_grace_period"].removesuffix("s"))


def test_secrets_are_made_once_and_each_for_its_reader(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: make-secrets gives files to the containers' users")
    script = tmp_path / "make-secrets"
    script.write_text((DEPLOY / "compose" / "make-secrets").read_text())
    done = [subprocess.run(["sh", script], capture_output=True, text=True, timeout=30) for _ in range(2)]
    assert [each.returncode for each in done] == [0, 1]
    assert "made already" in done[1].stderr
    made = {path.name: path.stat() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(COMPOSE["secrets"])
    assert {status.st_mode & 0o777 for status in made.values()} == {0o400}
    uid = int(dockerfile.read()[-1].user.partition(":")[0])
    assert {made[secret].st_uid for secret in SERVICES["server"]["secrets"]} == {uid}
    assert {made[secret].st_uid for name in ("postgres", "redis") for secret in SERVICES[name]["secrets"]} == {999}


def test_the_containers_files_are_its_secrets() -> None:
    assert {name: each["file"] for name, each in COMPOSE["secrets"].items()} == {
        name: f"./secrets/{name}" for name in COMPOSE["secrets"]
    }
    assert "/secrets/" in (DEPLOY / "compose" / ".gitignore").read_text().splitlines()
