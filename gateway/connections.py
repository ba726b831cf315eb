"""Connections to upstreams: pooled, kept alive, and made only to addresses that were checked after the lookup.

Two places check, and the second alone would do. The resolver refuses a name if any of its addresses is not allowed.
Then, whatever aiohttp does in between (literal addresses, several of them tried in a row or at once, lookups that it
remembers), each socket is made by `_SocketFactory`, which is given the very address that it will be connected to.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any, Final, TypeAlias

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from accounts.networks import Network
from cacheservice import egress

MOST_CONNECTIONS: Final = 4096  # of a process; further requests wait, at most for the policy's connect_seconds
MOST_PER_HOST: Final = 3072
KEEPALIVE_SECONDS: Final = 15
LOOKUP_THREADS: Final = 16  # getaddrinfo blocks; a name server that hangs must not hold up what else threads do
LOOKUP_TTL: Final = 10  # seconds
# What the kernel waits for a peer that acknowledges nothing or takes nothing: also how long a connection that was
# closed with unsent bytes can linger.
UNACKNOWLEDGED_MILLISECONDS: Final = 30_000

Lookup: TypeAlias = Callable[[str, int], Awaitable[Sequence[str]]]  # host and port to addresses; raises OSError
_NO_TIMEOUTS: Final = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=None, sock_read=None)


class AddressRefused(OSError):
    """The message is for the tenant. An OSError, since aiohttp expects that of what fails while connecting."""


class Lookups:
    """The system's, in threads of their own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUP_THREADS, thread_name_prefix="gateway-lookup")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, _look_up, host, port)
        return list(dict.fromkeys(str(place[0]) for *_, place in found))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def session(scheme: str, allowed: Sequence[Network], lookup: Lookup) -> aiohttp.ClientSession:
    """A client for URLs of this scheme: no cookies, no proxies of the environment, no timeouts of its own. Sends no
    header but those that it is given, Host and Content-Length. To be made in the event loop, and closed.

    A request's `trace_request_ctx` is called once it has a connection, with whether that is a new one.
    """
    connector = aiohttp.TCPConnector(
        limit=MOST_CONNECTIONS,
        limit_per_host=MOST_PER_HOST,
        keepalive_timeout=KEEPALIVE_SECONDS,
        resolver=_Resolver(scheme, allowed, lookup),
        ttl_dns_cache=LOOKUP_TTL,
        socket_factory=_SocketFactory(scheme, allowed),
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        timeout=_NO_TIMEOUTS,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        trace_configs=[_tracing()],
    )


class _Resolver(AbstractResolver):
    def __init__(self, scheme: str, allowed: Sequence[Network], lookup: Lookup) -> None:
        self._scheme, self._allowed, self._lookup = scheme, allowed, lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._lookup(host, port)
        _check(found, self._scheme, self._allowed)
        return [
            ResolveResult(
                hostname=host,
                host=text,
                port=port,
                family=socket.AF_INET6 if ":" in text else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for text in found
        ]

    async def close(self) -> None: ...


class _SocketFactory:
    """A socket for an address that it may be connected to. Raises AddressRefused."""

    def __init__(self, scheme: str, allowed: Sequence[Network]) -> None:
        self._scheme, self._allowed = scheme, allowed

    def __call__(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, place = info
        _check([str(place[0])], self._scheme, self._allowed)
        made = socket.socket(family, kind, protocol)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MILLISECONDS)
        return made


def _check(texts: Sequence[str], scheme: str, allowed: Sequence[Network]) -> None:
    try:
        egress.check_addresses([egress.parse_address(text) for text in texts], scheme, allowed)
    except egress.Refused as error:
        raise AddressRefused(str(error)) from None


def _look_up(host: str, port: int) -> list[Any]:
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG))


def _tracing() -> aiohttp.TraceConfig:
    async def made(_session: aiohttp.ClientSession, context: SimpleNamespace, _parameters: object) -> None:
        context.trace_request_ctx()

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_end.append(made)
    tracing.on_connection_reuseconn.append(made)
    return tracing
