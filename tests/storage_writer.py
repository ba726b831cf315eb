"""API keys that write by a clock of the tests' own, and what the meters say of them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from accounts.models import APIKey, Tenant
from billing.limits import set_api_key_limits
from cacheservice.entries.collection import Selection
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Stored
from tests.cast import ACTOR
from tests.fake_clock import FakeClock
from tests.meters import integral, stored
from tests.running_stores import RunningStores
from tests.store_cast import entry, new_caller

START = datetime(2032, 2, 28, 23, 59, 30, tzinfo=UTC)
SECOND = 1_000_000  # microseconds


@pytest.fixture(name="clock", scope="module")
def clock_fixture(django_db_setup: None) -> Iterator[FakeClock]:
    with FakeClock(START) as clock:
        yield clock


@pytest.fixture(name="stores", scope="module")
def stores_fixture(clock: FakeClock) -> Iterator[RunningStores]:
    """One that lives by the clock."""
    with RunningStores(1, clock.dsn) as stores:
        yield stores


class Writer:
    """An API key that writes by the clock."""

    def __init__(self, stores: RunningStores, clock: FakeClock, caller: Caller | None = None) -> None:
        self.caller = caller or new_caller()
        self._stores, self._clock = stores, clock

    @property
    def tenant(self) -> Tenant:
        return Tenant.objects.get(id=self.caller.tenant_id)

    def another(self) -> "Writer":
        """Another API key of the same tenant."""
        return Writer(self._stores, self._clock, new_caller(self.tenant))

    def put(self, key: str, size: int, ttl: int = 1000, **options: Any) -> Stored:
        tags = options.pop("tags", ())
        return self._stores.run(
            self._stores[0].put(self.caller, key, entry(bytes(size), ttl=ttl, tags=tags), **options)
        )

    def patch(self, key: str, ttl: int) -> bool:
        return self._stores.run(self._stores[0].patch(self.caller, key, ttl, None)) is not None

    def delete(self, key: str) -> bool:
        return self._stores.run(self._stores[0].delete(self.caller, key))

    def delete_selected(self, selection: Selection) -> int:
        return self._stores.run(self._stores[0].delete_selected(self.caller, selection))

    def limit(self, size: int) -> None:
        api_key = APIKey.objects.get(tenant_id=self.caller.tenant_id, id=self.caller.api_key_id)
        set_api_key_limits(api_key, storage_quota=size, actor=ACTOR)

    def holds(self) -> int:
        return stored(self.caller.tenant_id, self.caller.api_key_id)

    def byte_seconds(self) -> float:
        """Until now. Microseconds are what the meter counts; the tests' times are whole seconds."""
        return integral(self.caller.tenant_id, self.caller.api_key_id, self._clock.microseconds) / SECOND

    def tenant_holds(self) -> int:
        return stored(self.caller.tenant_id)

    def tenant_byte_seconds(self) -> float:
        return integral(self.caller.tenant_id, 0, self._clock.microseconds) / SECOND


@pytest.fixture(name="writer")
def writer_fixture(stores: RunningStores, clock: FakeClock) -> Writer:
    return Writer(stores, clock)


def seconds(count: int) -> timedelta:
    return timedelta(seconds=count)
