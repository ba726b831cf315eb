"""The Python client of cacheservice, a hosted key-value cache for AI responses.

`Cache` blocks, `AsyncCache` is for asyncio; their methods are the same. The README shows them at work.
"""

from cacheservice_client.async_cache import AsyncCache
from cacheservice_client.batches import Delete, Get, Put
from cacheservice_client.cache import Cache
from cacheservice_client.errors import (
    APIError,
    BudgetExceeded,
    CacheError,
    Forbidden,
    InsufficientCredits,
    InternalError,
    InvalidAPIKey,
    InvalidRequest,
    LeaseLost,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    RateLimitExceeded,
    StorageQuotaExceeded,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    UnsupportedMediaType,
    ValueTooLarge,
)
from cacheservice_client.keys import content_key, request_key, text_key
from cacheservice_client.memoize import AsyncMemoized, Memoized
from cacheservice_client.results import Entry, Hit, Miss, Stored, Usage
from cacheservice_client.ttl import suggest_ttl
from cacheservice_client.version import __version__

__all__ = [
    "APIError",
    "AsyncCache",
    "AsyncMemoized",
    "BudgetExceeded",
    "Cache",
    "CacheError",
    "Delete",
    "Entry",
    "Forbidden",
    "Get",
    "Hit",
    "InsufficientCredits",
    "InternalError",
    "InvalidAPIKey",
    "InvalidRequest",
    "LeaseLost",
    "Memoized",
    "MethodNotAllowed",
    "Miss",
    "NotFound",
    "PreconditionFailed",
    "Put",
    "RateLimitExceeded",
    "StorageQuotaExceeded",
    "Stored",
    "TimedOut",
    "Unavailable",
    "UnexpectedAnswer",
    "Unreachable",
    "UnsupportedMediaType",
    "Usage",
    "ValueTooLarge",
    "__version__",
    "content_key",
    "request_key",
    "suggest_ttl",
    "text_key",
]
