"""deploy/systemd: systemd itself takes every unit, and each is confined as docs/deploy/systemd.md says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.deployed import DEPLOY, unknown_variables
from tests.processes import ROOT

UNITS = DEPLOY / "systemd"
NAMES = sorted(path.name for path in UNITS.glob("*.service"))
EXPOSURE = 16  # tenths of 10, which is the most that systemd-analyze security gives
DOCS = ROOT / "docs" / "deploy" / "systemd.md"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units beside each other, with the place of this checkout in that of /srv/cacheservice."""
    shutil.copytree(UNITS, tmp_path, dirs_exist_ok=True)
    for path in tmp_path.rglob("*.*"):
        if path.is_file():
            path.write_text(path.read_text().replace("/srv/cacheservice", str(ROOT)))
    return tmp_path


def analyze(*arguments: str, directory: Path) -> str:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here: apt-get install systemd")
    command = ["systemd-analyze", *arguments]
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_it(name: str, installed: Path) -> None:
    assert analyze("verify", "--man=no", f"./{name}", directory=installed) == ""


@pytest.mark.parametrize("name", NAMES)
def test_it_is_confined(name: str, installed: Path) -> None:
    told = analyze(
        "security", "--offline=true", f"--threshold={EXPOSURE}", "--no-pager", f"./{name}", directory=installed
    )
    score = re.search(r"exposure level for \S+: ([0-9.]+)", told)
    assert score is not None
    assert f"{score[1]} of 10" in DOCS.read_text()


def test_what_they_run_is_one_of_starts_processes() -> None:
    known = re.findall(r"^(\w+)\)$", (DEPLOY / "start").read_text(), re.MULTILINE)
    for name in NAMES:
        [command] = re.findall(
            r"^ExecStart=/srv/cacheservice/deploy/start (\w+)", (UNITS / name).read_text(), re.MULTILINE
        )
        assert command in known
        template = "@" if command == "server" else ""  # of which there may be several on a machine, a port each
        assert name == f"cacheservice-{command}{template}.service"
        assert f"`{name.removesuffix('.service')}" in DOCS.read_text()


def test_variables_are_settings_here_and_in_the_docs() -> None:
    text = "".join(path.read_text() for path in UNITS.rglob("*") if path.is_file())
    given = re.findall(r"\b(CACHE_[A-Z_]+|CELERY_[A-Z_]+|DATABASE_URL)=", text + DOCS.read_text())
    assert "CACHE_VAR_DIR" in given
    assert unknown_variables(given) == []
