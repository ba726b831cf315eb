"""The packages of the services, and their programs."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Program → the Debian package that has it. caddy and nginx are what the tests of `deploy/` run.
PACKAGES = {
    "postgres": "postgresql-15",
    "redis-server": "redis-server",
    "rabbitmq-server": "rabbitmq-server",
    "pgbouncer": "pgbouncer",
    "caddy": "caddy",
    "nginx": "nginx-light",
}
# Where Debian puts them, before PATH, which may lack `sbin` too. RabbitMQ's own script is wanted, not the wrapper in
# `sbin`, which runs it as the package's user on the package's files and nowhere else.
DIRECTORIES = ("/usr/lib/postgresql/15/bin", "/usr/lib/rabbitmq/bin", os.environ.get("PATH", os.defpath), "/usr/sbin")
# What packages ask before they start a service: 101 forbids it.
POLICY, FORBID = Path("/usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n"


class Missing(Exception):
    """A program is not installed; the message is one line that says how to."""


def program(name: str) -> str:
    """Its path. Raises Missing."""
    path = shutil.which(name, path=os.pathsep.join(DIRECTORIES))
    if path is None:
        raise _not_installed([PACKAGES[name]])
    return path


def is_installed(name: str) -> bool:
    try:
        return bool(program(name))
    except Missing:
        return False


def install() -> None:
    """Install what is missing, where that needs no question: as root, with apt-get. Raises Missing for what is left."""
    if (missing := _missing()) and os.geteuid() == 0 and shutil.which("apt-get"):
        with _starting_nothing():
            _apt_get("update")
            _apt_get("install", "-y", "--no-install-recommends", *missing)
    if missing := _missing():
        raise _not_installed(missing)


def _missing() -> list[str]:
    return [package for name, package in PACKAGES.items() if not is_installed(name)]


def _not_installed(packages: list[str]) -> Missing:
    return Missing(f"not installed: sudo apt-get install --no-install-recommends {' '.join(packages)}")


@contextmanager
def _starting_nothing() -> Iterator[None]:
    """Debian's packages start their services as they are installed: not here. A policy that is there is somebody's."""
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text(FORBID)
        POLICY.chmod(0o755)
    try:
        yield
    finally:
        if ours:
            POLICY.unlink()


def _apt_get(*arguments: str) -> None:
    """Whether it succeeded shows in what is installed then."""
    command = ["apt-get", "-qq", *arguments]
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
