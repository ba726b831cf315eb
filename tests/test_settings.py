"""Production refuses to start without usable settings: one message that names the variable and tells no secret.

That secrets may come from files is what tests/test_deploy_checks.py begins with.
"""

import base64
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.conftest import new_master_key
from tests.processes import ROOT

PASSWORD = "canary-of-the-database"
SECRET_KEY = "canary-of-django-0123456789-abcdefghijk"
MASTER_KEY = new_master_key()
GOOD = {
    "DATABASE_URL": f"postgresql://cache:{PASSWORD}@db.example:5432/cache",
    "CACHE_SECRET_KEY": SECRET_KEY,
    "CACHE_MASTER_KEY": MASTER_KEY,
}
# What granian does first: nothing is answered before it has succeeded.
START_SERVER = """
import asyncio
from cacheservice.asgi import application
async def receive():
    return {"type": "lifespan.startup"}
async def send(message):
    raise SystemExit("started" if message["type"] == "lifespan.startup.complete" else 1)
asyncio.run(application({"type": "lifespan"}, receive, send))
"""


def run(environment: Mapping[str, str | None], *command: str) -> subprocess.CompletedProcess[str]:
    """With nothing of this run's own settings; None takes a variable of GOOD out."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("CACHE_", "DATABASE_"))}
    complete = {name: value for name, value in {**inherited, **GOOD, **environment}.items() if value is not None}
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=complete, capture_output=True, text=True, timeout=60
    )


def check(environment: Mapping[str, str | None]) -> subprocess.CompletedProcess[str]:
    return run(environment, "manage.py", "check")


def read(environment: Mapping[str, str | None]) -> subprocess.CompletedProcess[str]:
    """What every command and every server does first."""
    return run(environment, "-c", "import cacheservice.settings")


def assert_refused(done: subprocess.CompletedProcess[str], variable: str, *secrets: str) -> None:
    """It failed, one line of what it says (but for the traceback's own) names the variable, no line a secret."""
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line and not line.startswith(" ")]
    naming = [line for line in said if variable in line]
    assert len(naming) == 1, done.stderr
    assert "Error" not in naming[0].partition(variable)[0], naming
    for secret in (PASSWORD, SECRET_KEY, MASTER_KEY, *secrets):
        assert secret not in done.stdout + done.stderr


def test_good_settings_pass() -> None:
    done = check({})
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("variable", ("CACHE_SECRET_KEY", "CACHE_MASTER_KEY"))
@pytest.mark.parametrize("value", (None, "", " "), ids=("absent", "empty", "blank"))
def test_secret_that_is_not_set(variable: str, value: str | None) -> None:
    assert_refused(check({variable: value}), variable)


@pytest.mark.parametrize("variable", ("CACHE_SECRET_KEY", "CACHE_MASTER_KEY", "DATABASE_URL"))
def test_secret_file_that_cannot_be_read(variable: str, tmp_path: Path) -> None:
    done = read({variable: None, f"{variable}_FILE": str(tmp_path / "absent")})
    assert_refused(done, f"{variable}_FILE")
    assert str(tmp_path / "absent") in done.stderr


def test_secret_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_bytes(b"\xff\xfe" * 20)
    assert_refused(read({"CACHE_SECRET_KEY": None, "CACHE_SECRET_KEY_FILE": str(path)}), "CACHE_SECRET_KEY_FILE")


@pytest.mark.parametrize("value", ("canary-too-short", "c" * 50), ids=("short", "not random"))
def test_unusable_secret_key(value: str) -> None:
    assert_refused(read({"CACHE_SECRET_KEY": value}), "CACHE_SECRET_KEY", value)


UNUSABLE_MASTER_KEYS = {
    "not base 64": "canary-no-base64!" * 3,
    "short": base64.b64encode(os.urandom(16)).decode(),
    "long": base64.b64encode(os.urandom(48)).decode(),
    "zeros": base64.b64encode(bytes(32)).decode(),
    "not random": base64.b64encode(b"secret" * 5 + b"se").decode(),
    "cut": MASTER_KEY[:-2],
    "second one bad": f"{new_master_key()}\n{base64.b64encode(os.urandom(8)).decode()}",
}


@pytest.mark.parametrize("kind", UNUSABLE_MASTER_KEYS)
def test_unusable_master_key_fails_the_check(kind: str) -> None:
    value = UNUSABLE_MASTER_KEYS[kind]
    assert_refused(check({"CACHE_MASTER_KEY": value}), "CACHE_MASTER_KEY", *value.split())


@pytest.mark.parametrize("kind", UNUSABLE_MASTER_KEYS)
def test_unusable_master_key_stops_the_server(kind: str) -> None:
    value = UNUSABLE_MASTER_KEYS[kind]
    done = run({"CACHE_MASTER_KEY": value}, "-c", START_SERVER)
    assert "started" not in done.stderr
    assert_refused(done, "CACHE_MASTER_KEY", *value.split())


def test_unusable_master_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    path.write_text("canary\n")
    done = run({"CACHE_MASTER_KEY": None, "CACHE_MASTER_KEY_FILE": str(path)}, "-c", START_SERVER)
    assert_refused(done, str(path), "canary\n")


@pytest.mark.parametrize(
    "url",
    (
        "",
        f"postgresql://cache:{PASSWORD}@db.example:port/cache",
        f"postgresql://cache:{PASSWORD}%ZZ@db.example/cache",
        f"postgresql://cache:{PASSWORD}@db.example/cache?no_such_option=1",
        f"host=db.example password={PASSWORD} no_such_option=1",
        f"password='{PASSWORD}",
    ),
    ids=("empty", "port", "percent", "option", "keyword", "quote"),
)
def test_unusable_database_url(url: str) -> None:
    assert_refused(read({"DATABASE_URL": url}), "DATABASE_URL")


def test_unusable_replica_url() -> None:
    assert_refused(read({"CACHE_REPLICA_URL": f"postgresql://cache:{PASSWORD}@db.example:port/c"}), "CACHE_REPLICA_URL")


@pytest.mark.parametrize(
    ("variable", "value"),
    (
        ("CACHE_QUEUE_LIMIT", "many"),
        ("CACHE_QUEUE_LIMIT", ""),
        ("CACHE_QUEUE_TIMEOUT_SECONDS", "1.5"),
        ("CACHE_STATEMENT_TIMEOUT_SECONDS", "0"),
        ("CACHE_DATABASE_CONNECTIONS", "-1"),
        ("CACHE_MAX_VALUE_BYTES", "10MB"),
        ("CACHE_BODY_TIMEOUT_SECONDS", "inf"),
        ("CACHE_BODY_BYTES_IN_FLIGHT", "0x10"),
        ("CACHE_LANE", "maybe"),
        ("CACHE_ACCESS_LOG", "1"),
        ("CACHE_SMTP_PORT", "65536"),
        ("CACHE_LOG_LEVEL", "LOUD"),
        ("CACHE_GATEWAY_ALLOW_NETWORKS", "10.0.0.1/8"),
    ),
)
def test_unusable_number_or_switch(variable: str, value: str) -> None:
    done = read({variable: value})
    assert_refused(done, variable)
    assert f"'{value}'" in done.stderr or value in done.stderr.splitlines()[-1]
