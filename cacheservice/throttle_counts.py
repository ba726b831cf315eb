"""Django's cache, in the database: the counts that throttle signing in, over all server processes.

Not Django's own, which keeps pickles: unpickled, a row that somebody wrote into the database would run in the server,
next to the master keys. These values are JSON. What has expired goes a few rows at a time with each write, and nothing
else does: nobody can push the counts of others out.
"""

import json
import time
from typing import Any

from django.core.cache.backends.base import DEFAULT_TIMEOUT
from django.core.cache.backends.db import BaseDatabaseCache
from django.db import connection

_READ = "select value from django_cache where cache_key = %s and expires > now()"
# One statement, so that of many that add at once one succeeds; `add` replaces only what has expired.
_PUT = """
insert into django_cache as old (cache_key, value, expires)
values (%s, %s, coalesce(now() + make_interval(secs => %s::float8), 'infinity'))
on conflict (cache_key) do update set value = excluded.value, expires = excluded.expires"""
_PUT_WHERE_EXPIRED = f"{_PUT} where old.expires <= now()"
_TOUCH = """
update django_cache set expires = coalesce(now() + make_interval(secs => %s::float8), 'infinity')
where cache_key = %s and expires > now()"""
_DELETE = "delete from django_cache where cache_key = %s"
_DROP_EXPIRED = """
delete from django_cache where cache_key in (
  select cache_key from django_cache where expires <= now() order by expires limit 10 for update skip locked)"""


class JSONCache(BaseDatabaseCache):
    """Takes what JSON can say; anything else raises TypeError."""

    def get(self, key: Any, default: Any = None, version: Any = None) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(_READ, [self.make_and_validate_key(key, version=version)])
            row = cursor.fetchone()
        return default if row is None else json.loads(row[0])

    def set(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> None:
        self._write(_PUT, key, value, timeout, version)

    def add(self, key: Any, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        return self._write(_PUT_WHERE_EXPIRED, key, value, timeout, version)

    def _write(self, statement: str, key: Any, value: Any, timeout: Any, version: Any) -> bool:
        name, text = self.make_and_validate_key(key, version=version), json.dumps(value)
        with connection.cursor() as cursor:
            cursor.execute(_DROP_EXPIRED)
            cursor.execute(statement, [name, text, self._seconds(timeout)])
            return bool(cursor.rowcount)

    def _seconds(self, timeout: Any) -> float | None:
        """From now on, by the database's clock, which all processes have in common; None: for ever."""
        expires = self.get_backend_timeout(timeout)
        return None if expires is None else expires - time.time()

    def touch(self, key: Any, timeout: Any = DEFAULT_TIMEOUT, version: Any = None) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(_TOUCH, [self._seconds(timeout), self.make_and_validate_key(key, version=version)])
            return bool(cursor.rowcount)

    def delete(self, key: Any, version: Any = None) -> bool:
        with connection.cursor() as cursor:
            cursor.execute(_DELETE, [self.make_and_validate_key(key, version=version)])
            return bool(cursor.rowcount)

    def clear(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("delete from django_cache")
