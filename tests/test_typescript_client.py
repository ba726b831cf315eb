"""The TypeScript client against the real service: its own tests, which node runs.

One test, since what it installs and compiles lies in one place. Not on a machine without Node, which the service itself
does not need.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from hashlib import sha256

import pytest

from tests.cast import new_caller
from tests.processes import ROOT, RunningServer

PACKAGE = ROOT / "clients" / "typescript"
OLDEST_NODE = 20
INSTALL_SECONDS, COMPILE_SECONDS, TEST_SECONDS = 300, 120, 180
LEAST_TESTS = 190


def test_its_own_tests_pass(server: RunningServer) -> None:
    _require_node()
    _install()
    _run(["npx", "--no-install", "tsc"], COMPILE_SECONDS)
    shutil.rmtree(PACKAGE / "dist-test", ignore_errors=True)  # tests that are no more
    _run(["npx", "--no-install", "tsc", "-p", "test"], COMPILE_SECONDS)
    files = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.glob("dist-test/test/*.test.js"))
    environment = {"CACHE_URL": server.url, "CACHE_API_KEY": new_caller().token}
    output = _run(["node", "--test", "--test-reporter=tap", *files], TEST_SECONDS, environment)
    counts = {name: int(count) for name, count in re.findall(r"(?m)^# (\w+) (\d+)$", output)}
    assert counts["pass"] == counts["tests"] >= LEAST_TESTS, counts


def _require_node() -> None:
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip(f"Node is not installed; the TypeScript client's tests need Node {OLDEST_NODE} or newer with npm")
    version = _run(["node", "--version"], 60).strip()
    if int(version.removeprefix("v").partition(".")[0]) < OLDEST_NODE:
        pytest.skip(f"Node is {version}; the TypeScript client's tests need Node {OLDEST_NODE} or newer")


def _install() -> None:
    """The locked versions of the compiler and the types, unless they are there already."""
    stamp = PACKAGE / "node_modules" / ".lock.sha256"
    locked = sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != locked:
        _run(["npm", "ci", "--ignore-scripts", "--prefer-offline", "--no-audit", "--no-fund"], INSTALL_SECONDS)
        stamp.write_text(locked)


def _run(command: list[str], seconds: float, environment: Mapping[str, str] | None = None) -> str:
    """What the command prints. Fails with all of it when the command does."""
    done = subprocess.run(
        command,
        cwd=PACKAGE,
        env={**os.environ, **(environment or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
    )
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}"
    return done.stdout
