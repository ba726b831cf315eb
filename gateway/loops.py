"""A provider whose URL leads back to this service would call itself until all its connections are used up.

So what goes upstream names this installation in `CDN-Loop` (RFC 8586), and who comes with that name was here before.
Another installation of the same program has another name: one may well be the other's provider.
"""

from functools import cache

from django.conf import settings
from django.utils.crypto import salted_hmac

from cacheservice.errors import APIError

HEADER = "cdn-loop"
_SALT = "gateway.loops"


class LoopDetected(APIError):
    """The request comes from the gateway of this very installation."""

    status, code = 508, "loop_detected"

    def __init__(self) -> None:
        super().__init__(
            "The provider's URL leads back to this gateway, which would call itself for ever: set the one of an AI API."
        )


def check(said: bytes) -> None:
    """`said`: the value of the request's header. Raises LoopDetected."""
    if here().encode() in said:
        raise LoopDetected


def marked(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """An upstream request's headers with this installation's name behind those that were there."""
    said = [value for name, value in headers if name == HEADER]
    return [*(each for each in headers if each[0] != HEADER), (HEADER, ", ".join([*said, here()]))]


@cache
def here() -> str:
    """The same in each of its processes; nothing can be told from it."""
    return f"cacheservice-{salted_hmac(_SALT, '', secret=settings.SECRET_KEY, algorithm='sha256').hexdigest()[:16]}"
