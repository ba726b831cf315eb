"""The address that a request comes from.

It is the connection's, unless that is a proxy's which `CACHE_TRUSTED_PROXIES` names: then `X-Forwarded-For` tells. Each
proxy adds at its right end whom it was called by, so the client is the rightmost address that is no trusted proxy's;
what stands left of it, anybody can have written.
"""

import re
from functools import lru_cache
from typing import Any

from django.conf import settings

from accounts import networks
from cacheservice.http import Scope

UNKNOWN = "::"  # where it cannot be told; of all networks only ::/0 holds it
LONGEST = 64  # characters that an address may take with its port; longer texts are not looked at
# An address with a port, as some proxies write it.
_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")


TRUSTED_PROXIES = settings.TRUSTED_PROXIES


def client_address(scope: Scope) -> str:
    """The client's IP address in its usual spelling, IPv4-mapped IPv6 as IPv4; UNKNOWN where it cannot be told."""
    peer: Any = scope.get("client")
    address = _address(str(peer[0])) if peer else UNKNOWN
    if not TRUSTED_PROXIES or not _is_trusted(address):
        return address
    for text in reversed(_forwarded_for(scope)):
        address = _address(text)
        if not _is_trusted(address):
            return address
    return address  # proxies all the way: the first of them asks for itself


def is_of_trusted_proxy(scope: Scope) -> bool:
    """Whether the connection is one's, so that it may speak for others."""
    peer: Any = scope.get("client")
    return bool(peer) and _is_trusted(_address(str(peer[0])))


def _forwarded_for(scope: Scope) -> list[str]:
    values = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [text.strip() for value in values for text in value.decode("latin-1").split(",")]


def _address(text: str) -> str:
    return _spelt(text) if len(text) <= LONGEST else UNKNOWN


@lru_cache(maxsize=4096)
def _spelt(text: str) -> str:
    with_port = _WITH_PORT.fullmatch(text)
    address = networks.parse_address((with_port[1] or with_port[2] or "") if with_port else text)
    return UNKNOWN if address is None else str(address)


def _is_trusted(address: str) -> bool:
    found = networks.parse_address(address)
    return found is not None and any(found in network for network in TRUSTED_PROXIES)
