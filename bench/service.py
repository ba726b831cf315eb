"""What is measured: an embedded PostgreSQL with fsync, a tenant, and the server as `manage.py up` starts it."""

import base64
import http.client
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import django
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.measurement import BenchError
from cacheservice import embedded
from cacheservice.supervisor import Child, server_command, wait_until_ready

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
ITEMS = "/api/v1/cache/"
PLAN = "bench"
CREDIT_UNITS = 10**12


@dataclass(frozen=True)
class Owner:
    """Whose entries are measured; `token` is its API key in clear."""

    tenant_id: int
    api_key_id: int
    token: str


@dataclass(frozen=True)
class Service:
    """A server on one database."""

    port: int
    process_id: int
    dsn: str
    token: str

    def get(self, path: str) -> tuple[int, dict[str, str], bytes]:
        """Status, headers in lower case, and body."""
        connection = http.client.HTTPConnection(HOST, self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"})
            response = connection.getresponse()
            return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
        finally:
            connection.close()


@contextmanager
def running_database(directory: Path) -> Iterator[str]:
    """The connection string of a migrated database; Django is set up for it, and processes started later use it."""
    with embedded.Server(directory, {"max_connections": "300"}) as server:
        os.environ["DJANGO_SETTINGS_MODULE"] = "cacheservice.settings"
        os.environ["DATABASE_URL"] = server.dsn()
        os.environ["CACHE_VAR_DIR"] = str(directory)
        os.environ["CACHE_SECRET_KEY"] = secrets.token_urlsafe(48)
        os.environ["CACHE_MASTER_KEY"] = base64.b64encode(secrets.token_bytes(32)).decode()
        django.setup()
        from django.core.management import call_command

        call_command("migrate", verbosity=0, interactive=False)
        disconnect_django()
        yield server.dsn()


def new_owner(name: str) -> Owner:
    """A prepaid tenant with credits enough, without a rate limit, and an API key that may do everything."""
    from accounts import keys
    from accounts.models import SCOPES
    from billing import credits
    from billing.models import LedgerEntry, Plan
    from billing.tenants import create_tenant

    terms = {"prepaid": True, "monthly_grant": 0, "free_storage": 0}
    Plan.objects.get_or_create(code=PLAN, valid_from=date(2020, 1, 1), defaults=terms)
    tenant = create_tenant(name, "bench", PLAN)
    kind = LedgerEntry.Kind.PURCHASE
    credits.grant(tenant.id, kind, CREDIT_UNITS, idempotency_key="bench", actor="bench")
    api_key, token = keys.create_api_key(tenant, name="bench", scopes=list(SCOPES), actor="bench")
    disconnect_django()
    return Owner(tenant.id, api_key.id, token)


def disconnect_django() -> None:
    from django.db import connections

    connections.close_all()


def copy_of_database(dsn: str, name: str) -> str:
    """The connection string of a new database with what `dsn` holds; nobody may be connected to that."""
    template = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    assert isinstance(template, str)
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as connection:
        connection.execute(
            sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template))
        )
    return make_conninfo(dsn, dbname=name)


@contextmanager
def running_service(
    dsn: str,
    owner: Owner,
    *,
    workers: int = 1,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    application: str | None = None,
) -> Iterator[Service]:
    """granian with the command of `manage.py up`, ready to answer; `options` and `environment` vary it."""
    port = _free_port()
    command = server_command(HOST, port, workers)
    command[-1:] = [*options, application or command[-1]]
    log_path = Path(os.environ["CACHE_VAR_DIR"]) / "log" / f"server-{port}.log"
    variables = {**os.environ, "DATABASE_URL": dsn, **(environment or {})}
    child = Child.start("server", command, log_path=log_path, directory=ROOT, environment=variables)
    try:
        wait_until_ready(HOST, port, [child], timeout=60)
        yield Service(port, child.process.pid, dsn, owner.token)
    finally:
        child.stop()


def server_memory(service: Service) -> dict[str, float]:
    """Memory of the server's largest process (its worker), in MB: resident now, and at most so far."""
    statuses = [_status(pid) for pid in {service.process_id, *_children(service.process_id)}]
    worker = max(statuses, key=lambda status: int(status["VmRSS"].split()[0]))
    return {name: int(worker[name].split()[0]) / 1000 for name in ("VmRSS", "VmHWM")}


def setting(dsn: str, name: str) -> str:
    with psycopg.connect(dsn) as connection:
        row: Any = connection.execute("select current_setting(%s)", [name]).fetchone()
        return str(row[0])


def vacuum(dsn: str) -> None:
    """So that neither autovacuum nor hint bits fall into a measurement."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("vacuum analyze entry")
        connection.execute("checkpoint")


def require_linux() -> None:
    if sys.platform != "linux":
        raise BenchError("the benchmark reads /proc and so needs Linux")


def _free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _children(pid: int) -> set[int]:
    """Of every thread of the process, for any of them may have started some."""
    paths = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for path in paths for child in path.read_text().split()}


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
