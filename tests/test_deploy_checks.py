"""`manage.py check --deploy` names each setting that is not safe, says what to do, and is silent where all are."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import CheckMessage, run_checks
from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.db import connection, transaction
from pytest_django import Settings

from cacheservice import checks, environment
from tests.conftest import new_master_key
from tests.processes import ROOT
from tests.test_settings import run


@pytest.fixture
def safe(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Production as it should be; a test spoils one thing of it."""
    for declaration in environment.declarations():
        monkeypatch.delenv(declaration.variable, raising=False)
    settings.LOCAL = False
    settings.PUBLIC_URL, settings.TLS = "https://cache.example", True
    settings.SECRET_KEY = "0123456789abcdefghijklmnopqrstuvwxyz" * 2
    settings.TRUSTED_PROXIES = (ip_network("10.1.2.3/32"), ip_network("fd00:1::/64"))
    settings.CELERY_BROKER_URL = "amqps://user:password@broker.example"
    settings.EMAIL_HOST, settings.DEFAULT_FROM_EMAIL = "smtp.example", "Cache <cache@example.com>"
    settings.OPERATOR_EMAIL = "operator@example.com"
    return settings


def found(databases: list[str] | None = None) -> list[CheckMessage]:
    return run_checks(tags=[checks.TAG], include_deployment_checks=True, databases=databases)


def test_nothing_is_said_of_safe_settings(safe: Settings) -> None:
    assert found() == []


def test_nothing_is_said_of_the_environment_that_the_documentation_gives(tmp_path: Path) -> None:
    """Django's own checks neither. Nothing is left of the environment but files with secrets and what is public."""
    secrets = {
        "DATABASE_URL": "postgresql://cache:password@db.example/cache?sslmode=verify-full",
        "CACHE_SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz" * 2,
        "CACHE_MASTER_KEY": new_master_key(),
        "CELERY_BROKER_URL": "rediss://:password@redis.example/0",
        "CACHE_SMTP_PASSWORD": "password",
    }
    given: dict[str, str | None] = dict.fromkeys(secrets)
    for name, text in secrets.items():
        path = tmp_path / name
        path.write_text(text)
        path.chmod(0o440)
        given[f"{name}_FILE"] = str(path)
    given |= {
        "CACHE_PUBLIC_URL": "https://cache.example.com",
        "CACHE_OPERATOR_EMAIL": "operator@example.com",
        "CACHE_SMTP_HOST": "smtp.example.com",
        "CACHE_EMAIL_FROM": "cache@example.com",
        "CACHE_TRUSTED_PROXIES": "127.0.0.1",
    }
    done = run(given, "manage.py", "check", "--deploy", "--fail-level", "WARNING")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no issues" in done.stdout


IN_ONE_WAY: dict[str, tuple[str, dict[str, Any], str]] = {
    "local mode": ("E010", {"LOCAL": True}, "DATABASE_URL"),
    "http": ("E011", {"PUBLIC_URL": "http://cache.example"}, "CACHE_PUBLIC_URL"),
    "all are proxies": ("E013", {"TRUSTED_PROXIES": (ip_network("0.0.0.0/0"),)}, "CACHE_TRUSTED_PROXIES"),
    "half of all are": ("E013", {"TRUSTED_PROXIES": (ip_network("128.0.0.0/1"),)}, "CACHE_TRUSTED_PROXIES"),
    "all of IPv6 are": ("E013", {"TRUSTED_PROXIES": (ip_network("::/0"),)}, "CACHE_TRUSTED_PROXIES"),
    "short secret key": ("W021", {"SECRET_KEY": "0123456789abcdefghijklmnopqrstuvwxyz"}, "CACHE_SECRET_KEY"),
    "files for a broker": ("W022", {"CELERY_BROKER_URL": "filesystem://"}, "CELERY_BROKER_URL"),
    "no proxy": ("W023", {"TRUSTED_PROXIES": ()}, "CACHE_TRUSTED_PROXIES"),
    "amqp": ("W024", {"CELERY_BROKER_URL": "amqp://u:canary@broker.example"}, "CELERY_BROKER_URL"),
    "redis": ("W024", {"CELERY_BROKER_URL": "redis://:canary@broker.example/0"}, "CELERY_BROKER_URL"),
    "no SMTP": ("W027", {"EMAIL_HOST": ""}, "CACHE_SMTP_HOST"),
    "sender": ("W028", {"DEFAULT_FROM_EMAIL": "cacheservice <noreply@localhost>"}, "CACHE_EMAIL_FROM"),
    "operator": ("W028", {"OPERATOR_EMAIL": "operator@localhost"}, "CACHE_OPERATOR_EMAIL"),
    "staff": ("W029", {"STAFF_MFA": False}, "CACHE_STAFF_MFA"),
    "OIDC": ("W030", {"OIDC_ISSUER": "http://login.example"}, "CACHE_OIDC_ISSUER"),
    "debug log": ("W031", {"LOG_LEVEL": "DEBUG"}, "CACHE_LOG_LEVEL"),
    "receipts": ("W032", {"RECEIPT_RETENTION_DAYS": 61}, "CACHE_RECEIPT_RETENTION_DAYS"),
}
BY_NETWORKS: dict[str, tuple[str, dict[str, Any], str]] = {
    f"{setting} {network}": ("W025", {setting: (ip_network(network),)}, f"CACHE_{setting} has {network}")
    for setting in ("GATEWAY_ALLOW_NETWORKS", "WEBHOOK_ALLOW_NETWORKS")
    for network in (
        *("127.0.0.0/8", "127.0.0.1/32", "::1/128", "0.0.0.0/0", "::/0", "0.0.0.0/1", "169.254.0.0/16"),
        *("169.254.169.254/32", "fe80::/10", "168.63.129.16/32", "100.64.0.0/10", "fd00::/8", "fd00:ec2::254/128"),
    )
}
UNSAFE = {**IN_ONE_WAY, **BY_NETWORKS}


@pytest.mark.parametrize("kind", UNSAFE)
def test_each_unsafe_setting_is_named_with_its_fix(safe: Settings, kind: str) -> None:
    id, spoilt, named = UNSAFE[kind]
    for name, value in spoilt.items():
        setattr(safe, name, value)
    [message] = found()
    assert message.id == f"cacheservice.{id}"
    assert named in message.msg
    assert message.hint
    assert "canary" not in f"{message.msg}{message.hint}"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_ALLOW_NETWORKS", (ip_network("10.0.0.0/8"), ip_network("fd12:3456::/32"))),
        ("CELERY_BROKER_URL", "redis://localhost:6379/0"),
        ("RECEIPT_RETENTION_DAYS", 62),
    ],
)
def test_what_is_safe_is_not_named(safe: Settings, name: str, value: object) -> None:
    setattr(safe, name, value)
    assert found() == []


@pytest.mark.parametrize("name", ["DATABASE_DSN", "REPLICA_URL"])
@pytest.mark.parametrize(
    ("dsn", "named"),
    [
        ("postgresql://cache:canary@db.example/cache", True),
        ("postgresql://db.example/cache?sslmode=require", True),
        ("host=localhost,db.example sslmode=verify-ca", True),
        ("hostaddr=192.0.2.1", True),
        ("host=a.example,b.example sslmode=verify-full", False),
        ("host=/run/postgresql", False),
        ("postgresql:///cache", False),
        ("host=localhost sslmode=prefer", False),
    ],
)
def test_a_connection_that_does_not_prove_who_answers_is_named(
    safe: Settings, name: str, dsn: str, named: bool
) -> None:
    setattr(safe, name, dsn)
    messages = found()
    assert [message.id for message in messages] == ["cacheservice.W026"] * named
    variable = {"DATABASE_DSN": "DATABASE_URL", "REPLICA_URL": "CACHE_REPLICA_URL"}[name]
    assert all(variable in message.msg and "canary" not in message.msg for message in messages)


def test_debug_is_named(safe: Settings) -> None:
    safe.DEBUG = True
    assert "security.W018" in [message.id for message in run_checks(tags=["security"], include_deployment_checks=True)]


@pytest.mark.parametrize(
    ("variable", "value", "tells"),
    [
        ("CACHE_SECRET_KEY", "canary", True),
        ("CACHE_MASTER_KEY", "canary", True),
        ("CACHE_MASTER_KEY", "aws-kms:arn:aws:kms:eu-central-1:123456789012:key/a canary", True),
        ("CACHE_MASTER_KEY", "aws-kms:arn:aws:kms:eu-central-1:123456789012:key/a", False),
        ("CACHE_SMTP_PASSWORD", "canary", True),
        ("CACHE_SMTP_PASSWORD", "", False),
        ("DATABASE_URL", "postgresql://cache:canary@/cache", True),
        ("DATABASE_URL", "postgresql://cache@/cache?password=canary", True),
        ("DATABASE_URL", "dbname=cache password=canary", True),
        ("DATABASE_URL", "postgresql://cache@/cache", False),
        ("CELERY_BROKER_URL", "amqps://user:canary@broker.example", True),
        ("CELERY_BROKER_URL", "redis://localhost", False),
    ],
)
def test_a_secret_in_the_environment_is_named(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, tells: bool
) -> None:
    monkeypatch.setenv(variable, value)
    messages = found()
    assert [message.id for message in messages] == ["cacheservice.W020"] * tells
    assert all(variable in message.msg and "canary" not in f"{message.msg}{message.hint}" for message in messages)


@pytest.mark.parametrize(
    ("mode", "named"), [(0o400, False), (0o440, False), (0o640, False), (0o644, True), (0o660, True)]
)
def test_a_secret_that_others_may_read_or_write_is_named(
    safe: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: int, named: bool
) -> None:
    path = tmp_path / "secret"
    path.touch()
    path.chmod(mode)
    monkeypatch.setenv("CACHE_SMTP_PASSWORD_FILE", str(path))
    messages = found()
    assert [message.id for message in messages] == ["cacheservice.E012"] * named
    if named:  # an error, so the command fails
        with pytest.raises(SystemCheckError, match=f"CACHE_SMTP_PASSWORD_FILE: .*mode {mode:04o}"):
            call_command("check", deploy=True, tags=[checks.TAG])


def test_a_superuser_of_the_database_is_named(safe: Settings) -> None:
    """The tests' own role is one, unless DATABASE_URL names another."""

    def role_is_named() -> bool:
        return "cacheservice.E014" in [message.id for message in found(databases=["default"])]

    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("select rolsuper from pg_roles where rolname = current_user")
        is_superuser = cursor.fetchone() == (True,)
        assert role_is_named() == is_superuser
        if is_superuser:
            cursor.execute("set local role pg_monitor")
            assert not role_is_named()


def test_the_database_is_not_asked_without_being_named(safe: Settings) -> None:
    assert checks.database_role(databases=None) == []


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("CACHE_QUEU_LIMIT", "CACHE_QUEUE_LIMIT?"),
        ("CACHE_MASTERKEY_FILE", "CACHE_MASTER_KEY_FILE?"),
        ("CACHE_NOTHING_LIKE_IT", "docs/settings.md"),
    ],
)
def test_an_unknown_variable_is_named_by_every_check(monkeypatch: pytest.MonkeyPatch, variable: str, hint: str) -> None:
    monkeypatch.setenv(variable, "canary")
    [message] = run_checks(tags=[checks.TAG])
    assert variable in message.msg
    assert hint in str(message.hint)
    assert "canary" not in str(message)


def test_no_variable_of_the_client_or_the_tests_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("CACHE_URL", "CACHE_API_KEY", "CACHE_TEST_SCALE", "CACHE_MASTER_KEY_FILE"):
        monkeypatch.setenv(variable, "given")
    assert run_checks(tags=[checks.TAG]) == []


def test_every_id_is_documented() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    functions: list[Callable[..., Any]] = [checks.unknown_variables, checks.database_role, *checks.DEPLOYMENT]
    source = (ROOT / "cacheservice" / "checks.py").read_text()
    for id in {*(id for id, _, _ in UNSAFE.values()), "W026", "W001", "E012", "E014", "W020"}:
        assert f"| `cacheservice.{id}` |" in page
        assert source.count(f'id="cacheservice.{id}"') == 1
    assert page.count("| `cacheservice.") == source.count('id="cacheservice.')
    assert all(function.__doc__ for function in functions)
