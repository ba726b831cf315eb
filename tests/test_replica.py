"""Lists and reports from a streaming replica: while it is recent, and from the primary whenever it is not.

A real standby of the run's own server, made by pg_basebackup.
"""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.db import DatabaseError, connection
from psycopg.conninfo import make_conninfo
from pytest_django import Settings

from cacheservice import embedded
from cacheservice.entries.replica import command_rows
from tests.cast import Key, new_caller, revoke
from tests.client import Answer, Client
from tests.processes import RunningServer, alive, descendants, wait_for
from tests.servers import own_server
from tests.store_cast import query

LAG_HEADER = "x-cache-replica-lag"
MAX_LAG_SECONDS = 3
FRESH = {"Cache-Control": "no-cache"}
LIST, USAGE = "/api/v1/cache", "/api/v1/usage"


@contextmanager
def running_standby(directory: Path) -> Iterator[embedded.Server]:
    """It follows the server of the run."""
    if Path(django_settings.VAR_DIR, "postgres").exists() is False:
        pytest.skip("the run's server is not the embedded one, whose pg_basebackup this needs")
    standby = embedded.Server(directory, {"fsync": "off", "max_connections": "300"})
    backup = [str(embedded.binary("pg_basebackup")), "--pgdata", str(standby.data), "--write-recovery-conf"]
    backup += ["--dbname", make_conninfo(django_settings.DATABASE_DSN, dbname="postgres"), "--checkpoint=fast"]
    subprocess.run([*backup, "--no-sync"], check=True, timeout=120, capture_output=True)
    with standby:
        yield standby


@pytest.fixture(scope="module")
def standby(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.Server]:
    with running_standby(tmp_path_factory.mktemp("standby")) as standby:
        yield standby


@pytest.fixture(scope="module")
def url(standby: embedded.Server) -> str:
    """The worker's test database, as the standby has it."""
    return make_conninfo(standby.dsn(), dbname=connection.settings_dict["NAME"])


@pytest.fixture(scope="module")
def server(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    settings = {"CACHE_REPLICA_URL": url, "CACHE_REPLICA_MAX_LAG_SECONDS": str(MAX_LAG_SECONDS)}
    with own_server(tmp_path_factory.mktemp("server"), **settings) as server:
        yield server


@pytest.fixture
def key() -> Key:
    return new_caller()


@pytest.fixture
def client(server: RunningServer, key: Key, url: str) -> Iterator[Client]:
    """Of an API key that the replica knows, and the server reads lists from it."""
    with Client(server.url, key.token) as client:
        wait_for(lambda: replayed(url, key), 60, "the replica has the API key")
        wait_for(lambda: from_replica(listed(client)), 60, "the replica is in use")
        yield client


def replayed(url: str, key: Key) -> bool:
    return bool(query("select 1 from api_key where id = %s", [key.row.id], dsn=url))


def listed(client: Client, **headers: str) -> Answer:
    answer = client.send("GET", LIST, headers=headers)
    assert answer.status == 200, answer.body
    return answer


def keys(answer: Answer) -> list[str]:
    return [entry["key"] for entry in answer.json()["keys"]]


def from_replica(answer: Answer) -> bool:
    lag = answer.header(LAG_HEADER)
    assert lag is None or 0 <= int(lag) <= MAX_LAG_SECONDS
    return lag is not None


class paused:
    """The replica hears of everything and replays nothing."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __enter__(self) -> None:
        query("select pg_wal_replay_pause()", dsn=self.url)
        wait_for(lambda: query("select pg_get_wal_replay_pause_state()", dsn=self.url) == [("paused",)], 30, "paused")

    def __exit__(self, *_: object) -> None:
        query("select pg_wal_replay_resume()", dsn=self.url)


def test_lists_and_reports_come_from_the_replica(client: Client) -> None:
    client.put("a", "value")
    wait_for(lambda: keys(listed(client)) == ["a"], 30, "listed")
    assert from_replica(listed(client))
    for path in (f"{LIST}?include=stats", USAGE, "/api/v1/usage/top"):
        answer = client.send("GET", path)
        assert (answer.status, from_replica(answer)) == (200, True), path


def test_what_must_be_exact_comes_from_the_primary(client: Client, url: str, key: Key) -> None:
    """Values, charges, balances and who may ask hold at once, whatever the replica knows."""
    with paused(url):
        assert client.put("a", "value").status == 201
        assert client.get("a").json()["hit"] is True
        assert client.delete("a").json()["deleted"] is True
        for path in ("/api/v1/account", "/api/v1/invoices"):
            answer = client.send("GET", path)
            assert (answer.status, from_replica(answer)) == (200, False), path
        revoke(key)
        assert client.send("GET", LIST).status == 401
        assert client.send("GET", USAGE).status == 401


def test_a_replica_too_far_behind_is_not_asked(client: Client, url: str) -> None:
    with paused(url):
        client.put("a", "value")
        answer = listed(client, **FRESH)
        assert (keys(answer), from_replica(answer)) == (["a"], False)
        for _ in range(50):  # each answer is either behind, and says so, or the primary's
            answer = listed(client)
            assert from_replica(answer) == (keys(answer) == [])
        wait_for(lambda: not from_replica(listed(client)), 30, "too far behind")
        assert keys(listed(client)) == ["a"]
    wait_for(lambda: from_replica(listed(client)), 60, "in use again")
    assert keys(listed(client)) == ["a"]


def test_an_idle_primary_leaves_no_lag(client: Client, url: str) -> None:
    """Nothing is written, and still it is known that nothing is missing."""
    for _ in range(3):
        answer = listed(client)
        wait_for(lambda: from_replica(listed(client)), 10, "in use")
        assert answer.status == 200


def test_a_report_of_the_command_holds_what_was_there_when_it_began(
    client: Client, url: str, settings: Settings
) -> None:
    settings.REPLICA_URL, settings.REPLICA_MAX_LAG_SECONDS = url, 20
    recovers = "select pg_is_in_recovery()"
    with command_rows() as rows:
        assert rows(recovers, {}) == [(True,)]
    settings.REPLICA_MAX_LAG_SECONDS = 1
    with paused(url):
        client.put("a", "value")
        with command_rows() as rows:
            assert rows(recovers, {}) == [(False,)]
    settings.REPLICA_URL = make_conninfo(url, port="1")
    with command_rows() as rows:
        assert rows(recovers, {}) == [(False,)]
    settings.REPLICA_URL = make_conninfo(django_settings.DATABASE_DSN, dbname=connection.settings_dict["NAME"])
    with command_rows() as rows:  # no replica
        assert rows(recovers, {}) == [(False,)]


def test_a_report_of_the_command_goes_on_without_the_replica(url: str, settings: Settings) -> None:
    settings.REPLICA_URL, settings.REPLICA_MAX_LAG_SECONDS = url, 20
    recovers = "select pg_is_in_recovery()"
    with command_rows() as rows:
        assert rows(recovers, {}) == [(True,)]
        with pytest.raises(DatabaseError):
            rows("select from there_is_none", {})
        assert rows(recovers, {}) == [(False,)]


# Last, for they end the replica


def test_a_replica_that_falls_silent_holds_up_nobody(client: Client, standby: embedded.Server) -> None:
    client.put("a", "value")
    assert standby.pid is not None
    stopped = {standby.pid, *descendants(standby.pid)}
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        wait_for(lambda: not from_replica(listed(client)), 30, "given up")
        assert keys(listed(client)) == ["a"]
    finally:
        for pid in stopped:
            if alive(pid):
                os.kill(pid, signal.SIGCONT)
    wait_for(lambda: from_replica(listed(client)), 60, "in use again")


def test_a_replica_that_stops_is_replaced_by_the_primary(client: Client, standby: embedded.Server) -> None:
    client.put("a", "value")
    standby.stop()
    for _ in range(5):
        assert listed(client).status == 200
    wait_for(lambda: keys(listed(client)) == ["a"], 30, "the primary's list")
    assert not from_replica(listed(client))
    standby.start()
    wait_for(lambda: from_replica(listed(client)), 60, "in use again")


def test_a_promoted_replica_is_none(key: Key, tmp_path: Path) -> None:
    """One of the test's own, for it follows nobody any more."""
    with running_standby(tmp_path / "standby") as standby:
        url = make_conninfo(standby.dsn(), dbname=connection.settings_dict["NAME"])
        settings = {"CACHE_REPLICA_URL": url, "CACHE_REPLICA_MAX_LAG_SECONDS": str(MAX_LAG_SECONDS)}
        with own_server(tmp_path, **settings) as server, Client(server.url, key.token) as client:
            wait_for(lambda: from_replica(listed(client)), 60, "in use")
            assert query("select pg_promote()", dsn=url) == [(True,)]
            wait_for(lambda: not from_replica(listed(client)), 30, "given up")
            client.put("a", "value")
            assert keys(listed(client)) == ["a"]
