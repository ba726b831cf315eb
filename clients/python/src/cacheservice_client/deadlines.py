"""A deadline for what a blocking request does in all.

httpx2 gives its timeout to each phase and to each read: a server that sends a byte now and then is never late. But it
hands the timeout on, as the object that it is, to whatever connects, reads and writes. So a `Deadline` is sent along,
and `keep_deadlines` has a client's connections look at what is left of it.
"""

import socket
import time
from collections.abc import Iterable
from ssl import SSLContext
from typing import Any

import httpcore2
import httpx2

_WRITTEN_AT_ONCE = 65_536  # bytes, between two looks at the clock


class Deadline(float):
    """A timeout that knows when it began."""

    ends_at: float

    def __new__(cls, seconds: float) -> "Deadline":
        deadline = super().__new__(cls, seconds)
        deadline.ends_at = time.monotonic() + seconds
        return deadline


def keep_deadlines(client: httpx2.Client) -> httpx2.Client:
    """The client, whose requests end with their deadlines.

    httpx2 has no public way to what its pools do have, a network backend. Where a later version keeps it elsewhere, a
    deadline is a timeout as httpx2 understands it: `tests/test_deadlines.py` would tell.
    """
    for transport in (getattr(client, "_transport", None), *getattr(client, "_mounts", {}).values()):
        pool: Any = getattr(transport, "_pool", None)
        backend = getattr(pool, "_network_backend", None)
        if isinstance(backend, httpcore2.NetworkBackend):
            pool._network_backend = _Backend(backend)
    return client


def _left(timeout: float | None, too_late: type[httpcore2.TimeoutException]) -> float | None:
    """The seconds that the next step may take. Raises `too_late` when there are none."""
    if not isinstance(timeout, Deadline):
        return timeout
    left = timeout.ends_at - time.monotonic()
    if left <= 0:
        raise too_late
    return left


class _Backend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """To the first of the host's addresses that answers. Each has its share of what is left, so that one that keeps
        silent leaves some to the next."""
        addresses = _addresses(host, port)
        for tries_left in range(len(addresses), 0, -1):
            left = _left(timeout, httpcore2.ConnectTimeout)
            share = left if left is None else left / tries_left
            address = addresses[-tries_left]
            try:
                return _Stream(self._backend.connect_tcp(address, port, share, local_address, socket_options))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout):
                if tries_left == 1:
                    raise
        raise httpcore2.ConnectError(f"{host} has no address")


class _Stream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore2.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITTEN_AT_ONCE):
            piece = buffer[start : start + _WRITTEN_AT_ONCE]
            self._stream.write(piece, _left(timeout, httpcore2.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        left = _left(timeout, httpcore2.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise httpcore2.ConnectError(str(error)) from error
    numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV  # with the scope of a link-local address
    return [socket.getnameinfo(address, numeric)[0] for *_, address in found]
