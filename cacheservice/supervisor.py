"""What `manage.py up` is made of: one run at a time, children that end with it, and signals that stop it in order."""

import fcntl
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Self

from cacheservice.embedded import die_with_parent, telling_line

STOP_SECONDS = 10.0
LOOK_SECONDS = 0.2
CONNECTIONS = 4096  # of clients a server process takes, idle ones too; granian takes 1,024 unless it is told
IDLE_SECONDS = 30  # without a whole request head on a connection: then the server closes it
GRANIAN_LOGS = Path(__file__).with_name("granian.json")  # its main process's lines, as JSON
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failed(Exception):
    """The run cannot start or go on; the message is one line that says why and what to do."""


class StopRequested(BaseException):
    """A signal asks for the end. Not an Exception, so that no library on the way takes it for one of its own."""


class Child:
    """A program that runs beside us: `name` for messages, its process, and the log that it writes."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log_path: Path, log_start: int = 0) -> None:
        self.name, self.process, self.log_path, self._log_start = name, process, log_path, log_start

    @classmethod
    def start(
        cls,
        name: str,
        command: list[str],
        *,
        log_path: Path,
        directory: Path,
        environment: Mapping[str, str] = os.environ,
        death_signal: int = signal.SIGTERM,
    ) -> Self:
        """Run it in a process group of its own: the terminal's Ctrl-C reaches us alone, and we stop it in its turn.

        `death_signal` is what it gets when we are killed: SIGKILL only for a program that starts no others.
        """
        with log_path.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                env={**environment, "PYTHONUNBUFFERED": "1"},
                process_group=0,
                preexec_fn=die_with_parent(death_signal),
            )
            return cls(name, process, log_path, log.tell())

    def stop(self) -> None:
        """End it and its own children: SIGTERM, and after `STOP_SECONDS` SIGKILL for whatever is left of its group."""
        if self.process.poll() is None:
            self.process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def check(self) -> None:
        """Raises Failed when it has ended, with its last word."""
        code = self.process.poll()
        if code is None:
            return
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        line = telling_line(self.log_path, self._log_start)
        raise Failed(f"the {self.name} stopped ({how}): {line} (log: {self.log_path})")


def server_command(host: str, port: int, workers: int = 1, drain_seconds: int = 0) -> list[str]:
    """granian with the ASGI application, which takes `drain_seconds` before it ends (`draining.py`)."""
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--loop", "uvloop", "--http", "1", "--no-ws"]
    command += ["--backpressure", str(CONNECTIONS), "--http1-header-read-timeout", str(IDLE_SECONDS * 1000)]
    command += ["--host", host, "--port", str(port), "--workers", str(workers), "--respawn-failed-workers"]
    # A client that never finishes its request must not hold up the end.
    return [
        *command,
        "--workers-kill-timeout",
        str(drain_seconds + 3),
        *("--log-level", "warning", "--log-config", str(GRANIAN_LOGS)),
        "cacheservice.asgi:application",
    ]


def worker_command() -> list[str]:
    """Celery's worker for one machine: a single process, and nobody to gossip with."""
    command = [
        sys.executable,
        "-m",
        "celery",
        "--quiet",
        "--app",
        "cacheservice",
        "worker",
        "--pool",
        "solo",
        "--concurrency",
        "1",
    ]
    return [*command, "--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "WARNING"]


def beat_command(schedule: Path) -> list[str]:
    """Celery's clock, apart from the worker: `worker --beat` forks it, and would leave it behind when killed."""
    command = [sys.executable, "-m", "celery", "--quiet", "--app", "cacheservice", "beat", "--schedule", str(schedule)]
    return [*command, "--pidfile=", "--loglevel", "WARNING"]


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Inside, the first SIGINT, SIGTERM or SIGHUP raises StopRequested; later ones are ignored while we stop."""
    # A SIGHUP that is ignored already is nohup's doing. SIGINT may be, by a shell's `&`, and is still meant for us.
    ours = [each for each in SIGNALS if each != signal.SIGHUP or signal.getsignal(each) != signal.SIG_IGN]
    former = {each: signal.getsignal(each) for each in ours}

    def request_stop(_signum: int, _frame: FrameType | None) -> None:
        for each in ours:
            signal.signal(each, signal.SIG_IGN)
        raise StopRequested

    for each in ours:
        signal.signal(each, request_stop)
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


@contextmanager
def only_run(path: Path) -> Iterator[int | None]:
    """Hold the lock file; yields the pid of a run that was killed and left its pid there, else None.

    The kernel frees the lock with the process that holds it, so it is never stale. Raises Failed while it is held.
    """
    with path.open("a+") as file:
        file.seek(0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pid = file.read().strip() or "unknown"
            raise Failed(f"already running, with pid {pid} ({path}): stop that run first") from None
        left = file.read().strip()
        try:
            _rewrite(file.fileno(), f"{os.getpid()}\n")
            yield int(left) if left.isdigit() else None
        finally:
            _rewrite(file.fileno(), "")


def _rewrite(descriptor: int, text: str) -> None:
    os.ftruncate(descriptor, 0)
    os.write(descriptor, text.encode())


def make_secret_file(path: Path, content: str) -> bool:
    """Write the secret with mode 0600, whole or not at all; False when the file is there already."""
    if path.exists():
        return False
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{content}\n")
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
    return True


def require_free_port(host: str, port: int, patience: float = 0) -> None:
    """Raises Failed when the address cannot be bound; waits up to `patience` seconds for one who is leaving."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, OverflowError) as error:
        raise Failed(f"cannot use host {host} with port {port}: {error}") from None
    deadline = time.monotonic() + patience
    while True:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                return probe.bind(address)
            except OSError as error:
                problem = error
        if time.monotonic() >= deadline:
            fix = f"choose another port: make run PORT={port + 1 if port < 65535 else 8000}"
            raise Failed(f"cannot listen on {host} port {port}: {problem.strerror}; {fix}")
        time.sleep(LOOK_SECONDS)


def wait_until_ready(host: str, port: int, children: Iterable[Child], timeout: float) -> None:
    """Return once /readyz answers 200. Raises Failed when a child dies meanwhile or time is up."""
    deadline = time.monotonic() + timeout
    answer = "no answer"
    while time.monotonic() < deadline:
        for child in children:
            child.check()
        with suppress(OSError, http.client.HTTPException):
            status, answer = _get(host, port, "/readyz")
            if status == http.client.OK:
                return
        time.sleep(LOOK_SECONDS)
    raise Failed(f"the server is not ready after {timeout:.0f} s: {answer}")


def _get(host: str, port: int, path: str) -> tuple[int, str]:
    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104
    connection = http.client.HTTPConnection(anywhere.get(host, host), port, timeout=5)
    try:
        connection.request("GET", path, headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read(500).decode(errors="replace")
        return response.status, f"/readyz answered {response.status} {' '.join(body.split())}"
    finally:
        connection.close()


def watch(children: Iterable[Child]) -> None:
    """Wait until a child dies (Failed) or a signal comes (StopRequested)."""
    while True:
        for child in children:
            child.check()
        time.sleep(LOOK_SECONDS)
