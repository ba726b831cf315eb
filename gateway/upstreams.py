"""Calls to upstreams: one HTTP request with its timeouts and tries, whose answer comes in pieces.

What is tried again, before the answer begins and never after: the statuses RETRIED_STATUSES, connections that could not
be made, and connections that ended without a byte of an answer. Of the last, the upstream may have begun to work on the
request, even if they are mostly kept-alive connections that it had closed already: `Answer.lost` counts them, since
what they cost nobody knows. A timeout while waiting for the answer is not tried again: the time is spent.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from io import BytesIO
from random import uniform
from time import perf_counter
from typing import Final, NamedTuple, TypeAlias

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from django.conf import settings
from yarl import URL

from accounts.networks import Network
from cacheservice import egress, metrics, tracing
from gateway import connections, loops
from gateway.breaker import Breaker, Open
from gateway.providers import Upstream

# Those from 520 to 524 are Cloudflare's, where it had no good answer from the server behind it.
RETRIED_STATUSES: Final = frozenset({429, 500, 502, 503, 504, *range(520, 525), 529})
REDIRECTS: Final = frozenset({300, 301, 302, 303, 305, 306, 307, 308})
FIRST_PAUSE: Final = 0.25  # seconds; doubled with each try, and each time up to as much again by chance
LONGEST_PAUSE: Final = 5.0  # an upstream that asks for more is not tried again: its answer goes to the client
Header: TypeAlias = tuple[bytes, bytes]

# Of a request: what this connection needs, and what is said here.
_NOT_SENT: Final = frozenset(
    (
        *("accept-encoding", "connection", "content-length", "expect", "host", "keep-alive", "proxy-authorization"),
        *("proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
    )
)
# Of an answer: what was about that connection or about the upstream's own site, and what this service says itself.
_NOT_PASSED_ON: Final = frozenset(
    (
        *(b"connection", b"content-encoding", b"content-length", b"keep-alive", b"proxy-authenticate"),
        *(b"proxy-connection", b"te", b"trailer", b"transfer-encoding", b"upgrade", b"via"),
        *(b"alt-svc", b"clear-site-data", b"content-security-policy", b"date", b"nel", b"public-key-pins", b"refresh"),
        *(b"report-to", b"reporting-endpoints", b"server", b"set-cookie", b"set-cookie2"),
        *(b"strict-transport-security", b"age", b"ratelimit", b"x-cache", b"x-credits-charged"),
    )
)
_NOT_PASSED_ON_PREFIXES: Final = (b"access-control-", b"ratelimit-", b"x-cache-")


# What a URL may have from its path on, and the segments that would lead out of it again: also for servers that take an
# escaped slash or a backslash for a slash, and leave out a segment's parameters.
_BELOW: Final = re.compile(r"/[!\"$-\[\]-~]*")
_DOTS: Final = re.compile(r"(?i)(/|\\|%2f|%5c)(\.|%2e){1,2}(/|\\|%2f|%5c|;|%3b|$)")
# Larger bodies are written in pieces, smaller ones together with the headers.
_LARGE_BODY: Final = 262_144  # bytes


class Request(NamedTuple):
    """What is sent below the provider's base URL."""

    method: str
    path: str  # escaped, with its leading slash
    query: str  # as it is in a URL, without the question mark; may be empty
    headers: tuple[tuple[str, str], ...]  # without credential, host and length
    body: bytes


class Deadline(NamedTuple):
    """When a request is over: all tries at all of its providers, and the reading of the answer."""

    at: float  # as the event loop's clock has it
    seconds: int  # that it had in all

    @classmethod
    def after(cls, seconds: int) -> "Deadline":
        return cls(asyncio.get_running_loop().time() + seconds, seconds)

    @property
    def over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.at


class UpstreamError(Exception):
    """There is no answer, or no more of it. The message holds no secret, and names the provider.

    Codes: upstream_unreachable, upstream_timeout, upstream_circuit_open, upstream_too_large, upstream_broken,
    upstream_refused_address.
    """

    def __init__(self, status: int, code: str, message: str, *, began: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.began = began  # whether the upstream may have taken the request: what it cost is then not known
        self.retry_after = retry_after  # seconds, where they are known


class Answer:
    """An upstream's answer, with whatever status. Whoever has it closes it: a connection whose answer was read to its
    end is used again, any other one is closed."""

    def __init__(self, response: aiohttp.ClientResponse, call: "_Call", lost: int, most: int) -> None:
        self.status = response.status
        self.headers = _passed_on(response.raw_headers)
        self.lost = lost  # earlier tries that the upstream may have taken and did not answer
        self._response, self._call, self._most = response, call, most

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body, decoded, as it comes. Raises UpstreamError with `began`. Left before its end, it closes."""
        size, whole = 0, False
        try:
            if (self._response.content_length or 0) > self._most:
                raise self._call.too_large(self._most)
            self._call.watch(self._response)
            while piece := await self._call.piece(self._response.content):
                size += len(piece)
                if size > self._most:
                    raise self._call.too_large(self._most)
                yield piece
            whole = True
        finally:
            self._call.unwatch()
            if not whole:
                self._response.close()

    async def close(self) -> None:
        self._response.close()


class Upstreams:
    """The client of a process, for all tenants. It is started in the event loop that it is used in."""

    def __init__(
        self,
        *,
        allowed: Sequence[Network] | None = None,
        max_answer_bytes: int | None = None,
        breaker: Breaker | None = None,
        lookup: connections.Lookup | None = None,
        first_pause: float = FIRST_PAUSE,
    ) -> None:
        """`allowed`: networks that providers may be in although they are not public, there also in clear. It and the
        largest answer are the settings'. `first_pause`: seconds."""
        self._allowed: tuple[Network, ...] = tuple(settings.GATEWAY_ALLOW_NETWORKS if allowed is None else allowed)
        self._most: int = max_answer_bytes or settings.GATEWAY_MAX_ANSWER_BYTES
        self._first_pause = first_pause
        self._breaker = breaker or Breaker()
        self._system_lookup = connections.Lookups()
        self._lookup = lookup or self._system_lookup
        self._sessions: dict[str, aiohttp.ClientSession] = {}

    async def start(self) -> None:
        for scheme in ("https", "http"):  # in clear to fewer addresses: so each has connections of its own
            self._sessions[scheme] = connections.session(scheme, self._allowed, self._lookup)

    async def close(self) -> None:
        """Answers that are still being read break off."""
        for session in self._sessions.values():
            await session.close()
        self._system_lookup.close()

    def measure(self) -> None:
        metrics.BREAKERS_OPEN.set(self._breaker.held())

    async def send(
        self, upstream: Upstream, request: Request, credential: bytes | None, deadline: Deadline | None = None
    ) -> Answer:
        """The answer as soon as its status and headers are there; the last try's, whatever its status.

        `credential` is the client's own, the header's whole value, and goes before the provider's. `deadline` bounds
        all tries together and the reading of the answer; without one, the policy's total_seconds do. Raises
        UpstreamError.
        """
        loop, place = asyncio.get_running_loop(), (upstream.tenant_id, upstream.name)
        url, headers = self._url(upstream, request), _headers(upstream, request, credential)
        deadline, lost = deadline or Deadline.after(upstream.policy.total_seconds), 0
        tries_left = upstream.policy.retries
        pause = self._first_pause
        while True:
            if held := self._breaker.admit(place):
                metrics.UPSTREAM_REQUESTS.add(1, upstream.kind, "upstream_circuit_open")
                raise _circuit_open(upstream, held, began=lost > 0)
            call = _Call(upstream, deadline)
            tries = upstream.policy.retries - tries_left
            outcome = await self._measured_try(call, request, url, headers, tries)
            lost += isinstance(outcome, UpstreamError) and outcome.began
            wait = _wait(outcome, call, pause)
            if wait is None or not tries_left or loop.time() + wait >= deadline.at or self._breaker.state(place):
                break
            if isinstance(outcome, aiohttp.ClientResponse):
                outcome.release()
            await asyncio.sleep(wait)
            metrics.UPSTREAM_RETRIES.add(1, upstream.kind)
            tries_left, pause = tries_left - 1, min(pause * 2, LONGEST_PAUSE)
        if isinstance(outcome, UpstreamError):
            outcome.began = lost > 0
            raise outcome
        return Answer(outcome, call, lost, self._most)

    async def _measured_try(
        self, call: "_Call", request: Request, url: URL, headers: Sequence[tuple[str, str]], before: int
    ) -> "aiohttp.ClientResponse | UpstreamError":
        """`before`: how many tries there were."""
        kind, began, word = call.upstream.kind, perf_counter(), "cancelled"
        span = tracing.upstream(kind, before) if tracing.on else None
        try:
            outcome = await self._try(call, request, url, headers)
            word = _word(outcome)
            return outcome
        finally:
            metrics.UPSTREAM_REQUESTS.add(1, kind, word)
            metrics.UPSTREAM_SECONDS.observe(perf_counter() - began, kind)
            tracing.end(span, word, failed=word[1:] != "xx" or word == "5xx")

    async def _try(
        self, call: "_Call", request: Request, url: URL, headers: Sequence[tuple[str, str]]
    ) -> "aiohttp.ClientResponse | UpstreamError":
        """Send it once, and tell the breaker how that ended."""
        place = (call.upstream.tenant_id, call.upstream.name)
        try:
            response = await call.send(self._sessions[url.scheme], request, url, headers)
        except UpstreamError as error:
            if error.code == "upstream_refused_address":
                self._breaker.gave_up(place)
            else:
                self._breaker.failed(place, error.message)
            return error
        except BaseException:  # cancelled
            self._breaker.gave_up(place)
            raise
        if response.status >= 500:
            self._breaker.failed(place, f"It answered {response.status}.")
        else:
            self._breaker.succeeded(place)
        return response

    def _url(self, upstream: Upstream, request: Request) -> URL:
        """Raises UpstreamError. Nothing but what is below the base URL may come of it: credentials go along."""
        below = request.path + (f"?{request.query}" if request.query else "")
        if not _BELOW.fullmatch(below):
            raise _refused(upstream, "the request's path or query has characters that a URL cannot have: escape them")
        if _DOTS.search(request.path):
            raise _refused(upstream, "the request's path has '.' or '..' in it: leave them out")
        try:
            return URL(_base(upstream.base_url, self._allowed) + below, encoded=True)
        except egress.Refused as error:
            raise _refused(upstream, str(error)) from None
        except ValueError:
            raise _refused(upstream, "its base URL is none") from None


@lru_cache(maxsize=1024)
def _base(base_url: str, allowed: tuple[Network, ...]) -> str:
    """Without a slash at its end, its host as DNS has it. Raises Refused."""
    parts = egress.checked_url(base_url, allowed)
    host = (parts.hostname or "").encode("idna").decode()
    place = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{place}{port}{parts.path.rstrip('/')}"


class _Call:
    """One try: its timeouts, and what its errors are called."""

    def __init__(self, upstream: Upstream, deadline: Deadline) -> None:
        self.upstream, self._deadline = upstream, deadline
        self._timer: asyncio.Timeout | None = None
        self._connected = False
        self._heard_at, self._silent = 0.0, False
        self._watch: asyncio.TimerHandle | None = None
        self.repeatable = False  # set with an error: whether another try may end better

    async def send(
        self, session: aiohttp.ClientSession, request: Request, url: URL, headers: Sequence[tuple[str, str]]
    ) -> aiohttp.ClientResponse:
        """Raises UpstreamError."""
        loop, policy = asyncio.get_running_loop(), self.upstream.policy
        try:
            async with asyncio.timeout_at(min(loop.time() + policy.connect_seconds, self._deadline.at)) as self._timer:
                response = await session.request(
                    request.method,
                    url,
                    headers=headers,
                    data=(BytesIO(request.body) if len(request.body) > _LARGE_BODY else request.body) or None,
                    allow_redirects=False,
                    trace_request_ctx=self._has_connection,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise self._failure(error) from None
        if response.status in REDIRECTS:
            response.close()
            why = f"its base URL redirects ({response.status}), which is not followed: give the final URL"
            raise _refused(self.upstream, why)
        return response

    def _has_connection(self) -> None:
        self._connected = True
        if self._timer is not None:
            first_byte = asyncio.get_running_loop().time() + self.upstream.policy.first_byte_seconds
            self._timer.reschedule(min(first_byte, self._deadline.at))

    def watch(self, response: aiohttp.ClientResponse) -> None:
        """From now on hang up on an upstream that sends nothing: one timer an answer, not one a piece."""
        self._heard_at = asyncio.get_running_loop().time()
        self._look(response)

    def unwatch(self) -> None:
        if self._watch is not None:
            self._watch.cancel()

    def _look(self, response: aiohttp.ClientResponse) -> None:
        loop = asyncio.get_running_loop()
        due = min(self._heard_at + self.upstream.policy.idle_seconds, self._deadline.at)
        if loop.time() >= due:
            self._silent = True
            response.close()  # whoever waits for a piece gets an error
        else:
            self._watch = loop.call_at(due, self._look, response)

    async def piece(self, content: aiohttp.StreamReader) -> bytes:
        """The next of the body; empty at its end. Raises UpstreamError."""
        try:
            piece = await content.readany()
        except (aiohttp.ClientError, HttpProcessingError, OSError):
            if not self._silent:
                raise self._error(502, "upstream_broken", "broke off its answer, or sent what is none") from None
        if self._silent or self._deadline.over:
            if self._deadline.over:
                raise self._out_of_time() from None
            seconds = self.upstream.policy.idle_seconds
            raise self._error(504, "upstream_timeout", f"sent nothing for {seconds} s") from None
        self._heard_at = asyncio.get_running_loop().time()
        return piece

    def too_large(self, most: int) -> UpstreamError:
        return self._error(502, "upstream_too_large", f"sent more than the {most} bytes that an answer may have")

    def _failure(self, error: Exception) -> UpstreamError:
        """What sending ended with."""
        cause = getattr(error, "os_error", None)
        if isinstance(cause, connections.AddressRefused):
            return _refused(self.upstream, str(cause))
        if isinstance(error, aiohttp.InvalidURL):
            return _refused(self.upstream, "its base URL has no usual host")
        if not isinstance(error, (aiohttp.ClientError, OSError)):  # a ValueError of whoever writes the headers
            return _refused(self.upstream, "the request has a header that cannot be sent")
        if isinstance(error, aiohttp.ClientSSLError):
            certificate = isinstance(error, aiohttp.ClientConnectorCertificateError)
            what = "has no TLS certificate that could be verified" if certificate else "does not speak TLS there"
            return self._error(502, "upstream_unreachable", what)
        if isinstance(error, TimeoutError):
            return self._timed_out()
        if isinstance(error, aiohttp.ClientConnectorError):
            self.repeatable = True
            name = isinstance(error, aiohttp.ClientConnectorDNSError)
            why = "its host's name does not resolve" if name else "it takes no connections"
            return self._error(502, "upstream_unreachable", f"could not be reached: {why}")
        if isinstance(error, (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)):
            # aiohttp's message is not a text where a part of the answer's head had come.
            self.repeatable = isinstance(getattr(error, "message", ""), str)
            return self._error(502, "upstream_unreachable", "ended the connection without an answer")
        return self._error(502, "upstream_broken", "sent what is no HTTP answer")

    def _timed_out(self) -> UpstreamError:
        policy = self.upstream.policy
        if self._deadline.over:
            return self._out_of_time()
        if not self._connected:
            self.repeatable = True
            return self._error(504, "upstream_timeout", f"could not be connected to within {policy.connect_seconds} s")
        return self._error(504, "upstream_timeout", f"did not begin to answer within {policy.first_byte_seconds} s")

    def _out_of_time(self) -> UpstreamError:
        seconds = self._deadline.seconds
        return self._error(504, "upstream_timeout", f"took more than the {seconds} s that a request may take in all")

    def _error(self, status: int, code: str, what: str) -> UpstreamError:
        return UpstreamError(status, code, f"The provider '{self.upstream.name}' {what}.", began=self._connected)


def _word(outcome: aiohttp.ClientResponse | UpstreamError) -> str:
    """How a try ended: an error's code, or what kind of status."""
    if isinstance(outcome, UpstreamError):
        return outcome.code
    return "429" if outcome.status == 429 else f"{outcome.status // 100}xx"


def _wait(outcome: aiohttp.ClientResponse | UpstreamError, call: _Call, pause: float) -> float | None:
    """Seconds until the next try; None: there should be none."""
    by_chance = uniform(pause, 2 * pause)  # noqa: S311  so that those who failed together do not come back together
    if isinstance(outcome, UpstreamError):
        return by_chance if call.repeatable else None
    if outcome.status not in RETRIED_STATUSES:
        return None
    asked = _retry_after(outcome.headers.get("Retry-After", ""))
    if asked is None:
        return by_chance
    return asked if asked <= LONGEST_PAUSE else None


def _retry_after(text: str) -> float | None:
    """Seconds; None where it does not say."""
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):  # of numbers that no date has
        return None
    return max(0.0, (moment.replace(tzinfo=moment.tzinfo or UTC) - datetime.now(UTC)).total_seconds())


def _headers(upstream: Upstream, request: Request, credential: bytes | None) -> list[tuple[str, str]]:
    name = upstream.credential_header.lower()
    kept = [(header, value) for header, value in request.headers if header.lower() not in _NOT_SENT]
    if credential is None and upstream.credential is not None:
        credential = b"Bearer " + upstream.credential if name == "authorization" else upstream.credential
    if credential is not None:
        kept = [(header, value) for header, value in kept if header.lower() != name]
        try:
            kept.append((name, credential.decode()))  # which is written as UTF-8 again
        except UnicodeDecodeError:
            raise _refused(upstream, "the credential is not UTF-8") from None
    return [*loops.marked(kept), ("accept-encoding", "gzip, deflate")]


def _passed_on(headers: Sequence[Header]) -> tuple[Header, ...]:
    """In lower case, as ASGI wants names."""
    lowered = [(name.lower(), value) for name, value in headers]
    named = {part.strip().lower() for name, value in lowered if name == b"connection" for part in value.split(b",")}
    return tuple(
        (name, value)
        for name, value in lowered
        if name not in _NOT_PASSED_ON and name not in named and not name.startswith(_NOT_PASSED_ON_PREFIXES)
    )


def _refused(upstream: Upstream, why: str) -> UpstreamError:
    return UpstreamError(
        502, "upstream_refused_address", f"The provider '{upstream.name}' is not asked: {why}.", began=False
    )


def _circuit_open(upstream: Upstream, held: Open, *, began: bool) -> UpstreamError:
    until = datetime.now(UTC) + timedelta(seconds=held.seconds)
    message = (
        f"The provider '{upstream.name}' failed {held.failures} times in a row, so nothing is sent to it until "
        f"{until:%Y-%m-%dT%H:%M:%SZ}. The last failure: {held.why}"
    )
    return UpstreamError(503, "upstream_circuit_open", message, began=began, retry_after=held.seconds)
