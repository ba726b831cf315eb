"""SIGKILL, to server processes and to PostgreSQL, under 64 clients that keep the books.

Afterwards every acknowledged write is there to the byte; acknowledged hits ⊆ receipts ⊆ acknowledged ∪ unknown; and the
invariants of `tests/meters.py` hold.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from django.db import connection
from psycopg.conninfo import make_conninfo

from cacheservice.embedded import Server
from cacheservice.entries.rollup import rollup
from cacheservice.supervisor import Child, Failed, server_command, wait_until_ready
from tests.failing_database import own_service
from tests.faults.load import LOST, Books, Load
from tests.faults.outcome import Outcome, progress
from tests.meters import prepaid_tenant
from tests.processes import HOST, ROOT, descendants, free_port, wait_for
from tests.store_cast import new_token, query

CLIENTS, SERVERS, API_KEYS = 64, 3, 4
ANSWERED = 200, 201, 404
ANSWERS = 300  # before a kill, and after it
CREDITS = 10**9  # units: more than are spent
STATEMENT_TIMEOUT_SECONDS = "2"
SERVES_AGAIN_SECONDS = 10
SETTLED_SECONDS = 20


class Servers:
    """Server processes on this worker's test database, of which one is killed at a time and started again meanwhile:
    a new one takes seconds to start, and the others go on."""

    def __init__(self, directory: Path) -> None:
        self._log_path = directory / "servers.log"
        dsn = make_conninfo(os.environ["DATABASE_URL"], dbname=connection.settings_dict["NAME"])
        self._environment = {**os.environ, "DATABASE_URL": dsn}
        self._running: list[Child] = []
        self._up: dict[str, Child] = {}
        self._starting: list[threading.Thread] = []
        self._errors: list[Exception] = []

    def __enter__(self) -> Self:
        for _ in range(SERVERS):
            self._start()
        wait_for(lambda: len(self._up) == SERVERS or bool(self._errors), 120, "the servers are up")
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        for thread in self._starting:
            thread.join()
        for child in self._running:
            child.stop()
        if self._errors:
            raise self._errors[0]

    def urls(self) -> Sequence[str]:
        return list(self._up)

    def kill(self, chance: random.Random) -> None:
        """One, with all its processes, as soon as another is up."""
        wait_for(lambda: len(self._up) > 1 or bool(self._errors), 120, "another server is up")
        if self._errors:
            raise self._errors[0]
        url = chance.choice(list(self._up))
        child = self._up.pop(url)
        self._running.remove(child)  # before others may have its pid
        os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self._start()

    def _start(self) -> None:
        """In this thread, with which the process would end; another one waits for it."""
        port = free_port()
        command = server_command(HOST, port)
        child = Child.start("server", command, log_path=self._log_path, directory=ROOT, environment=self._environment)
        self._running.append(child)
        thread = threading.Thread(target=self._wait_for, args=(port, child))
        self._starting = [each for each in self._starting if each.is_alive()] + [thread]
        thread.start()

    def _wait_for(self, port: int, child: Child) -> None:
        try:
            wait_until_ready(HOST, port, [child], timeout=120)
        except Failed as error:
            self._errors.append(error)
        else:
            self._up[f"http://{HOST}:{port}"] = child


def server_kills(kills: int, seed: int, directory: Path) -> Outcome:
    """A server process is killed under load, so often; each time with a tenant of its own."""
    outcome = Outcome(kills)
    chance = random.Random(seed)
    with Servers(directory) as servers:
        for number in range(1, kills + 1):
            tenant = prepaid_tenant(CREDITS)
            tokens = [new_token(tenant) for _ in range(API_KEYS)]
            books = Books(tenant.id)
            with Load(
                servers.urls, tokens, books, clients=CLIENTS, seed=f"{seed}-{number}", refunded_503=False
            ) as load:
                load.wait_for(ANSWERS, *ANSWERED)
                servers.kill(chance)
                load.wait_for(ANSWERS, *ANSWERED)
                rollup(seconds=1)
            _add(outcome, f"kill {number}", books, books.deviations())
            progress(number, kills, outcome)
    return outcome


def database_kills(kills: int, seed: int, directory: Path) -> Outcome:
    """PostgreSQL is killed under load, so often, with all its processes; the server stays, and refunds what it must."""
    outcome = Outcome(kills)
    with own_service(directory, {"CACHE_STATEMENT_TIMEOUT_SECONDS": STATEMENT_TIMEOUT_SECONDS}) as service:
        dsn = service.database.dsn()
        [(tenant_id,)] = query("select id from tenant where name = 'tests'", dsn=dsn)
        for number in range(1, kills + 1):
            books = Books(tenant_id, dsn)
            with Load(
                lambda: [service.server.url],
                [service.token],
                books,
                clients=CLIENTS,
                seed=f"{seed}-{number}",
                refunded_503=True,
            ) as load:
                load.wait_for(ANSWERS, *ANSWERED)
                kill_all(service.database)
                load.wait_for(20, 503)
                service.database.start()
                load.wait_for(1, *ANSWERED, seconds=SERVES_AGAIN_SECONDS)
                load.wait_for(ANSWERS, *ANSWERED)
            _add(outcome, f"kill {number}", books, _settled(books))
            outcome.expect(books.statuses[LOST] == 0, f"kill {number}: {books.statuses[LOST]} connections lost")
            progress(number, kills, outcome)
        refunds = "select coalesce(-sum(hits), 0)::int from receipt where tenant_id = %s and hits < 0"
        outcome.add("hits refunded", query(refunds, [tenant_id], dsn=dsn)[0][0])
    return outcome


def kill_all(database: Server) -> None:
    """The main process and all its own at once."""
    assert database.pid is not None
    for pid in {database.pid, *descendants(database.pid)}:
        with suppress(ProcessLookupError):  # it has noticed that the first of them is gone
            os.kill(pid, signal.SIGKILL)
    database.kill()


def _settled(books: Books) -> list[str]:
    """What deviates once refunds had the time that they need."""
    deadline = time.monotonic() + SETTLED_SECONDS
    while (found := books.deviations()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return found


def _add(outcome: Outcome, what: str, books: Books, deviations: Sequence[str]) -> None:
    outcome.deviations += [f"{what}: {each}" for each in (*books.wrong, *deviations)]
    outcome.add("writes acknowledged", books.counts["writes"])
    outcome.add("hits acknowledged", books.hits.total())
    if books.statuses[LOST]:
        outcome.add("answers lost", books.statuses[LOST])
    if books.statuses[503]:
        outcome.add("answers of 503", books.statuses[503])
