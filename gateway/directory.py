"""What this process knows of tenants' providers, prices and budgets: of each tenant at most a second old.

So a change holds everywhere within a second, and a request pays for a look at a dictionary.
"""

import asyncio
import base64
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final, NamedTuple, Protocol

import msgspec
import structlog
from django.core.exceptions import ImproperlyConfigured

from accounts import keyring
from cacheservice.errors import Unavailable
from gateway import directory_sql
from gateway.budgets import Budget
from gateway.pricing import Rates
from gateway.providers import Upstream, policy_of, secret_name

log = structlog.get_logger(__name__)

FRESH_SECONDS: Final = 1.0
AHEAD_SECONDS: Final = 0.5  # before what is known gets too old, it is looked up anew where requests come
STALE_SECONDS: Final = 60.0  # for which what was known serves while the database is away
MOST_TENANTS: Final = 10_000


class Database(Protocol):
    async def rows(self, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """Raises Unavailable while the database is away."""


@dataclass(frozen=True, slots=True)
class Tenancy:
    """What a tenant has set up. Its repr tells names only."""

    providers: Mapping[str, Upstream]  # by name
    prices: Mapping[tuple[str, str], Rates] = field(repr=False)  # by provider and model
    budgets: tuple[Budget, ...]


class _Known(NamedTuple):
    tenancy: Tenancy
    rows: tuple[Any, ...]  # that it was made of
    read_at: float  # by the clock, before the database was asked
    fresh_until: float


class _ProviderRow(NamedTuple):
    name: str
    kind: str
    base_url: str
    credential_header: str
    policy: dict[str, Any]
    fallbacks: tuple[str, ...]
    revision: int
    sealed: str | None = None  # in base 64
    master_key_id: str | None = None


_Price = Decimal | None
_providers = msgspec.json.Decoder(list[_ProviderRow])
_prices = msgspec.json.Decoder(list[tuple[str, str, _Price, _Price, _Price, _Price, _Price, _Price]])
_budgets = msgspec.json.Decoder(tuple[Budget, ...])


class Directory:
    """Of one process and event loop. Raises ImproperlyConfigured without master keys."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` tells seconds."""
        self._database, self._clock = database, clock
        self._known: OrderedDict[int, _Known] = OrderedDict()  # what was read last is last
        self._loading: dict[int, asyncio.Task[Tenancy]] = {}
        self._master_keys = keyring.load()

    def known(self, tenant_id: int) -> Tenancy | None:
        """What needs no asking; None: `get` it."""
        known = self._known.get(tenant_id)
        return known.tenancy if known is not None and self._clock() < known.fresh_until else None

    def expect(self, tenant_id: int) -> None:
        """A request of the tenant has begun to come in: where what is known is missing or will soon be too old, look
        meanwhile."""
        known = self._known.get(tenant_id)
        if known is None or self._clock() >= known.fresh_until - AHEAD_SECONDS:
            self._looked_up(tenant_id)

    async def get(self, tenant_id: int) -> Tenancy:
        """Asked for once by all who want it at the same time. A tenant that is gone has nothing set up.

        Raises Unavailable where the database has been away for longer than what is known may serve.
        """
        known = self.known(tenant_id)
        return known if known is not None else await asyncio.shield(self._looked_up(tenant_id))

    def _looked_up(self, tenant_id: int) -> asyncio.Task[Tenancy]:
        """What is under way already, or begins now."""
        if tenant_id not in self._loading:
            task = self._loading[tenant_id] = asyncio.create_task(self._load(tenant_id))
            task.add_done_callback(lambda task: self._end(tenant_id, task))
        return self._loading[tenant_id]

    def _end(self, tenant_id: int, task: asyncio.Task[Tenancy]) -> None:
        del self._loading[tenant_id]
        if not task.cancelled():
            task.exception()  # for whoever waits; where nobody does, the next one asks again

    async def _load(self, tenant_id: int) -> Tenancy:
        began, former = self._clock(), self._known.get(tenant_id)
        try:
            [rows] = await self._database.rows(directory_sql.TENANCY, {"tenant_id": tenant_id})
        except Unavailable:
            if former is None or began - former.read_at > STALE_SECONDS:
                raise
            # Not asked for again at once: each time may take as long as a statement may.
            self._remember(tenant_id, former._replace(fresh_until=self._clock() + FRESH_SECONDS))
            return former.tenancy
        if former is not None and former.rows == rows and _usable(former.tenancy):
            tenancy = former.tenancy
        else:
            tenancy = await keyring.in_thread(self._made_of, tenant_id, rows, former)
        self._remember(tenant_id, _Known(tenancy, rows, began, began + FRESH_SECONDS))
        return tenancy

    def _remember(self, tenant_id: int, known: _Known) -> None:
        self._known[tenant_id] = known
        self._known.move_to_end(tenant_id)
        if len(self._known) > MOST_TENANTS:
            self._known.popitem(last=False)

    def _made_of(self, tenant_id: int, rows: tuple[Any, ...], former: _Known | None) -> Tenancy:
        """A credential that was opened before is not opened again: a key service may be down by now."""
        providers, prices, budgets = rows
        opened = {} if former is None else _opened(former)
        return Tenancy(
            MappingProxyType(
                {row.name: self._upstream(tenant_id, row, opened) for row in _providers.decode(providers)}
            ),
            MappingProxyType({(provider, model): Rates(*rates) for provider, model, *rates in _prices.decode(prices)}),
            _budgets.decode(budgets),
        )

    def _upstream(self, tenant_id: int, row: _ProviderRow, opened: Mapping[tuple[str, str], bytes]) -> Upstream:
        credential, unusable = opened.get((row.name, row.sealed or "")), ""
        try:
            if credential is None:
                credential = self._credential(tenant_id, row)
        except keyring.MasterKeyUnavailable as error:  # which the log has already
            unusable = f"The credential of '{row.name}' cannot be opened now. {error.message}"
        except (keyring.CannotUnwrap, ImproperlyConfigured) as error:
            log.critical("credential_does_not_open", tenant_id=tenant_id, provider=row.name, reason=str(error))
            unusable = f"The credential of '{row.name}' cannot be opened; the operator has been told."
        return Upstream(
            tenant_id=tenant_id,
            name=row.name,
            kind=row.kind,
            base_url=row.base_url,
            credential=credential,
            credential_header=row.credential_header,
            policy=policy_of(row.policy),
            fallbacks=row.fallbacks,
            revision=row.revision,
            unusable=unusable,
        )

    def _credential(self, tenant_id: int, row: _ProviderRow) -> bytes | None:
        """Raises CannotUnwrap, MasterKeyUnavailable, and ImproperlyConfigured where the master keys cannot be read."""
        if row.sealed is None or row.master_key_id is None:
            return None
        if row.master_key_id not in self._master_keys:
            self._master_keys = keyring.load()  # rotated while this process ran
        key = keyring.WrappedKey(base64.b64decode(row.sealed), row.master_key_id)
        return self._master_keys.open_secret(key, tenant_id, secret_name(row.name))


def _opened(known: _Known) -> dict[tuple[str, str], bytes]:
    """Credentials by their provider's name and by what they were sealed as."""
    upstreams = known.tenancy.providers
    credentials = {(row.name, row.sealed): upstreams[row.name].credential for row in _providers.decode(known.rows[0])}
    return {(name, sealed): found for (name, sealed), found in credentials.items() if sealed and found is not None}


def _usable(tenancy: Tenancy) -> bool:
    return not any(upstream.unusable for upstream in tenancy.providers.values())
