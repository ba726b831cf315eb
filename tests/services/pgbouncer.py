"""pgbouncer before the tests' PostgreSQL, on a port of its own."""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from cacheservice.supervisor import Child
from tests.processes import HOST, free_port, wait_for
from tests.services import debian, unprivileged

USER = "cacheservice"
START_SECONDS = 20.0


@contextmanager
def running_pgbouncer(directory: Path, dsn: str, **settings: str | int) -> Iterator[str]:
    """The connection string that leads to the database of `dsn` through a pgbouncer with these settings (`pool_mode`
    and the like). Its clients need a password of its own: the server behind it may need none."""
    server = conninfo_to_dict(dsn)
    password, port = secrets.token_urlsafe(24), free_port()
    users, configuration = directory / "users.txt", directory / "pgbouncer.ini"
    users.write_text(f'"{USER}" "{password}"\n')
    target = [f"{name}='{server[name]}'" for name in ("host", "port", "user", "password") if name in server]
    lines = ["[databases]", f"* = {' '.join(target)}", "[pgbouncer]"]
    ours = {"listen_addr": HOST, "listen_port": port, "unix_socket_dir": "", "auth_type": "plain", "auth_file": users}
    lines += [f"{name} = {value}" for name, value in {**ours, **settings}.items()]
    configuration.write_text("\n".join(lines) + "\n")
    for secret in (users, configuration):
        unprivileged.give(secret)
        secret.chmod(0o600)
    command = unprivileged.command(debian.program("pgbouncer"), str(configuration), reaching_all=True)
    child = Child.start("pgbouncer", command, log_path=directory / "pgbouncer.log", directory=directory)
    url = f"postgresql://{USER}:{password}@{HOST}:{port}/{server['dbname']}"

    def answers() -> bool:
        child.check()
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        wait_for(answers, START_SECONDS, "pgbouncer leads to the database")
        yield url
    finally:
        child.stop()
