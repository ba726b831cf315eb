"""How long the console's pages take for a tenant with many entries and a year of usage."""

import http.client
import statistics
import time
from datetime import UTC, datetime, timedelta

import psycopg

from bench import entries
from bench.measurement import BenchError
from bench.metering import django_on
from bench.service import HOST, Owner, Service, copy_of_database, running_service, vacuum
from bench.throughput import say

ENTRIES = 1_000_000
API_KEYS, DAYS = 50, 365
RUNS = 15
# Beside the pages' own first views: what searches, sorts or looks back far.
MORE = {
    "overview": ("?range=24h", "?range=30d"),
    "entries": ("?prefix=k99", f"?tag={entries.LAST_TAG}", "?sort=newest", "?sort=size", "?sort=expiry", "?sort=hits"),
    "usage": ("?group_by=day&range=30d", "?group_by=month"),
}


def measure(template: str, owner: Owner, count: int = ENTRIES) -> dict[str, float]:
    """Median milliseconds of each page, from the request to its last byte."""
    dsn = copy_of_database(template, "console")
    say(f"loading {count:,} entries with their statistics, and a year of usage of {API_KEYS} API keys")
    entries.copy_entries(dsn, owner, count)
    _fill(dsn, owner)
    vacuum(dsn)
    with django_on(dsn):
        cookie = _signed_in(owner)
    with running_service(dsn, owner) as service:
        return {path or "overview": _median_ms(service, cookie, owner, path) for path in _paths()}


def _paths() -> list[str]:
    from console.urls import TENANT_PAGES

    patterns = [url for module in TENANT_PAGES for url in module.urls if "<" not in str(url.pattern)]
    paths = []
    for url in patterns:
        paths.append(str(url.pattern))
        paths += [f"{url.pattern}{query}" for query in MORE.get(url.name, ())]
    return paths


def _fill(dsn: str, owner: Owner) -> None:
    """Every entry was hit; and usage rollups of every hour, day and month of the last year."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "insert into entry_stats (tenant_id, version, hits, last_hit_at, saved) "
            "select tenant_id, version, 1 + abs(version) %% 1000, now(), (1 + abs(version) %% 1000) * 0.04 from entry "
            "where tenant_id = %s",
            [owner.tenant_id],
        )
        for period, unit in enumerate(("hour", "day", "month")):
            connection.execute(
                "insert into usage_rollup (tenant_id, period, api_key_id, start, hits, misses, units, saved, "
                "storage_delta, storage_moment) "
                "select %s, %s, case k when 1 then %s else k end, date_trunc(%s, s, 'UTC'), sum(7), sum(3), sum(7), "
                "sum(0.28), 0, 0 from generate_series(1, %s) k, generate_series(%s::timestamptz, %s, "
                "interval '1 hour') s group by 3, 4",
                [owner.tenant_id, period, owner.api_key_id, unit, API_KEYS, now - timedelta(days=DAYS), now],
            )
        connection.execute("vacuum analyze")


def _signed_in(owner: Owner) -> str:
    """The cookie of an owner of the tenant."""
    from django.conf import settings
    from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY

    from accounts.models import Tenant
    from accounts.sessions import SessionKey, SessionStore
    from console.tenancy import add_owner

    user = add_owner(Tenant.objects.get(id=owner.tenant_id), "owner@example.com", "of no importance here")
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert isinstance(session.session_key, SessionKey)
    return f"{settings.SESSION_COOKIE_NAME}={session.session_key.token}"


def _median_ms(service: Service, cookie: str, owner: Owner, path: str) -> float:
    """0 where the page cannot be looked at by itself: it only takes a POST, or wants an argument."""
    from accounts import tokens

    milliseconds = []
    connection = http.client.HTTPConnection(HOST, service.port, timeout=60)
    for _ in range(1 + RUNS):
        began = time.perf_counter()
        connection.request("GET", f"/console/t/{tokens.encode_id(owner.tenant_id)}/{path}", headers={"Cookie": cookie})
        response = connection.getresponse()
        response.read()
        milliseconds.append(1000 * (time.perf_counter() - began))
        if response.status in (302, 404, 405):
            return 0.0
        if response.status != 200:
            raise BenchError(f"{path} answered {response.status}")
    connection.close()
    return statistics.median(milliseconds[1:])  # the first fills buffers and compiles templates
