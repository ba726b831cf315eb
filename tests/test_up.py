"""`manage.py up`: the whole service starts, says what is wrong in one line, and ends without a trace."""

import fcntl
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from tests.processes import HOST, ROOT, alive, descendants, free_port, wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

READY_SECONDS, STOP_SECONDS, KILLED_SECONDS = 60, 30, 5


class Up:
    """A run of the command with `var` as its directory."""

    def __init__(self, var: Path, port: int | None = None, environment: Mapping[str, str] | None = None) -> None:
        self.port = port or free_port()
        self.output_path = var.parent / "up.out"
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("CACHE_", "DATABASE_"))}
        command = [sys.executable, "manage.py", "up", "--port", str(self.port)]
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**ours, "CACHE_VAR_DIR": str(var), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    @property
    def output(self) -> str:
        return self.output_path.read_text()

    @property
    def error(self) -> str:
        """What it said on failing: exactly one line."""
        [line] = [line for line in self.output.splitlines() if line.startswith("CommandError: ")]
        assert "Traceback" not in self.output
        return line

    def wait(self) -> int:
        return self.process.wait(STOP_SECONDS)

    def children(self) -> dict[str, int]:
        """Its direct children's pids by name."""
        names = {"granian": "server", "worker": "worker", "beat": "beat", "-D": "database"}
        found = {}
        for pid in descendants(self.process.pid):
            with suppress(FileNotFoundError, ProcessLookupError):  # a short-lived one of theirs
                if f"\nPPid:\t{self.process.pid}\n" in Path(f"/proc/{pid}/status").read_text():
                    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
                    found[next(name for word, name in names.items() if word in words)] = pid
        return found


@contextmanager
def running_up(var: Path) -> Iterator[Up]:
    """A run that is ready. Whatever the test does to it, nothing of it is left afterwards."""
    up = Up(var)
    started: set[int] = set()
    try:
        wait_for(lambda: "Ready." in up.output or up.process.poll() is not None, READY_SECONDS, "ready")
        assert "Ready." in up.output, up.output
        started = descendants(up.process.pid)
        yield up
    finally:
        if up.process.poll() is None:
            started |= descendants(up.process.pid)
            up.process.terminate()
            up.wait()
        wait_for(lambda: not any(map(alive, started)), KILLED_SECONDS, "the end of all that it started")


def request(up: Up, method: str, api_key: str, **arguments: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {api_key}"}
    return httpx.request(method, f"http://{HOST}:{up.port}/api/v1/cache/greeting", headers=headers, **arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The directory of a first run, which made the database (later starts take a fraction of its time) and put
    `greeting`; and the API key that it showed."""
    var = tmp_path_factory.mktemp("first") / "var"
    with running_up(var) as up:
        [api_key] = set(re.findall(r"ck_live_\w+", up.output))
        assert request(up, "PUT", api_key, json={"value": "hello"}).status_code == 201
    return var, api_key


@pytest.fixture
def var(first: tuple[Path, str], tmp_path: Path) -> Path:
    return Path(shutil.copytree(first[0], tmp_path / "var"))


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_stops_everything(var: Path, signum: signal.Signals) -> None:
    with running_up(var) as up:
        assert set(up.children()) == {"server", "worker", "beat", "database"}
        started = descendants(up.process.pid)
        up.process.send_signal(signum)
        assert up.wait() == 0
        assert not any(map(alive, started))
        assert up.output.endswith("Stopped.\n")
        assert (var / "up.lock").read_text() == ""


def test_signal_during_the_start_stops_everything(tmp_path: Path) -> None:
    up = Up(tmp_path / "var")
    wait_for(lambda: "Applying migrations" in up.output, READY_SECONDS, "migrating")
    started = descendants(up.process.pid)
    up.process.terminate()
    assert up.wait() == 0
    assert not any(map(alive, started))


def test_second_start_keeps_data_and_key(var: Path, first: tuple[Path, str]) -> None:
    _, api_key = first
    with running_up(var) as up:
        assert "ck_live_" not in up.output
        assert "manage.py create_api_key demo" in up.output
        answer = request(up, "GET", api_key)
        assert answer.json()["hit"], answer.text
        assert answer.json()["value"] == "hello"


def test_secrets_are_private(first: tuple[Path, str]) -> None:
    for name, characters in (("secret.key", 50), ("master.key", 44)):  # 32 bytes in base 64
        secret = first[0] / name
        assert secret.stat().st_mode & 0o777 == 0o600
        assert len(secret.read_text().strip()) >= characters


def test_killed_run_leaves_nothing_and_is_taken_over(var: Path) -> None:
    with running_up(var) as up:
        started = descendants(up.process.pid)
        up.process.kill()
        up.wait()
        wait_for(lambda: not any(map(alive, started)), KILLED_SECONDS, "the end of the killed run's processes")
        killed = up.process.pid
    with running_up(var) as up:
        assert f"Taking over from a run that was killed (pid {killed})\n" in up.output


def test_killed_run_is_taken_over_at_once(var: Path) -> None:
    with running_up(var) as up:
        up.process.kill()
        up.wait()
        with running_up(var):
            pass


@pytest.mark.parametrize("name", ["server", "worker", "beat", "database"])
def test_dying_child_ends_the_run(var: Path, name: str) -> None:
    with running_up(var) as up:
        started = descendants(up.process.pid)
        os.kill(up.children()[name], signal.SIGKILL)
        assert up.wait() == 1
        assert up.error.startswith(f"CommandError: the {name} stopped (SIGKILL): ")
        wait_for(lambda: not any(map(alive, started)), KILLED_SECONDS, "the end of the others")


def test_taken_port_is_one_line_and_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as listener:
        port = listener.getsockname()[1]
        up = Up(tmp_path / "var", port)
        assert up.wait() == 1
    assert f"{HOST} port {port}: Address already in use" in up.error
    assert f"make run PORT={port + 1}" in up.error
    assert not (tmp_path / "var" / "postgres").exists()


def test_held_lock_is_one_line_with_the_pid(tmp_path: Path) -> None:
    var = tmp_path / "var"
    var.mkdir()
    with (var / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("12345\n")
        lock.flush()
        up = Up(var)
        assert up.wait() == 1
    assert "already running, with pid 12345" in up.error


def test_directory_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    file = tmp_path / "var"
    file.write_text("")
    up = Up(tmp_path / "any", environment={"CACHE_VAR_DIR": str(file / "var")})
    assert up.wait() == 1
    assert f"cannot write to {file / 'var'}: Not a directory" in up.error


def test_lost_master_key_is_one_line_and_no_new_key_is_made(tmp_path: Path) -> None:
    (tmp_path / "var" / "postgres").mkdir(parents=True)
    up = Up(tmp_path / "var")
    assert up.wait() == 1
    assert "master.key is gone" in up.error
    assert not (tmp_path / "var" / "master.key").exists()


def test_production_settings_are_refused(tmp_path: Path) -> None:
    production = {"DATABASE_URL": "postgresql:///x", "CACHE_SECRET_KEY": secrets.token_hex(25), "CACHE_MASTER_KEY": "x"}
    up = Up(tmp_path / "var", environment=production)
    assert up.wait() == 1
    assert "DATABASE_URL is set" in up.error
