"""One POST to an address that a tenant names, which must not lead into the operator's own network.

The host's addresses are looked up once, checked, and the connection goes to an address that was checked: a name that
resolves to something else a moment later (DNS rebinding) changes nothing. Redirects are not followed, proxies of the
environment are not used, and of the response only the status is read.
"""

import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, NamedTuple
from urllib.parse import SplitResult

from django.conf import settings

from accounts.networks import Address
from cacheservice import egress

CONNECT_SECONDS: Final = 5.0
ATTEMPT_SECONDS: Final = 10.0  # all in all, however slowly the receiver dribbles its answer


class Request(NamedTuple):
    url: str
    headers: Mapping[str, str]
    body: bytes


class NotDelivered(Exception):
    """The request was not accepted; the message says why, in words that the tenant may read."""


def post(request: Request) -> int:
    """The status of the answer, from 200 to 299. Raises NotDelivered in bounded time."""
    parts = checked_url(request.url)
    connection = _Connection(parts, _address(parts))
    timer = threading.Timer(ATTEMPT_SECONDS, connection.hang_up)
    timer.daemon = True
    timer.start()
    try:
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("POST", target, body=request.body, headers={**request.headers, "Connection": "close"})
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise NotDelivered(_reason(error)) from None
    finally:
        timer.cancel()
        connection.close()
    if 300 <= status < 400:
        raise NotDelivered(f"it answered {status}, and redirects are not followed: give the final URL")
    if not 200 <= status < 300:
        raise NotDelivered(f"it answered {status}")
    return status


def checked_url(url: str) -> SplitResult:
    """Its parts. Raises NotDelivered, saying what to change, for what is no URL of a receiver."""
    try:
        return egress.checked_url(url, settings.WEBHOOK_ALLOW_NETWORKS)
    except egress.Refused as error:
        raise NotDelivered(str(error)) from None


def _address(parts: SplitResult) -> Address:
    """An address of the host. Raises NotDelivered if there is none, or where any of them is not allowed."""
    try:
        found = socket.getaddrinfo(parts.hostname, parts.port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise NotDelivered("the host's name does not resolve") from None
    addresses = [ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found]
    try:
        egress.check_addresses(addresses, parts.scheme, settings.WEBHOOK_ALLOW_NETWORKS)
    except egress.Refused as error:
        raise NotDelivered(str(error)) from None
    return addresses[0]


class _Connection(http.client.HTTPConnection):
    """To one checked address, whatever the host's name resolves to by now; over TLS the name is verified."""

    def __init__(self, parts: SplitResult, address: Address) -> None:
        host, secure = (parts.hostname or "").encode("idna").decode(), parts.scheme == "https"
        super().__init__(host, parts.port or (443 if secure else 80), timeout=CONNECT_SECONDS)
        self._address, self._secure = str(address), secure
        self.default_port = 443 if secure else 80  # which the Host header leaves out

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), timeout=CONNECT_SECONDS)
        self.sock.settimeout(ATTEMPT_SECONDS)
        if self._secure:
            self.sock = ssl.create_default_context().wrap_socket(
                self.sock, server_hostname=self.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()  # only now, so that hang_up reaches it

    def hang_up(self) -> None:
        """Whoever waits on the socket gets an error now."""
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "its TLS certificate could not be verified"
    if isinstance(error, TimeoutError):
        return f"it did not answer within {ATTEMPT_SECONDS:.0f} s"
    if isinstance(error, ConnectionRefusedError):
        return "it refused the connection"
    return "the connection failed, or was too slow"
