"""What the gateway answers when it cannot do what was asked, in the shape of the provider's own errors.

    APIError (cacheservice.errors)
    ├── BudgetExceeded    402 budget_exceeded, in ledger.py
    ├── ModelUnknown      402 price_unknown, in budgets.py
    ├── LoopDetected      508 loop_detected, in loops.py
    ├── PriceUnknown      402 price_unknown, in ledger.py
    ├── ProviderUnknown   404 provider_unknown
    └── UpstreamFailed    502, 503 or 504, with the code it was made with

The official SDKs choose their exception by the status, and read the body's members: tests/test_gateway_errors.py.
"""

from typing import Any

import msgspec

from cacheservice.errors import APIError
from gateway.models import Kind

# https://platform.openai.com/docs/guides/error-codes; statuses that are not here: below 500 and from 500.
_OPENAI_TYPES = {402: "insufficient_quota", 403: "permission_error", 429: "rate_limit_error"}
# https://docs.anthropic.com/en/api/errors
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


class ProviderUnknown(APIError):
    """The tenant has no provider of that name."""

    status, code = 404, "provider_unknown"

    def __init__(self, name: str) -> None:
        """`name`: as the request's path has it."""
        super().__init__(
            f"There is no provider {name[:64]!a} here: use the name of one that is set for this tenant as "
            "/gateway/<provider>/…, or set it in the console under Gateway."
        )


class UpstreamFailed(APIError):
    """The provider gave no answer, or none that can be passed on."""

    status, code = 502, "upstream_broken"

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        # Each has its own: what the class says is for those who look at the class.
        vars(self).update(status=status, code=code)


def error_body(kind: str, error: APIError, request_id: str) -> bytes:
    """The error as the JSON that a provider of this kind (models.Kind) would have answered."""
    return msgspec.json.encode(_shaped(kind, error, request_id))


def error_event(kind: str, error: APIError, request_id: str) -> bytes:
    """The error as the last event of a stream that broke off."""
    name = b"event: error\n" if kind == Kind.ANTHROPIC else b""
    return name + b"data: " + error_body(kind, error, request_id) + b"\n\n"


def _shaped(kind: str, error: APIError, request_id: str) -> dict[str, Any]:
    if kind == Kind.OPENAI:
        type_ = _OPENAI_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return {"error": {"message": error.message, "type": type_, "param": None, "code": error.code}}
    if kind == Kind.ANTHROPIC:
        type_ = _ANTHROPIC_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        # Anthropic's has no member for a code; its SDK reads this one as `error_code`.
        told = {"type": type_, "message": error.message, "details": {"error_code": error.code}}
        return {"type": "error", "error": told, "request_id": request_id}
    return {"error": {"code": error.code, "message": error.message, "request_id": request_id}}
