"""What a gateway process knows of tenants: a second old at most, asked for once, kept while the database is away."""

import asyncio
import gc
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

import pytest
from asgiref.sync import sync_to_async
from django.test import override_settings
from psycopg.conninfo import make_conninfo
from pytest_django import Settings

from accounts import keyring, sealed
from accounts.models import Tenant, TenantSecret
from cacheservice.entries.side import SidePool
from cacheservice.errors import Unavailable
from gateway import directory as directories
from gateway import providers
from gateway.budgets import Budget as KnownBudget
from gateway.directory import Directory
from gateway.models import Budget, ModelPrice, Provider
from gateway.policy import Policy
from gateway.pricing import Rates
from gateway.providers import ProviderSettings
from tests.cast import ACTOR, new_tenant
from tests.conftest import new_master_key
from tests.store_cast import database_dsn

SECRET = b"sk-a-credential-of-the-tests"
OPENAI = ProviderSettings(kind="openai", credential=SECRET)


class Counted:
    """A real database that can go away, and how often it was asked."""

    def __init__(self, dsn: str = "") -> None:
        self._up = SidePool(dsn or database_dsn(), "tests")
        with override_settings(QUEUE_TIMEOUT_SECONDS=0.1):  # which a statement waits for a database that is away
            self._down = SidePool(nowhere(), "tests")
        self.away = False
        self.asked = 0

    async def __aenter__(self) -> Self:
        await self._up.open()
        await self._down.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._up.close()
        await self._down.close()

    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        self.asked += 1
        return await (self._down if self.away else self._up).rows(statement, parameters)


class Clock:
    """In seconds, and only by hand."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def nowhere() -> str:
    """A database server that is not running."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return make_conninfo(database_dsn(), host="127.0.0.1", port=listener.getsockname()[1])


Scenario = Callable[[Directory, Counted, Clock], Awaitable[None]]


def run(scenario: Scenario) -> None:
    async def bounded() -> None:
        clock = Clock()
        async with asyncio.timeout(60), Counted() as database:
            await scenario(Directory(database, clock), database, clock)

    asyncio.run(bounded())


@pytest.fixture
def tenant() -> Tenant:
    return new_tenant()


def put(tenant: Tenant, name: str = "main", wanted: ProviderSettings = OPENAI) -> Provider:
    return providers.put_provider(tenant.id, name, wanted, ACTOR)[0]


put_async = sync_to_async(put)


def test_knows_all_that_a_tenant_has_set(tenant: Tenant) -> None:
    put(new_tenant(), "theirs")
    put(tenant, "second", replace(OPENAI, credential=None))
    policy = Policy(ttl=60, personal_data=("email",))
    row = put(tenant, "main", replace(OPENAI, policy=policy, fallbacks=("second",)))
    exact = Decimal("123456789.123456789")
    ModelPrice.objects.create(tenant_id=tenant.id, provider="main", model="m", input_per_million=exact, per_call=0)
    limit = Budget.objects.create(tenant_id=tenant.id, api_key_id=5, model="m", usd_per_day=Decimal("0.000000001"))
    every = Budget.objects.create(tenant_id=tenant.id, usd_per_day=Decimal(10), alert_percent=50)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        tenancy = await directory.get(tenant.id)
        assert list(tenancy.providers) == ["main", "second"]
        main, second = tenancy.providers["main"], tenancy.providers["second"]
        assert (main.tenant_id, main.name, main.kind, main.base_url) == (
            tenant.id,
            "main",
            "openai",
            "https://api.openai.com",
        )
        assert (main.credential, main.credential_header, main.policy) == (SECRET, "authorization", policy)
        assert (main.fallbacks, main.unusable) == (("second",), "")
        assert main.revision == int(row.updated_at.timestamp()) * 1_000_000 + row.updated_at.microsecond
        assert (second.credential, second.policy, second.fallbacks, second.unusable) == (None, Policy(), (), "")
        assert tenancy.prices == {("main", "m"): Rates(input_per_million=exact, per_call=Decimal(0))}
        assert set(tenancy.budgets) == {
            KnownBudget(tenant.id, limit.id, 5, "m", Decimal("0.000000001"), 80),
            KnownBudget(tenant.id, every.id, None, "", Decimal(10), 50),
        }
        assert database.asked == 1
        assert SECRET.decode() not in repr(tenancy)

    run(scenario)


def test_tenant_without_anything_has_nothing(tenant: Tenant) -> None:
    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        for id in (tenant.id, 1):
            tenancy = await directory.get(id)
            assert (tenancy.providers, tenancy.prices, tenancy.budgets) == ({}, {}, ())

    run(scenario)


def test_change_holds_within_a_second(tenant: Tenant) -> None:
    put(tenant)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        assert directory.known(tenant.id) is None
        first = await directory.get(tenant.id)
        await put_async(tenant, "main", replace(OPENAI, policy=Policy(cache=False), credential=b"new"))
        clock.now += 0.999
        assert directory.known(tenant.id) is first
        assert await directory.get(tenant.id) is first
        assert database.asked == 1
        clock.now += 0.001
        assert directory.known(tenant.id) is None
        second = (await directory.get(tenant.id)).providers["main"]
        assert (second.policy.cache, second.credential) == (False, b"new")
        assert second.revision > first.providers["main"].revision
        assert database.asked == 2

    run(scenario)


def test_what_has_not_changed_is_the_same_object(tenant: Tenant) -> None:
    put(tenant)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        first = await directory.get(tenant.id)
        clock.now += 1
        assert await directory.get(tenant.id) is first
        assert database.asked == 2

    run(scenario)


def test_asked_for_once_by_all_who_want_it(tenant: Tenant) -> None:
    put(tenant)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        impatient = asyncio.create_task(directory.get(tenant.id))
        await asyncio.sleep(0)
        impatient.cancel()  # and that ends nobody else's waiting
        found = await asyncio.gather(*(directory.get(tenant.id) for _ in range(200)))
        assert len({id(tenancy) for tenancy in found}) == 1
        assert impatient.cancelled()
        assert database.asked == 1

    run(scenario)


def test_looks_ahead_where_requests_come(tenant: Tenant) -> None:
    put(tenant)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        for _ in range(3):
            directory.expect(tenant.id)
        await directory.get(tenant.id)
        assert database.asked == 1
        clock.now += 0.4
        directory.expect(tenant.id)
        assert database.asked == 1
        clock.now += 0.1
        await put_async(tenant, "other", OPENAI)
        directory.expect(tenant.id)
        while "other" not in directory.known(tenant.id).providers:  # type: ignore[union-attr]
            await asyncio.sleep(0.001)
        clock.now += 0.9  # which is too old for what was known first
        assert directory.known(tenant.id) is not None
        assert database.asked == 2

    run(scenario)


def test_look_ahead_may_fail(tenant: Tenant) -> None:
    """And nobody is told who did not ask."""

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        told: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        database.away = True
        directory.expect(tenant.id)
        with pytest.raises(Unavailable):
            await directory.get(tenant.id)
        directory.expect(tenant.id)
        await asyncio.sleep(0.3)
        gc.collect()
        database.away = False
        assert (await directory.get(tenant.id)).providers == {}
        assert told == []

    run(scenario)


def test_serves_what_it_knew_while_the_database_is_away(tenant: Tenant) -> None:
    put(tenant)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        known = await directory.get(tenant.id)
        database.away = True
        with pytest.raises(Unavailable):
            await directory.get(new.id)
        asked = database.asked
        for _ in range(60):
            clock.now += 1
            assert await directory.get(tenant.id) is known
            assert directory.known(tenant.id) is known  # it does not wait for the database at each request
        assert database.asked == asked + 60
        clock.now += 1
        with pytest.raises(Unavailable):
            await directory.get(tenant.id)
        database.away = False
        assert await directory.get(tenant.id) is known

    new = new_tenant()
    run(scenario)


def test_credential_that_does_not_open_spoils_only_its_provider(tenant: Tenant) -> None:
    put(tenant, "bad")
    put(tenant, "good")
    secret = TenantSecret.objects.get(tenant=tenant, name="gateway:bad")
    flipped = bytes(secret.sealed[:-1]) + bytes([secret.sealed[-1] ^ 1])
    TenantSecret.objects.filter(tenant=tenant, name="gateway:bad").update(sealed=flipped)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        found = (await directory.get(tenant.id)).providers
        assert (found["good"].credential, found["good"].unusable) == (SECRET, "")
        assert found["bad"].credential is None
        assert found["bad"].unusable == "The credential of 'bad' cannot be opened; the operator has been told."
        await put_async(tenant, "bad")
        clock.now += 1
        assert (await directory.get(tenant.id)).providers["bad"].unusable == ""

    try:
        run(scenario)
    finally:
        TenantSecret.objects.filter(tenant=tenant, name="gateway:bad").delete()  # rotations open every secret


def test_secret_of_another_provider_or_tenant_does_not_open(tenant: Tenant) -> None:
    put(tenant, "one")
    put(tenant, "two", replace(OPENAI, credential=b"of two"))
    other = new_tenant()
    put(other, "one", replace(OPENAI, credential=b"of another tenant"))
    mine = TenantSecret.objects.filter(tenant=tenant, name="gateway:one")

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        one = (await directory.get(tenant.id)).providers["one"]
        assert one.credential is None
        assert one.unusable

    try:
        for theirs in ({"tenant": tenant, "name": "gateway:two"}, {"tenant": other, "name": "gateway:one"}):
            mine.update(sealed=bytes(TenantSecret.objects.get(**theirs).sealed))
            run(scenario)
    finally:
        mine.delete()  # whoever rotates the master key opens every secret


def test_master_key_may_change_while_it_runs(tenant: Tenant, settings: Settings, tmp_path: Path) -> None:
    former = settings.MASTER_KEY
    file = settings.MASTER_KEY_FILE = tmp_path / "master.key"
    file.write_text(f"{former}\n")
    put(tenant)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        assert (await directory.get(tenant.id)).providers["main"].credential == SECRET
        file.write_text(f"{new_master_key()}\n{former}\n")
        await sync_to_async(sealed.put)(tenant.id, "gateway:main", b"sealed with the new one")
        assert (await sync_to_async(TenantSecret.objects.get)(tenant=tenant)).master_key_id == keyring.load().current
        clock.now += 1
        assert (await directory.get(tenant.id)).providers["main"].credential == b"sealed with the new one"

    run(scenario)
    TenantSecret.objects.filter(tenant=tenant).delete()  # the new master key ends with this test


def test_knows_a_bounded_number_of_tenants(tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(directories, "MOST_TENANTS", 3)

    async def scenario(directory: Directory, database: Counted, clock: Clock) -> None:
        for id in (1, 2, 3, 4):
            await directory.get(id)
        assert [directory.known(id) is not None for id in (1, 2, 3, 4)] == [False, True, True, True]
        clock.now += 1
        await directory.get(2)  # which is now the one that was read last
        await directory.get(5)
        assert [directory.known(id) is not None for id in (2, 5)] == [True, True]

    run(scenario)
