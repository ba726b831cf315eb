"""What the processes of a server know of each other's metrics: a small file each, written once a second.

    process ─ every second ─▶ <var>/metrics/<host>-<pid of the parent>/<random>.json ◀─ whoever is asked for /metrics

A process holds its file's lock for as long as it lives, and the kernel frees it however it ends: so nobody mistakes a
dead process's gauges for a living one's, and there is nothing to clean before a start. What ended processes counted is
kept, merged into one file, for a counter must not go back. A process that is killed loses what it counted in its last
second. Where no file can be written, each process answers for itself.
"""

import asyncio
import fcntl
import os
import resource
import secrets
import shutil
import socket
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import structlog

from cacheservice import metrics
from cacheservice.metrics_instruments import Snapshot, merged, snapshot

log = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
FORGOTTEN_AFTER = 86_400  # seconds that nobody has written to a server's directory
CHECKSUM_BYTES = 4
READ_ATTEMPTS = 5  # of a file that is being written: that takes microseconds
ENDED = "ended"
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Snapshot).decode

Measure = Callable[[], None]  # sets gauges


class Files:
    """The metrics of the processes that share a directory, this one's among them."""

    def __init__(self, directory: Path) -> None:
        """Raises OSError where it cannot be written."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        name = secrets.token_hex(8)
        unlocked = directory / f"{name}.new"  # as .json it would be taken for a dead process's
        self._descriptor = os.open(unlocked, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        unlocked.rename(directory / f"{name}.json")

    def write(self, own: Snapshot) -> None:
        """Raises OSError."""
        content = _sealed(own)
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))

    def read(self) -> Snapshot:
        """All processes', as they were at most a second ago."""
        with self._only_one():
            living: list[Snapshot] = []
            ended: list[Snapshot] = []
            gone: list[Path] = []
            for path in sorted(self._directory.glob("*.json")):
                snapshots = living if _is_held(path) else ended
                if (found := _read(path)) is not None:
                    snapshots.append(found)
                if snapshots is ended:
                    gone.append(path)
            kept = _read(self._directory / ENDED)
            before = [*ended, kept] if kept is not None else ended
            if ended:
                self._keep(merged((), before))
            for path in gone:
                path.unlink(missing_ok=True)
            return merged(living, before)

    def close(self) -> None:
        """What was counted stays, for the others to count on."""
        os.close(self._descriptor)

    def _keep(self, counted: Snapshot) -> None:
        new = self._directory / f"{ENDED}.new"
        new.write_bytes(_sealed(counted))
        new.rename(self._directory / ENDED)

    @contextmanager
    def _only_one(self) -> Iterator[None]:
        """Two that merge at once would count twice."""
        with (self._directory / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


class Publisher:
    """Publishes this process's metrics for as long as it runs. In the event loop, whose delay it measures too."""

    def __init__(self, directory: Path, measures: Sequence[Measure]) -> None:
        self._measures = measures
        self._files: Files | None = None
        self._latest = Snapshot()
        try:
            self._files = Files(directory)
            _forget_others(directory.parent)
        except OSError as error:
            log.warning("metrics_not_shared", directory=str(directory), reason=error.strerror)

    def start(self) -> None:
        self._publish()
        self._task = asyncio.create_task(self._publish_always())

    async def stop(self) -> None:
        self._task.cancel()
        self._publish()
        if self._files is not None:
            self._files.close()

    def read(self) -> Snapshot:
        """Of all processes of the server; for any thread."""
        if self._files is not None:
            with suppress(OSError):  # a full disk, a directory that somebody removed
                return self._files.read()
        return self._latest

    async def _publish_always(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + EVERY_SECONDS
            await asyncio.sleep(EVERY_SECONDS)
            metrics.LOOP_DELAY.observe(max(0.0, loop.time() - due))
            try:
                self._publish()
            except Exception:  # a defect in a measure must not end all the others
                log.exception("metrics_not_published")

    def _publish(self) -> None:
        for measure in (_measure_process, *self._measures):
            measure()
        self._latest = snapshot()
        if self._files is not None:
            with suppress(OSError):  # who reads gets what was written last
                self._files.write(self._latest)


def directory_of_server(var: Path) -> Path:
    """One for the processes that have this one's parent, on this host: containers may share a volume."""
    return var / "metrics" / f"{socket.gethostname()}-{os.getppid()}"


def _measure_process() -> None:
    metrics.PROCESSES.set(1)
    metrics.CPU_SECONDS.cell(())[0] = time.process_time()
    most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    metrics.FILES_MOST.set(most_files)
    with suppress(OSError):  # where there is no /proc, they are left out
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        metrics.MEMORY.set(pages * resource.getpagesize())
        metrics.MEMORY_MOST.set(pages * resource.getpagesize())
        metrics.FILES.set(len(os.listdir("/proc/self/fd")))


def _sealed(content: Snapshot) -> bytes:
    encoded = _encode(content)
    return zlib.crc32(encoded).to_bytes(CHECKSUM_BYTES) + encoded


def _read(path: Path) -> Snapshot | None:
    """None where there is none, or what its process was writing when it was killed."""
    for _ in range(READ_ATTEMPTS):
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        if content[:CHECKSUM_BYTES] == zlib.crc32(content[CHECKSUM_BYTES:]).to_bytes(CHECKSUM_BYTES):
            with suppress(msgspec.MsgspecError):  # another version's
                return _decode(content[CHECKSUM_BYTES:])
            return None
        time.sleep(0.001)
    return None


def _is_held(path: Path) -> bool:
    """Whether the process that writes it lives."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _forget_others(directory: Path) -> None:
    """Servers that are gone for long."""
    for other in directory.iterdir():
        times = [path.stat().st_mtime for path in other.iterdir()] if other.is_dir() else []
        if times and max(times) < time.time() - FORGOTTEN_AFTER:
            shutil.rmtree(other, ignore_errors=True)
