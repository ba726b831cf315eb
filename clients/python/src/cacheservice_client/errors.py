"""What can go wrong between an application and the cache.

    CacheError
    ├── Unreachable                   no answer came
    │   └── TimedOut                  … in time
    ├── UnexpectedAnswer              an answer that is not the service's, such as a proxy's page
    └── APIError                      the service's own error: status, code, message, request_id
        ├── InvalidRequest            400 invalid_request
        ├── InvalidAPIKey             401 invalid_api_key
        ├── InsufficientCredits       402 insufficient_credits
        ├── StorageQuotaExceeded      402 storage_quota_exceeded
        ├── BudgetExceeded            402 budget_exceeded
        ├── Forbidden                 403 forbidden
        ├── NotFound                  404 not_found
        ├── MethodNotAllowed          405 method_not_allowed
        ├── LeaseLost                 409 lease_lost
        ├── PreconditionFailed        412 precondition_failed
        ├── ValueTooLarge             413 value_too_large
        ├── UnsupportedMediaType      415 unsupported_media_type
        ├── RateLimitExceeded         429 rate_limit_exceeded
        ├── InternalError             500 internal_error
        └── Unavailable               503 unavailable, and any other 5xx

Mistakes that need no request to be seen (a value that is not JSON, a malformed URL) are ValueError and TypeError.
"""

import json
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import ClassVar

from cacheservice_client.messages import Response


class CacheError(Exception):
    """`tolerable`: with on_error="miss" it counts as a miss. Those that only a change of the program cures do not."""

    tolerable: ClassVar[bool] = True


class Unreachable(CacheError):
    """`sent` tells whether the service may have got the request, and done it."""

    def __init__(self, message: str, sent: bool = True) -> None:
        super().__init__(message, sent)
        self.message = message
        self.sent = sent

    def __str__(self) -> str:
        return self.message


class TimedOut(Unreachable):
    pass


class UnexpectedAnswer(CacheError):
    pass


class APIError(CacheError):
    """`retry_after`: the seconds after which the service asks to try again, when it said so."""

    def __init__(
        self,
        message: str,
        status: int = 0,
        code: str = "",
        request_id: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, status, code, request_id, retry_after)
        self.message = message
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.status} {self.code}: {self.message} (request {self.request_id})"


class InvalidRequest(APIError):
    tolerable = False


class InvalidAPIKey(APIError):
    pass


class InsufficientCredits(APIError):
    pass


class StorageQuotaExceeded(APIError):
    pass


class BudgetExceeded(APIError):
    pass


class Forbidden(APIError):
    pass


class NotFound(APIError):
    tolerable = False


class MethodNotAllowed(APIError):
    tolerable = False


class LeaseLost(APIError):
    tolerable = False


class PreconditionFailed(APIError):
    tolerable = False


class ValueTooLarge(APIError):
    pass


class UnsupportedMediaType(APIError):
    tolerable = False


class RateLimitExceeded(APIError):
    pass


class InternalError(APIError):
    pass


class Unavailable(APIError):
    pass


_BY_CODE: dict[str, type[APIError]] = {
    "invalid_request": InvalidRequest,
    "invalid_api_key": InvalidAPIKey,
    "insufficient_credits": InsufficientCredits,
    "storage_quota_exceeded": StorageQuotaExceeded,
    "budget_exceeded": BudgetExceeded,
    "forbidden": Forbidden,
    "not_found": NotFound,
    "method_not_allowed": MethodNotAllowed,
    "lease_lost": LeaseLost,
    "precondition_failed": PreconditionFailed,
    "value_too_large": ValueTooLarge,
    "unsupported_media_type": UnsupportedMediaType,
    "rate_limit_exceeded": RateLimitExceeded,
    "internal_error": InternalError,
    "unavailable": Unavailable,
}
_BY_STATUS: dict[int, type[APIError]] = {429: RateLimitExceeded, 500: InternalError}


def of_response(response: Response) -> CacheError:
    """The error that this answer of 300 or more is."""
    status, headers = response.status, response.headers
    retry_after = seconds(headers.get("retry-after"))
    try:
        return of_body(status, json.loads(response.body), retry_after)
    except (ValueError, LookupError, TypeError):
        request_id = headers.get("x-request-id")
    if status in (429, *range(500, 600)):  # of a proxy before the service
        kind = _BY_STATUS.get(status, Unavailable)
        return kind("The answer has no error of the service in it.", status, "", request_id, retry_after)
    return UnexpectedAnswer(
        f"{status} is no answer of the service (request {request_id}): check the URL and what is before it."
    )


def of_body(status: int, body: dict[str, dict[str, str]], retry_after: float | None = None) -> APIError:
    """The error of the contract's `{"error": {"code", "message", "request_id"}}`, alone or within a batch."""
    error = body["error"]
    kind = _BY_CODE.get(error["code"], APIError if status < 500 else Unavailable)
    return kind(error["message"], status, error["code"], error["request_id"], retry_after)


def seconds(retry_after: str | None) -> float | None:
    """Retry-After in either of its forms, RFC 9110, 10.2.3; None when there is none to go by."""
    if retry_after is None:
        return None
    try:
        if retry_after.isascii() and retry_after.isdigit():
            return float(retry_after)
        return max(0.0, (parsedate_to_datetime(retry_after) - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None
