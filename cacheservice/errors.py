"""What the service answers when it cannot do what was asked.

    APIError
    ├── InvalidRequest         400 invalid_request
    ├── InvalidAPIKey          401 invalid_api_key
    ├── Forbidden              403 forbidden
    ├── NotFound               404 not_found
    ├── MethodNotAllowed       405 method_not_allowed
    ├── PreconditionFailed     412 precondition_failed
    ├── ValueTooLarge          413 value_too_large
    ├── UnsupportedMediaType   415 unsupported_media_type
    ├── InternalError          500 internal_error
    └── Unavailable            503 unavailable

The lane, Django REST framework's views and batch results all render an error through `APIError.body`.
"""

from typing import ClassVar

import msgspec


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


class InvalidAPIKey(APIError):
    """One message for every reason, so that nobody learns from it which keys exist."""

    status, code = 401, "invalid_api_key"
    headers = ((b"www-authenticate", b'Bearer realm="cacheservice"'),)

    def __init__(self) -> None:
        super().__init__(
            "The API key is missing, malformed, unknown, expired or revoked: "
            "send a valid one as 'Authorization: Bearer ck_live_…'."
        )


class Forbidden(APIError):
    status, code = 403, "forbidden"

    @classmethod
    def missing_scope(cls, scope: str) -> "Forbidden":
        return cls(f"This API key lacks the scope '{scope}': use a key that has it, or have one made with it.")


class NotFound(APIError):
    status, code = 404, "not_found"


class MethodNotAllowed(APIError):
    status, code = 405, "method_not_allowed"

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(f"{method} is not allowed here: use {', '.join(allowed)}.")
        self.headers = ((b"allow", ", ".join(allowed).encode()),)


class PreconditionFailed(APIError):
    status, code = 412, "precondition_failed"


class ValueTooLarge(APIError):
    status, code = 413, "value_too_large"


class UnsupportedMediaType(APIError):
    status, code = 415, "unsupported_media_type"


class InternalError(APIError):
    status, code = 500, "internal_error"


class Unavailable(APIError):
    status, code = 503, "unavailable"
    headers = ((b"retry-after", b"1"),)
