"""A clock that tests set: the service's own statements run on it.

The service's time is PostgreSQL's `statement_timestamp()`, and `clock_timestamp()` of reports. A schema that is
searched before PostgreSQL's own has functions of these names, which say what a table of one row says. Whoever connects
with the clock's `dsn` has its statements prepared with them. A statement reads one time, its snapshot's, as with the
real clock.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self

import psycopg
from django.db import connection as django_connection
from psycopg.conninfo import make_conninfo

from tests.store_cast import database_dsn

SEARCH_PATH = "fake_clock, pg_catalog, public"
MAKE = """
create schema if not exists fake_clock;
create unlogged table if not exists fake_clock.clock (id int primary key, now timestamptz not null)
  with (fillfactor = 10);
create or replace function fake_clock.statement_timestamp() returns timestamptz stable language sql
  as 'select now from fake_clock.clock';
create or replace function fake_clock.clock_timestamp() returns timestamptz stable language sql
  as 'select now from fake_clock.clock';
"""


class FakeClock:
    """`with FakeClock(start) as clock:`; one at a time in a database. It only ever goes forward."""

    def __init__(self, start: datetime, dsn: str = "") -> None:
        self._real_dsn = dsn or database_dsn()
        self.now = start

    def __enter__(self) -> Self:
        self._connection = psycopg.connect(self._real_dsn, autocommit=True)
        self._connection.execute(MAKE)
        self._connection.execute("truncate fake_clock.clock")
        self._connection.execute("insert into fake_clock.clock values (1, %s)", [self.now])
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._connection.close()

    @property
    def dsn(self) -> str:
        """Connections that live by this clock."""
        return make_conninfo(self._real_dsn, options=f"-csearch_path={SEARCH_PATH.replace(' ', '')}")

    @property
    def microseconds(self) -> int:
        """Since 1970, as meters have it."""
        return microseconds(self.now)

    def advance(self, by: timedelta) -> None:
        self.set(self.now + by)

    def set(self, now: datetime) -> None:
        """Return when every statement that begins from here on sees it."""
        assert now >= self.now
        self._connection.execute("update fake_clock.clock set now = %s", [now])
        self.now = now

    def query(self, statement: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run it by this clock, committed."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters)
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def for_django(self) -> Iterator[None]:
        """Inside, what runs on Django's connection (commands, tasks) lives by this clock."""
        with django_connection.cursor() as cursor:
            cursor.execute(f"set search_path = {SEARCH_PATH}")
        try:
            yield
        finally:
            with django_connection.cursor() as cursor:
                cursor.execute("reset search_path")


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
