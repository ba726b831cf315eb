"""Entries to measure with: random ones of about 1 KB, and expired ones for the purge."""

import http.client
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg

from bench.measurement import BenchError
from bench.service import HOST, Owner, Service

BATCH = 256
LOADERS = 4
ATTEMPTS = 5
STATEMENT = timedelta(milliseconds=5)  # from one of a hurried import to the next
LAST_KEYS, LAST_TAG = "k99", "late"  # a hundredth of a million keys, which come after all others, have the tag
VALUE_BYTES = 480  # random ones, twice that in hexadecimal: the value has 1 KB


def new_value() -> bytes:
    """A JSON value that does not compress below half."""
    return b'{"role":"assistant","content":"%s"}' % secrets.token_hex(VALUE_BYTES).encode()


def write_entries(service: Service, count: int) -> None:
    """Write k0 … k<count-1> through the API, as batches over a few connections."""

    def write(numbers: range) -> None:
        connection = http.client.HTTPConnection(HOST, service.port, timeout=60)
        try:
            for first in range(numbers.start, numbers.stop, BATCH):
                _write_batch(connection, service.token, range(first, min(first + BATCH, numbers.stop)))
        finally:
            connection.close()

    share = -(-count // LOADERS)
    parts = [range(first, min(first + share, count)) for first in range(0, count, share)]
    with ThreadPoolExecutor(LOADERS) as pool:
        list(pool.map(write, parts))


def _write_batch(connection: http.client.HTTPConnection, token: str, numbers: Sequence[int]) -> None:
    """Repeats those that a busy machine could not take."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    for _ in range(ATTEMPTS):
        puts = [b'{"op":"put","key":"k%d","value":%s,"ttl":86400}' % (number, new_value()) for number in numbers]
        connection.request("POST", "/api/v1/batch", b'{"operations":[%s]}' % b",".join(puts), headers)
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200:
            raise BenchError(f"loading failed: {response.status} {answer}")
        results = list(zip(numbers, answer["results"], strict=True))
        numbers = [number for number, result in results if result["status"] not in (200, 201)]
        if not numbers:
            return
    failures = [result for _, result in results if result["status"] not in (200, 201)]
    raise BenchError(f"loading failed: {failures[0]}")


def copy_entries(dsn: str, owner: Owner, count: int) -> None:
    """Write k0 … k<count-1> straight into the table, sealed as the store does: a million takes under a minute.

    Their times are those of an import with one TTL: as many as a statement of the store writes have the same.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from accounts import keyring
    from accounts.models import DataKey
    from bench.service import disconnect_django
    from cacheservice.entries import crypto, gather

    stored = DataKey.objects.get(tenant_id=owner.tenant_id, version=1)
    disconnect_django()
    wrapped = keyring.WrappedKey(bytes(stored.wrapped), stored.master_key_id)
    cipher = AESGCM(keyring.load().unwrap(wrapped, owner.tenant_id, 1))

    def rows() -> Iterator[tuple[object, ...]]:
        began = datetime.now(UTC) - STATEMENT * (count // gather.MAX_BATCH)
        for number in range(count):
            key, value, version = f"k{number}", new_value(), secrets.randbits(63)
            identity = crypto.Identity(owner.tenant_id, 0, key, 1, version, None)
            sealed = crypto.seal(cipher, identity, value)
            written = began + STATEMENT * (number // gather.MAX_BATCH)
            yield (key, sealed, len(value), version, written, written + timedelta(days=1))

    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(
            "create temp table loaded (key text, value bytea, size int, version bigint, created_at timestamptz, "
            "expires_at timestamptz) on commit drop"
        )
        with cursor.copy("copy loaded from stdin (format binary)") as copy:
            copy.set_types(["text", "bytea", "int4", "int8", "timestamptz", "timestamptz"])
            for row in rows():
                copy.write_row(row)
        cursor.execute(
            "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
            "created_at, expires_at) "
            "select %s, 0, key, value, 1, size, case when key like %s then array[%s] else '{}' end, version, %s, "
            "created_at, expires_at from loaded",
            [owner.tenant_id, f"{LAST_KEYS}%", LAST_TAG, owner.api_key_id],
        )


def copy_expired_entries(dsn: str, owner: Owner, count: int) -> None:
    """Entries that expired within the hour before the last one; nobody will open their values, which are noise."""
    noise = os.urandom(1 << 20)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
            "created_at, expires_at) "
            "select %(tenant_id)s, 0, 'e' || n, substr(%(noise)s::bytea, 1 + n %% 1000000, 1029), 1, 1000, '{}', n, "
            "%(api_key_id)s, now() - interval '1 day', now() - interval '1 hour' - random() * interval '1 hour' "
            "from generate_series(1, %(count)s) as n",
            {"tenant_id": owner.tenant_id, "api_key_id": owner.api_key_id, "noise": noise, "count": count},
        )


def count_entries(dsn: str, owner: Owner) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("select count(*) from entry where tenant_id = %s", [owner.tenant_id]).fetchone()
        assert row is not None
        return int(row[0])
