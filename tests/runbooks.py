"""The pages of docs/runbooks/, executed: a scratch installation with a PostgreSQL of its own, real processes and files.

Each block ```sh of a page runs in bash as it stands, behind the page's first one, which goes into every shell. Only the
places are other ones: those that docs/runbooks/README.md lists, and no more. `systemctl` is a script that asks the
test, which starts and stops the units' programs as its own children.
"""

import fcntl
import getpass
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self
from urllib.parse import quote

from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from cacheservice.embedded import Server, binary
from cacheservice.supervisor import Child, beat_command, server_command, wait_until_ready, worker_command
from tests.conftest import new_master_key
from tests.processes import HOST, ROOT, free_port
from tests.store_cast import query

PAGES = ROOT / "docs" / "runbooks"
SECONDS = 300  # a block that takes longer hangs
SERVERS = (8000, 8001)  # the ports on the pages
DURABLE = {"fsync": "off", "max_connections": "100", "shared_buffers": "32MB"}


def blocks(page: str) -> list[str]:
    """What a page tells to type, without its first block."""
    return re.findall(r"^```sh\n(.*?)^```$", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)


class Installation:
    """An installation as deploy/README.md makes it, in a directory. `with`: PostgreSQL runs, the servers do not yet."""

    def __init__(self, directory: Path, *, migrated: bool = True, drain_seconds: int = 0) -> None:
        self.directory = directory
        self.database = Server(directory / "database", DURABLE)
        self.standby = Server(directory / "standby", DURABLE)
        self.ports = {port: free_port() for port in SERVERS}
        self.tenant = f"acme-{secrets.token_hex(4)}"
        self.variables: dict[str, str] = {}  # what is in the reader's shell
        self.more_places: dict[str, str] = {}  # those of one page
        self._migrated = migrated
        self.drain_seconds = drain_seconds
        self._units = _Units(self)
        self._running = ExitStack()

    def __enter__(self) -> Self:
        for name in ("etc", "bin", "log", "var", "backups", "exports"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._make_secrets()
        self._running.enter_context(self._units)
        if self._migrated:
            shutil.copytree(migrated_database(), self.database.var_dir)
        self.start_database()
        self.write_environment()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()
        self.standby.stop()
        self.database.stop()

    @property
    def dsn(self) -> str:
        return self.database.dsn()

    @property
    def url(self) -> str:
        """The service's, of the first server."""
        return f"http://{HOST}:{self.ports[SERVERS[0]]}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process of the installation is given: its environment file, as systemd reads it."""
        lines = (self.directory / "etc" / "environment").read_text().splitlines()
        pairs = (shlex.split(line)[0].split("=", 1) for line in lines if line)
        return {**bare_environment(), **dict(pairs)}

    def write_environment(self, database_url: str = "") -> None:
        etc = self.directory / "etc"
        values = {
            "DATABASE_URL": database_url or as_url(self.dsn),
            "CACHE_SECRET_KEY_FILE": str(etc / "secret.key"),
            "CACHE_MASTER_KEY_FILE": str(etc / "master.key"),
            "CACHE_VAR_DIR": str(self.directory / "var"),
            "CACHE_DRAIN_SECONDS": str(self.drain_seconds),
            "CACHE_PUBLIC_URL": self.url,
        }
        (etc / "environment").write_text("".join(f"{name}='{value}'\n" for name, value in values.items()))

    def run(self, page: str, *numbers: int) -> str:
        """Execute blocks of the page, the first one being 1, or all of them; what they printed."""
        first, *others = blocks(page)
        wanted = [others[number - 1] for number in numbers] if numbers else others
        return "".join(self.type(first + block, f"{page}: {block}") for block in wanted)

    def type(self, script: str, what: str = "") -> str:
        """Run a script with the installation's places in it; its stdout. Raises AssertionError where it fails."""
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self._here(script)],
            cwd=self.directory,
            env=bare_environment() | {"PATH": self._path()} | self.variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{what or script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def manage(self, *arguments: str) -> str:
        """A command of the service, in its environment."""
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def new_token(self) -> str:
        """The API key of a new tenant, that of the pages."""
        make = "from billing.tenants import create_tenant; from accounts.keys import create_api_key; "
        make += "from accounts.models import SCOPES; "
        make += f"tenant = create_tenant('{self.tenant}', 'tests', 'self-hosted'); "
        make += "print(create_api_key(tenant, name='tests', scopes=list(SCOPES), actor='tests')[1])"
        return self.manage("shell", "--no-imports", "-c", make).split()[-1]

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[tuple[object, ...]]:
        return query(statement, parameters, dsn=self.dsn)

    def start(self, *units: str) -> None:
        for unit in units:
            self._units.do("start", unit)

    def start_servers(self, count: int = len(SERVERS)) -> None:
        ports = list(self.ports.values())[:count]
        self.start(*(f"cacheservice-server@{port}" for port in ports))
        for port in ports:
            wait_until_ready(HOST, port, [], 60)

    def processes(self) -> dict[str, int]:
        """The pids of the units that run."""
        return {unit: child.process.pid for unit, child in self._units.children.items()}

    def stop(self, *units: str) -> None:
        for unit in units:
            self._units.do("stop", unit)

    def start_database(self) -> None:
        self.database = Server(self.database.var_dir, DURABLE)
        self.database.start()
        if os.geteuid() == 0:  # archive_command runs as whom the server runs as
            for name in ("backups", "database"):
                shutil.chown(self.directory / name, self.account)

    @property
    def account(self) -> str:
        """Whom PostgreSQL runs as."""
        return self.database.data.owner() if self.database.data.exists() else "postgres"

    def _make_secrets(self) -> None:
        for name, content in (("master", new_master_key()), ("secret", secrets.token_urlsafe(48))):
            path = self.directory / "etc" / f"{name}.key"
            path.write_text(f"{content}\n")
            path.chmod(0o600)

    def _path(self) -> str:
        return f"{self.directory / 'bin'}:{binary('psql').parent}:{os.environ['PATH']}"

    def _here(self, script: str) -> str:
        """With our places instead of the page's, the longest first."""
        for place, ours in sorted(self.places().items(), key=lambda pair: -len(pair[0])):
            script = script.replace(place, ours)
        return script

    def places(self) -> dict[str, str]:
        at = self.directory
        return {
            "/srv/cacheservice": str(ROOT),
            ".venv/bin/python": sys.executable,
            "/etc/cacheservice": str(at / "etc"),
            "/var/lib/postgresql/data": str(self.database.data),
            "/var/lib/postgresql/standby": str(self.standby.data),
            "/var/run/postgresql": _socket(self.database),
            "db1.internal": _socket(self.database),
            "sslmode=verify-full": "sslmode=disable",  # the embedded one is built without TLS
            "/var/run/standby": _socket(self.standby),
            "/var/backups": str(at / "backups"),
            "/var/exports": str(at / "exports"),
            "postgres:": f"{self.account}:",
            "cacheservice:": f"{getpass.getuser()}:",
            "acme": self.tenant,
            **self.more_places,
            **{str(port): str(ours) for port, ours in self.ports.items()},
        }


class _Units(threading.Thread):
    """Answers `systemctl start|stop|restart UNIT…`. A child ends with the thread that started it, so this one does."""

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self._installation = installation
        self.children: dict[str, Child] = {}
        self._asked: list[tuple[str, str]] = []

    def __enter__(self) -> Self:
        directory = self._installation.directory
        for name in ("request", "answer"):
            os.mkfifo(directory / name)
        script = directory / "bin" / "systemctl"
        script.write_text(
            f'#!/bin/sh\ncd {directory}\necho "$*" >request\nread -r answer <answer\n[ "$answer" = done ]\n'
        )
        script.chmod(0o755)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._send("end")
        self.join()

    def do(self, verb: str, unit: str) -> None:
        answer = self._send(f"{verb} {unit}")
        assert answer == "done", f"{verb} {unit}: {answer}"

    def _send(self, request: str) -> str:
        (self._installation.directory / "request").write_text(f"{request}\n")
        return (self._installation.directory / "answer").read_text().strip()

    def run(self) -> None:
        directory = self._installation.directory
        try:
            while (request := (directory / "request").read_text().split()) != ["end"]:
                (directory / "answer").write_text(self._answer(*request))
        finally:
            for unit in list(self.children):
                self._end_unit(unit)
            (directory / "answer").write_text("done\n")

    def _answer(self, verb: str, *units: str) -> str:
        try:
            for unit in units:
                if verb in ("stop", "restart"):
                    self._end_unit(unit)
                if verb in ("start", "restart"):
                    self._begin_unit(unit)
        except Exception as error:  # whoever asked is told, else it would wait for ever
            return f"{type(error).__name__}: {error}\n"
        return "done\n"

    def _end_unit(self, unit: str) -> None:
        if unit in ("postgresql", "postgresql-standby"):
            (self._installation.database if unit == "postgresql" else self._installation.standby).stop()
        elif child := self.children.pop(unit, None):
            child.stop()

    def _begin_unit(self, unit: str) -> None:
        if unit == "postgresql":
            self._installation.start_database()
            return
        if unit == "postgresql-standby":
            self._installation.standby.start()
            return
        name, _, port = unit.partition("@")
        schedule = self._installation.directory / "var" / "celerybeat-schedule"
        commands = {"cacheservice-worker": worker_command(), "cacheservice-beat": beat_command(schedule)}
        command = commands.get(name) or server_command(HOST, int(port), drain_seconds=self._installation.drain_seconds)
        self.children[unit] = Child.start(
            unit,
            command,
            log_path=self._installation.directory / "log" / f"{name}.log",
            directory=ROOT,
            environment=self._installation.environment,
        )


def _socket(server: Server) -> str:
    """The directory of its socket."""
    return str(conninfo_to_dict(server.dsn())["host"])


def bare_environment() -> dict[str, str]:
    """Ours without what says which database, keys and settings the tests themselves have."""
    ours = ("CACHE_", "DATABASE_", "DJANGO_", "CELERY_", "PG")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}


def as_url(*dsns: str) -> str:
    """Connection strings of servers as one URL, which needs no quotes in an environment file."""
    parts = [conninfo_to_dict(dsn) for dsn in dsns]
    hosts = ",".join(quote(str(each["host"]), safe="") for each in parts)
    ports = ",".join(str(each["port"]) for each in parts)
    return f"postgresql://{parts[0]['user']}@/{parts[0]['dbname']}?host={hosts}&port={ports}"


def migrated_database() -> Path:
    """The directory of a PostgreSQL that has every migration and is at rest, to be copied. Made once for all workers of
    a run: migrating takes seconds, copying a fifth of one."""
    directory = Path(settings.VAR_DIR) / "migrated"
    with _only_one(directory.with_suffix(".lock")):
        if not directory.exists():
            unfinished = directory.with_suffix(".new")
            with Server(unfinished, DURABLE) as server:
                keys = {"CACHE_SECRET_KEY": secrets.token_urlsafe(48), "CACHE_MASTER_KEY": new_master_key()}
                environment = {**bare_environment(), "DATABASE_URL": as_url(server.dsn()), **keys}
                command = [sys.executable, "manage.py", "migrate", "--verbosity", "0"]
                subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=SECONDS)
            unfinished.rename(directory)
    return directory


@contextmanager
def _only_one(lock: Path) -> Iterator[None]:
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
