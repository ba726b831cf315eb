"""Where requests to addresses that tenants name may lead: the public internet, never the operator's own network.

A URL says little of where it leads, so the check that counts is that of the address which a connection is about to be
made to, after the name was looked up: `is_allowed`. `checked_url` tells early what could never work.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final
from urllib.parse import SplitResult, urlsplit

from accounts.networks import Address, Network

# The well-known prefix of NAT64 (RFC 6052): through it, networks with IPv6 only reach the public IPv4 internet.
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
# What is handed out to be routed in public (RFC 4291, 2.4). All else of IPv6 is local, a tunnel, or nothing yet.
_GLOBAL_UNICAST: Final = ipaddress.IPv6Network("2000::/3")
# Inside of that, not told apart by `is_global` of every Python: protocols' own (Teredo among them), examples, 6to4 and
# the retired 6bone.
_NOT_PUBLIC_IPV6: Final = tuple(
    ipaddress.IPv6Network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "3ffe::/16")
)
# Of IPv4, though `is_global`: Azure's platform, which hands out machines' secrets; 6to4's relays; protocols' own.
_NOT_PUBLIC_IPV4: Final = tuple(
    ipaddress.IPv4Network(text) for text in ("168.63.129.16/32", "192.88.99.0/24", "192.0.0.0/24")
)

NOT_PUBLIC: Final = "the host leads to a private or reserved address, where nothing is sent"
IN_CLEAR: Final = "http:// is used only inside of the operator's own networks: give an https:// URL"


class Refused(Exception):
    """Nothing is sent there. The message says why, in words that the tenant may read."""


def is_allowed(address: Address, allowed: Sequence[Network]) -> bool:
    """Whether it is one of the public internet, or of the networks that the operator allows."""
    if is_within(address, allowed):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_allowed(address.ipv4_mapped, allowed)
        if address in _NAT64:
            return is_allowed(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF), allowed)
        return address in _GLOBAL_UNICAST and address.is_global and not _is_in(address, _NOT_PUBLIC_IPV6)
    return address.is_global and not address.is_multicast and not _is_in(address, _NOT_PUBLIC_IPV4)


def is_within(address: Address, networks: Sequence[Network]) -> bool:
    """Whether one of the networks holds it, as it is or as the IPv4 address that it maps."""
    if _is_in(address, networks):
        return True
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped is not None and _is_in(mapped, networks)


def parse_address(text: str) -> Address | None:
    """An address as a lookup gives it, without its zone; None for what is none. One spelling only: `127.1` is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def check_addresses(addresses: Sequence[Address | None], scheme: str, allowed: Sequence[Network]) -> None:
    """Raises Refused if there is none, or if one of them may not be connected to."""
    if not addresses or not all(address is not None and is_allowed(address, allowed) for address in addresses):
        raise Refused(NOT_PUBLIC)
    if scheme != "https" and not all(address is not None and is_within(address, allowed) for address in addresses):
        raise Refused(IN_CLEAR)


def checked_url(url: str, allowed: Sequence[Network]) -> SplitResult:
    """Its parts. Raises Refused, saying what to change, for what no request could be sent to.

    In clear only into networks that the operator vouches for: without any, `http` is no scheme.
    """
    schemes = ("https", "http") if allowed else ("https",)
    try:
        parts = urlsplit(url)
        port, host = parts.port, (parts.hostname or "").encode("idna").decode()
    except (ValueError, UnicodeError):
        raise Refused("this is not a URL: give one like https://example.com/path") from None
    if parts.scheme not in schemes or not host or port == 0:
        raise Refused(f"give a URL that starts with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    if parts.username is not None or parts.password is not None:
        raise Refused("a URL with a name or password in it is not used: leave them out")
    if parts.fragment or not url.isprintable() or "\\" in url or any(character.isspace() for character in url):
        raise Refused("leave out what is after #, spaces, backslashes and line breaks")
    return parts


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks)
