"""What an API key is told of its tenant's account, as of now."""

from decimal import Decimal
from typing import NamedTuple

from billing.models import Price
from billing.rows import Rows
from billing.sql import STORAGE_USED
from billing.usage_sql import ACCOUNT, PRICES
from cacheservice.entries.requests import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS


class Account(NamedTuple):
    """Credits are in units of 0.01, storage in bytes; None is no limit. API key 0 is none in particular."""

    tenant_id: int
    tenant_name: str
    api_key_id: int
    api_key_name: str
    plan: str
    prepaid: bool
    monthly_grant: int
    balance: int
    charged: int  # in the running UTC month, by all API keys together
    free_storage: int
    storage_quota: int | None  # the tenant's
    api_key_storage_quota: int | None
    requests_per_minute: int | None  # of the API key
    credit_limit: int | None  # of the API key, a UTC month
    credit_limit_used: int
    default_ttl: int  # seconds, of a PUT without one
    max_ttl: int  # seconds


class Prices(NamedTuple):
    """Today's."""

    cache_hit: int  # units
    credit: Decimal  # USD
    storage: Decimal  # USD a GB-month


def read(rows: Rows, tenant_id: int, api_key_id: int = 0) -> Account:
    [(*fields, default_ttl, max_ttl)] = rows(ACCOUNT, {"tenant_id": tenant_id, "api_key_id": api_key_id})
    most = max_ttl or MAX_TTL_SECONDS
    return Account._make([*fields, min(default_ttl or DEFAULT_TTL_SECONDS, most), most])


def read_prices(rows: Rows) -> Prices:
    prices: dict[str, Decimal] = dict(rows(PRICES, {}))
    return Prices(int(prices[Price.CACHE_HIT]), prices[Price.CREDIT], prices[Price.STORAGE])


def storage_used(rows: Rows, tenant_id: int, api_key_id: int = 0) -> int:
    """The bytes of the API key's live entries, or of the whole tenant's."""
    [(used,)] = rows(STORAGE_USED, {"tenant_id": tenant_id, "api_key_id": api_key_id})
    return int(used)
