"""One embedded PostgreSQL for the whole run, a test database for each xdist worker, real servers on demand."""

import base64
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import django
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from cacheservice import embedded
from tests.processes import RunningServer, running_server
from tests.servers import environment_here

_database = pytest.StashKey[embedded.Server]()
_directory = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    """Start the database before Django's settings are loaded; the xdist workers inherit the environment."""
    if config.option.help or config.option.version:
        return
    if not hasattr(config, "workerinput"):
        if settings.configured:
            raise pytest.UsageError("Django's settings came before the test database: unset DJANGO_SETTINGS_MODULE")
        _make_environment(config)
    django.setup()


def pytest_unconfigure(config: pytest.Config) -> None:
    if _database in config.stash:
        config.stash[_database].stop()
    if _directory in config.stash:
        shutil.rmtree(config.stash[_directory])


def _make_environment(config: pytest.Config) -> None:
    """A DATABASE_URL that is set already is used: its user must be allowed to create databases."""
    directory = config.stash[_directory] = Path(tempfile.mkdtemp(prefix="cacheservice-tests-"))
    if "DATABASE_URL" not in os.environ:
        database = config.stash[_database] = embedded.Server(directory, {"fsync": "off", "max_connections": "300"})
        try:
            database.start()
        except embedded.EmbeddedError as error:
            raise pytest.UsageError(str(error)) from None
        os.environ["DATABASE_URL"] = database.dsn()
    os.environ["DJANGO_SETTINGS_MODULE"] = "cacheservice.settings"
    os.environ["CACHE_VAR_DIR"] = str(directory)  # never the checkout's
    os.environ["CACHE_SECRET_KEY"] = secrets.token_urlsafe(48)
    os.environ["CACHE_MASTER_KEY"] = new_master_key()


def new_master_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_modify_db_settings: None, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """The worker's test database, with every migration applied.

    pytest-django's own makes only databases that a test's mark asks for; ours are asked for by servers.
    """
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False)
    yield
    with django_db_blocker.unblock():
        with connection.cursor() as cursor:  # the connection of a browser's test hangs on a context that is gone
            cursor.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity "
                "where datname = current_database() and pid <> pg_backend_pid()"
            )
        teardown_databases(databases, verbosity=0)


@pytest.fixture(autouse=True)
def committed_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """The test database without a transaction around the test, so that servers see what it writes.

    Nothing is flushed afterwards: tests make tenants of their own. For every test, so that none depends on which
    fixture of another opened the database before it.
    """
    with django_db_blocker.unblock():
        yield


@pytest.fixture
def unthrottled(committed_db: None) -> None:
    """The console's throttles have seen nobody yet: to them all tests come from one address."""
    cache.clear()


@pytest.fixture(scope="session")
def server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server on this worker's test database."""
    with running_server(tmp_path_factory.mktemp("server") / "server.log", server_environment(lane="on")) as running:
        yield running


@pytest.fixture(scope="session")
def server_without_lane(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The same with every request left to Django."""
    with running_server(tmp_path_factory.mktemp("server") / "server.log", server_environment(lane="off")) as running:
        yield running


def server_environment(lane: str) -> dict[str, str]:
    return environment_here(CACHE_LANE=lane)
