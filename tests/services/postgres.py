"""Debian's PostgreSQL as production has it: over TCP, with a password, as a role that owns its database and no more."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier, Literal

from cacheservice.embedded import Server
from tests.processes import HOST, free_port
from tests.services import debian

ROLE = "cacheservice"
# The superuser only by the socket, which is its user's alone.
HOST_BASED_AUTHENTICATION = "local all postgres trust\nhost all all 127.0.0.1/32 scram-sha-256\n"


class DebianServer(Server):
    """The embedded server's course of things with the package's programs, and on a port of 127.0.0.1 too."""

    def __init__(self, directory: Path, settings: dict[str, str]) -> None:
        self.port = free_port()
        rules = directory / "pg_hba.conf"
        rules.write_text(HOST_BASED_AUTHENTICATION)
        rules.chmod(0o644)  # it holds no secret
        super().__init__(
            directory, {**settings, "listen_addresses": HOST, "port": str(self.port), "hba_file": str(rules)}
        )

    def dsn(self, database: str = "cacheservice") -> str:
        return make_conninfo(super().dsn(database), port=self.port)

    def _as_account(self, command: list[str], data: Path) -> list[str]:
        return super()._as_account([debian.program(Path(command[0]).name), *command[1:]], data)


@contextmanager
def running_postgres(directory: Path) -> Iterator[str]:
    """The connection string of a role that may create databases, on a server like that of `tests/conftest.py`."""
    with DebianServer(directory, {"fsync": "off", "max_connections": "300"}) as server:
        password = secrets.token_urlsafe(24)
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            role = SQL("create role {} login createdb password {}").format(Identifier(ROLE), Literal(password))
            connection.execute(role)
            connection.execute(SQL("alter database cacheservice owner to {}").format(Identifier(ROLE)))
            # For a test that decides which one of two a deadlock ends; the service itself needs no such right.
            connection.execute(SQL("grant set on parameter deadlock_timeout to {}").format(Identifier(ROLE)))
        yield f"postgresql://{ROLE}:{password}@{HOST}:{server.port}/cacheservice"
