"""What the service answers when it cannot do what was asked.

    APIError
    ├── InvalidRequest         400 invalid_request
    │   └── TTLTooLong
    ├── InvalidAPIKey          401 invalid_api_key
    ├── InsufficientCredits    402 insufficient_credits
    ├── StorageQuotaExceeded   402 storage_quota_exceeded
    ├── Forbidden              403 forbidden
    │   └── AddressRefused
    ├── NotFound               404 not_found
    ├── MethodNotAllowed       405 method_not_allowed
    ├── LeaseLost              409 lease_lost
    ├── Conflict               409 conflict
    ├── PreconditionFailed     412 precondition_failed
    ├── ValueTooLarge          413 value_too_large
    ├── UnsupportedMediaType   415 unsupported_media_type
    ├── RateLimitExceeded      429 rate_limit_exceeded
    ├── InternalError          500 internal_error
    └── Unavailable            503 unavailable
        └── AddressNeeded

The lane, Django REST framework's views and batch results all render an error through `APIError.body`.
"""

import time
from typing import ClassVar

import msgspec
from django.conf import settings

from billing.units import credits


class APIError(Exception):
    """An error that the client is told about. Its message never holds a secret or another tenant's data."""

    status: ClassVar[int]
    code: ClassVar[str]
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def body(self, request_id: str) -> bytes:
        """The error as the contract's JSON."""
        return msgspec.json.encode({"error": {"code": self.code, "message": self.message, "request_id": request_id}})


class InvalidRequest(APIError):
    status, code = 400, "invalid_request"


class TTLTooLong(InvalidRequest):
    """For the tenant; nothing is written or renewed. Its statement has counted the request."""

    def __init__(self, ttl: int, most: int) -> None:
        self.most = most  # seconds
        super().__init__(
            f"ttl: {ttl} is above this tenant's maximum of {most} seconds; send at most {most}, leave it out, or have "
            "the maximum raised."
        )


class InvalidAPIKey(APIError):
    """One message for every reason, so that nobody learns from it which keys exist."""

    status, code = 401, "invalid_api_key"
    headers = ((b"www-authenticate", b'Bearer realm="cacheservice"'),)

    def __init__(self) -> None:
        super().__init__(
            "The API key is missing, malformed, unknown, expired or revoked: "
            "send a valid one as 'Authorization: Bearer ck_live_…'."
        )


class InsufficientCredits(APIError):
    """The value is not given out, and nothing is charged."""

    status, code = 402, "insufficient_credits"

    @classmethod
    def of_balance(cls, balance: int, price: int) -> "InsufficientCredits":
        """In units of 0.01 credit."""
        return cls(
            f"The prepaid balance of {credits(balance)} credits cannot pay for this hit, which costs {credits(price)}: "
            f"add credits at {_billing_page()}."
        )

    @classmethod
    def of_limit(cls, used: int, limit: int) -> "InsufficientCredits":
        """In units of 0.01 credit."""
        return cls(
            f"This API key has used {credits(used)} credits of its limit of {credits(limit)} for this UTC month: "
            f"have the limit raised at {_billing_page()}, or use another key."
        )


class StorageQuotaExceeded(APIError):
    """Nothing is written; an entry that was there stays as it was."""

    status, code = 402, "storage_quota_exceeded"

    def __init__(self, whose: str, asked: int, used: int, allowed: int) -> None:
        """In bytes."""
        super().__init__(
            f"value: it has {asked} bytes, and the {whose} uses {used} of the {allowed} bytes that it is allowed: "
            f"delete entries, shorten their ttl, or have the quota raised at {_billing_page()}."
        )


class Forbidden(APIError):
    status, code = 403, "forbidden"

    @classmethod
    def missing_scope(cls, scope: str) -> "Forbidden":
        return cls(f"This API key lacks the scope '{scope}': use a key that has it, or have one made with it.")


class AddressRefused(Forbidden):
    """The API key's allow-list does not hold the client's address. The list itself is told to nobody here."""

    def __init__(self, address: str | None) -> None:
        super().__init__(
            f"This API key may not be used from the address {address}: send the request from an address that its IP "
            "allow-list holds, or have the list changed."
        )


class NotFound(APIError):
    status, code = 404, "not_found"


class MethodNotAllowed(APIError):
    status, code = 405, "method_not_allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"{method} is not allowed here: use {', '.join(allowed)}.")
        self.headers = ((b"allow", ", ".join(allowed).encode()),)


class LeaseLost(APIError):
    """Nothing is written."""

    status, code = 409, "lease_lost"

    def __init__(self) -> None:
        super().__init__(
            "X-Cache-Lease: this lease has expired, was used or was voided; nothing was written. "
            "Get the entry again: someone else may have filled it."
        )


class Conflict(APIError):
    """There is such a thing already, or there are too many of what is to be made. Nothing is changed."""

    status, code = 409, "conflict"


class PreconditionFailed(APIError):
    status, code = 412, "precondition_failed"


class ValueTooLarge(APIError):
    status, code = 413, "value_too_large"


class UnsupportedMediaType(APIError):
    status, code = 415, "unsupported_media_type"


class RateLimitExceeded(APIError):
    """The request did nothing; the next UTC minute begins a new count."""

    status, code = 429, "rate_limit_exceeded"

    def __init__(self, limit: int) -> None:
        seconds = seconds_of_minute_left()
        super().__init__(
            f"This API key may make {limit} requests a minute: try again in {seconds} seconds, or have it raised."
        )
        self.headers = ((b"retry-after", b"%d" % seconds),)


class InternalError(APIError):
    status, code = 500, "internal_error"


class Unavailable(APIError):
    status, code = 503, "unavailable"
    headers = ((b"retry-after", b"1"),)


class AddressNeeded(Unavailable):
    """The API key has got an allow-list since this process looked at it. Nothing was done: whoever knows the request's
    address asks again with it. A client sees this only within a batch that was under way just then."""

    def __init__(self) -> None:
        super().__init__("The API key's IP allow-list was set just now: try again.")


def seconds_of_minute_left() -> int:
    """Until the UTC minute ends, in which rate limits count: 1 to 60."""
    return 60 - int(time.time()) % 60


def _billing_page() -> str:
    """Of the tenant that the reader looks at; an API's client may be somewhere else altogether, so with the host."""
    return f"{settings.PUBLIC_URL}/console/billing"
