"""deploy/docker: the Dockerfile's rules, and what its context holds. Its steps are run by `make image-steps`."""

import re
import subprocess
from pathlib import Path

import pytest

from tests import dockerfile, image_steps
from tests.deployed import DEPLOY
from tests.dockerfile import Copy, Run, Unknown
from tests.processes import ROOT

BUILD, IMAGE = dockerfile.read()
RUNS = [step.command for stage in (BUILD, IMAGE) for step in stage.steps if isinstance(step, Run)]
COPIES = [step for stage in (BUILD, IMAGE) for step in stage.steps if isinstance(step, Copy)]


def test_packages_are_installed_by_hash_from_the_lock_with_all_extras() -> None:
    installs = [command for command in RUNS if "pip install" in command]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert "--only-binary :all:" in installs[0]
    assert installs[0].endswith("-r /build/requirements-extras.lock")
    lock = (ROOT / "requirements-extras.lock").read_text()
    pinned = re.findall(r"^[a-z0-9._-]+(?:\[[a-z0-9,_-]+\])?==\S+.*?(?=^\S|\Z)", lock, re.MULTILINE | re.DOTALL)
    assert len(pinned) > 50
    assert [each.split()[0] for each in pinned if "--hash=sha256:" not in each] == []


def test_it_runs_as_nobody_in_particular_and_by_number() -> None:
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", IMAGE.user)
    assert f"--uid {IMAGE.user.partition(':')[0]} " in " ".join(RUNS)


def test_process_1_passes_signals_on_and_the_command_is_one_of_starts() -> None:
    assert IMAGE.entrypoint == ["/usr/bin/tini", "--", "/srv/cacheservice/deploy/start"]
    assert IMAGE.command[0] == "server"
    assert IMAGE.stop_signal == "SIGTERM"


def test_the_health_check_is_the_standard_librarys_and_asks_for_readiness() -> None:
    assert IMAGE.health_command == ["python", "deploy/healthy"]
    text = (DEPLOY / "docker" / "healthy").read_text()
    assert set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE)) <= {"os", "pathlib", "sys", "time", "urllib"}
    assert f"http://127.0.0.1:{IMAGE.ports[0]}/readyz" in text
    assert int(IMAGE.health_options["timeout"].removesuffix("s")) > 4  # which the request may take


def test_no_secret_gets_into_a_layer() -> None:
    """pip's configuration is mounted for its step alone; no argument and no file has one."""
    [install] = [step for step in BUILD.steps if isinstance(step, Run) and step.secrets]
    assert install.secrets == {"pip": "/etc/pip.conf"}
    text = dockerfile.PATH.read_text()
    assert re.findall(r"^ARG (\w+)", text, re.MULTILINE) == ["BASE"]
    assert not re.search(r"password=|token=|://", re.sub(r"^#.*$", "", text, flags=re.MULTILINE))


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    allowed = {line[1:] for line in rules if line.startswith("!")}
    copied = {source for copy in COPIES if copy.stage is None for source in copy.sources}
    assert copied == allowed
    assert all((ROOT / source).exists() for source in copied)
    assert all(image_steps.in_context(source) for source in copied)
    assert not any(map(image_steps.in_context, ("var", ".git", "deploy/compose/secrets", "accountsx", "tests")))


def test_every_package_of_ours_is_copied() -> None:
    copied = {source for copy in COPIES if copy.stage is None for source in copy.sources}
    ours = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "bench"}
    assert ours < copied


def test_start_knows_its_processes_and_refuses_others() -> None:
    text = (DEPLOY / "start").read_text()
    assert re.findall(r"^(\w+)\)$", text, re.MULTILINE) == ["server", "worker", "beat", "migrate", "manage"]
    done = subprocess.run([DEPLOY / "start", "sever"], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (
        64,
        "start: server, worker, beat, migrate or manage, not 'sever'\n",
    )


@pytest.mark.parametrize(
    "line", ["ADD x /", 'RUN ["true"]', "COPY --chown=1 x /", "COPY *.py /", 'SHELL ["sh"]', "ENV A=$B"]
)
def test_what_the_reader_does_not_know_it_refuses(line: str, tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text(f"FROM x\n{line}\n")
    with pytest.raises(Unknown):
        dockerfile.read(path)
