"""Celery's worker and beat as production has them, on Redis and RabbitMQ: what is scheduled is done, and once, whoever
is killed and whatever restarts meanwhile.

`CACHE_TEST_BROKERS` names the brokers to start, as `python -m tests.services` does.
"""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
import redis
from celery import Task
from celery.beat import PersistentScheduler
from kombu import Connection

from cacheservice.celery import app
from cacheservice.entries import tasks
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Store
from cacheservice.supervisor import Child, beat_command, worker_command
from tests.client import Client
from tests.meters import used
from tests.processes import HOST, ROOT, free_port, wait_for
from tests.servers import own_server
from tests.services import unprivileged
from tests.services.broker import Broker
from tests.services.rabbitmq import RabbitMQ
from tests.services.redis import Redis
from tests.store_cast import database_dsn, entry, new_caller, new_tenant, new_token, query, run_with_store
from tests.test_purge import insert

pytestmark = pytest.mark.usefixtures("committed_db")

BROKERS: dict[str, type[Broker]] = {"redis": Redis, "rabbitmq": RabbitMQ}
NAMED = os.environ.get("CACHE_TEST_BROKERS", "").split()
SECONDS = 180.0  # for what takes a few on an idle machine


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=pytest.mark.skipif(name not in NAMED, reason="make test-services runs it"))
        for name in BROKERS
    ],
)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with unprivileged.own_directory() as directory, BROKERS[request.param](directory) as running:
        yield running


@pytest.fixture
def caller() -> Caller:
    return new_caller()


@contextmanager
def running(name: str, command: list[str], broker: Broker, log_path: Path) -> Iterator[Child]:
    """A worker or beat of this worker's test database."""
    environment = {**os.environ, "DATABASE_URL": database_dsn(), "CELERY_BROKER_URL": broker.url}
    child = Child.start(name, command, log_path=log_path, directory=ROOT, environment=environment)
    try:
        yield child
    finally:
        child.stop()


@contextmanager
def running_worker(broker: Broker, tmp_path: Path) -> Iterator[Child]:
    with running("worker", worker_command(), broker, tmp_path / "worker.log") as child:
        yield child


def send(task: Task[..., None], broker: Broker) -> None:
    """As beat does."""
    with Connection(broker.url) as connection:
        app.send_task(task.name, connection=connection)


def expire_something(caller: Caller) -> None:
    insert(caller, secrets.token_hex(4), 1, "now() - interval '1 minute'")


def expired(caller: Caller) -> int:
    """How many entries that have expired are there still."""
    [(count,)] = query("select count(*) from entry where tenant_id = %s and expires_at < now()", [caller.tenant_id])
    return int(count)


def hit(caller: Caller, times: int) -> None:
    """Leaves receipts that are not folded."""

    async def scenario(store: Store) -> None:
        await store.put(caller, "key", entry(b"value"))
        for _ in range(times):
            assert await store.get(caller, "key")

    run_with_store(scenario)


def unfolded(caller: Caller) -> int:
    """How many receipts of hits no rollup has added up."""
    statement = "select count(*) from receipt where tenant_id = %s and not folded and hits > 0"
    [(count,)] = query(statement, [caller.tenant_id])
    return int(count)


def test_what_is_scheduled_is_done(broker: Broker, caller: Caller, tmp_path: Path) -> None:
    """Beat last ran an hour ago, as far as it knows."""
    schedule = tmp_path / "schedule"
    scheduler = PersistentScheduler(app, schedule_filename=str(schedule), lazy=False)
    for name in ("purge", "rollup"):
        scheduler.schedule[name].last_run_at = datetime.now(UTC) - timedelta(hours=1)
    scheduler.close()
    expire_something(caller)
    hit(caller, 3)
    with running_worker(broker, tmp_path), running("beat", beat_command(schedule), broker, tmp_path / "beat.log"):
        wait_for(lambda: not expired(caller), SECONDS, "the purge runs")
        wait_for(lambda: not unfolded(caller), SECONDS, "the rollup runs")
    assert used(caller.tenant_id).hits == 3


def test_what_a_killed_worker_had_begun_is_done_once(broker: Broker, caller: Caller, tmp_path: Path) -> None:
    """It is killed within the transaction that adds receipts to the hour: that row is held against it."""
    hit(caller, 2)
    tasks.rollup()
    before = used(caller.tenant_id)
    hit(caller, 3)
    with psycopg.connect(database_dsn()) as holder:
        holder.execute("select 1 from usage_rollup where tenant_id = %s for update", [caller.tenant_id])
        waiting = f"select 1 from pg_stat_activity where {holder.info.backend_pid} = any (pg_blocking_pids(pid))"
        with running_worker(broker, tmp_path) as worker:
            send(tasks.rollup, broker)
            wait_for(lambda: bool(query(waiting)), SECONDS, "the rollup waits for the row")
            worker.process.send_signal(signal.SIGKILL)
            worker.process.wait()
    wait_for(lambda: not query(waiting), SECONDS, "PostgreSQL has noticed")
    assert unfolded(caller)
    if isinstance(broker, Redis):
        an_hour_passes(broker)
    with running_worker(broker, tmp_path):
        wait_for(lambda: not unfolded(caller), SECONDS, "the task is delivered again")
    assert used(caller.tenant_id).hits == before.hits + 3


def an_hour_passes(broker: Broker) -> None:
    """Redis cannot know that a worker is dead: what it took comes again an hour later (kombu's visibility timeout)."""
    with redis.Redis.from_url(broker.url) as server:
        for tag, taken in server.zrange("unacked_index", 0, -1, withscores=True):
            server.zadd("unacked_index", {tag: taken - 3600})


def test_a_worker_goes_on_when_its_broker_is_back(broker: Broker, caller: Caller, tmp_path: Path) -> None:
    with running_worker(broker, tmp_path) as worker:
        for what in ("works", "works again"):
            expire_something(caller)
            send(tasks.purge, broker)
            wait_for(lambda: not expired(caller), SECONDS, f"the worker {what}")
            if what == "works":
                broker.stop()
                broker.start()
        worker.check()


def test_what_was_sent_outlives_its_broker(broker: Broker, caller: Caller, tmp_path: Path) -> None:
    """Which is stopped in order, as for an upgrade."""
    expire_something(caller)
    send(tasks.purge, broker)
    broker.stop()
    broker.start()
    with running_worker(broker, tmp_path):
        wait_for(lambda: not expired(caller), SECONDS, "the worker finds the task")


def test_servers_need_no_broker(tmp_path: Path) -> None:
    token = new_token(new_tenant())
    nobody = f"redis://{HOST}:{free_port()}/0"
    with own_server(tmp_path, CELERY_BROKER_URL=nobody) as server, Client(server.url, token) as client:
        assert client.put("key", "value").status == 201
        assert client.get("key").json()["hit"] is True
        assert client.send("GET", "/api/v1/usage").status == 200
        assert client.send("GET", "/readyz").status == 200
