"""Where an API key may be used from: IP networks, as people write them and as PostgreSQL's `cidr` has them.

IPv4-mapped IPv6 (`::ffff:203.0.113.0/120`) is IPv4: a server that listens on both sees either for one client.
"""

import ipaddress
from collections.abc import Sequence

from django.db import models
from django.db.backends.base.base import BaseDatabaseWrapper

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address

MOST_NETWORKS = 32  # of an API key: each of its requests is held against all of them
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class NetworkField(models.Field):  # type: ignore[type-arg]
    """A network as text here and as `cidr` in the database, which takes no bits beyond the prefix either."""

    def db_type(self, connection: BaseDatabaseWrapper) -> str:
        return "cidr"


def parse(text: str) -> Network:
    """A network such as 203.0.113.0/24 or 2001:db8::/32, or a single address. Raises ValueError, naming the fix."""
    shown = text if len(text) <= 80 else text[:77] + "…"
    try:
        given = ipaddress.ip_interface(text)
    except ValueError:
        raise ValueError(f"'{shown}' is no network; send one such as 203.0.113.0/24 or 2001:db8::/32") from None
    network = given.network
    if "%" in text:
        raise ValueError(f"'{shown}' has a zone, which means something on one machine only; leave it out")
    if given.ip != network.network_address:
        raise ValueError(f"'{shown}' has bits beyond its prefix; the network that holds it is {network}")
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def parse_address(text: str) -> Address | None:
    """None for what is no address. Its zone is left out."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def checked(texts: Sequence[str] | None) -> list[str] | None:
    """An allow-list, each network once, in its usual spelling; None: from everywhere. Raises ValueError."""
    if texts is None:
        return None
    if not 1 <= len(texts) <= MOST_NETWORKS:
        raise ValueError(f"allowed_networks: {len(texts)} are given; 1 to {MOST_NETWORKS} are allowed, or none at all")
    try:
        return list(dict.fromkeys(str(parse(text)) for text in texts))
    except ValueError as error:
        raise ValueError(f"allowed_networks: {error}") from None


def holds(networks: Sequence[str] | None, address: str) -> bool:
    """Whether an allow-list lets the address in, as the gathered statements decide it."""
    found = parse_address(address)
    return networks is None or (found is not None and any(found in parse(network) for network in networks))
