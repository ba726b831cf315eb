"""The server's entry: item operations take the lane, calls of AI APIs the gateway, everything else Django.

          ┌ lane     GET HEAD PUT PATCH DELETE /api/v1/cache/:key
ASGI ─────┼ gateway  /gateway/<provider>/…
          └ Django   all of /api/v1, /console, /staff, /docs, /healthz, /readyz, /metrics
"""

import asyncio
import gc
import os
import resource
import sys
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

import structlog

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "cacheservice.settings")

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.exceptions import ImproperlyConfigured
from django.urls import resolve

django: Any = get_asgi_application()  # its stubs want narrower messages than ASGI has

from accounts import audit  # noqa: E402  after Django is set up
from billing import receipt_days  # noqa: E402
from cacheservice import draining, http, lingering, metrics, metrics_page, tracing  # noqa: E402
from cacheservice.addresses import UNKNOWN, client_address  # noqa: E402
from cacheservice.entries import items, lane, store  # noqa: E402
from cacheservice.entries.callers import caller_of  # noqa: E402
from cacheservice.errors import APIError, InvalidAPIKey, Unavailable  # noqa: E402
from cacheservice.http import BodyReader, Message, Receive, Scope, Send  # noqa: E402
from gateway import app as gateway  # noqa: E402
from gateway import pricing, service  # noqa: E402

log = structlog.get_logger(__name__)
LANE: bool = settings.LANE  # looked up once: a hit would look twice for as long as it takes to find its API key
WITH_BODY = ("POST", *items.WITH_BODY)
WITH_FORMS, FORM_BYTES = ("/console/", "/staff/"), 256 * 1024
# Django makes a thread for each request, so their number is bounded. Who looks after the server is let in all the same.
MOST_IN_DJANGO = 64
PROBES = ("/healthz", "/readyz", "/metrics")
MOST_OPEN_FILES = 65_536
_in_django = 0
Responder = Callable[[Scope, Receive, http.Sending, BodyReader], Awaitable[None]]
bodies = BodyReader(bytes_in_flight=settings.BODY_BYTES_IN_FLIGHT, timeout=settings.BODY_TIMEOUT_SECONDS)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """The ASGI application."""
    if scope["type"] == "http":
        if draining.under_way():
            send = draining.closing(send)
        if tracing.on:
            await tracing.request(scope, receive, send, by_plane)
        else:
            await by_plane(scope, receive, send)
    elif scope["type"] == "lifespan":
        await run_lifespan(receive, send)


def by_plane(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """By the plane that it is for. What it leaves of a large body is read and forgotten."""
    large = scope["method"] in WITH_BODY and bodies.is_large(dict(scope["headers"]))
    return (_lingering if large else _by_plane)(scope, receive, send)


async def _lingering(scope: Scope, receive: Receive, send: Send) -> None:
    body = lingering.Body(receive)
    await _by_plane(scope, body, send)
    await body.linger()


def _by_plane(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    if LANE and lane.takes(scope):
        return lane.respond(scope, receive, send, bodies)
    if gateway.takes(scope):
        return _counted("gateway", gateway.respond, scope, receive, send)
    return _counted("django", respond, scope, receive, send)


async def _counted(plane: str, respond: Responder, scope: Scope, receive: Receive, send: Send) -> None:
    """Count the request as the plane's. The lane counts itself, for it is in a hurry."""
    began, sending = perf_counter(), http.Sending(send)
    try:
        await respond(scope, receive, sending, bodies)
    finally:
        route = "provider" if plane == "gateway" else scope["state"].get("route", "none")
        metrics.count_request(plane, route, scope["method"], sending.status, began)


async def respond(scope: Scope, receive: Receive, send: Send, bodies: BodyReader) -> None:
    """Read the body within bounds, as the lane does, and let Django answer."""
    headers = dict(scope["headers"])
    request_id = http.request_id(headers.get(b"x-request-id"))
    scope.setdefault("state", {})["request_id"] = request_id
    global _in_django
    body = b""
    try:
        if _in_django >= MOST_IN_DJANGO and scope["path"] not in PROBES:
            metrics.UNAVAILABLE.add(1, "django_full")
            raise Unavailable(f"{_in_django} such requests are under way already: try again shortly.")
        if scope["method"] in WITH_BODY and scope["path"].startswith("/api/"):
            body = await _read_body(scope, receive, headers)
        elif scope["method"] == "POST" and scope["path"].startswith(WITH_FORMS):
            body = await bodies.read(receive, headers, FORM_BYTES)
    except APIError as error:
        answer = http.error_answer(error, request_id)
        rate = scope["state"].get("rate") if error.status != InvalidAPIKey.status else None
        answer = answer._replace(headers=(*answer.headers, *http.rate_headers(rate)))
        await http.send_answer(send, answer, request_id)
        return
    send = _logged(scope, request_id, send) if settings.ACCESS_LOG else send
    _in_django += 1
    try:
        address = client_address(scope)
        audited = audit.asked_from("" if address == UNKNOWN else address)
        with audited, structlog.contextvars.bound_contextvars(request_id=request_id):
            await django(dict(scope), _replay(body, receive), send)
    finally:
        _in_django -= 1
        bodies.release(body)


async def run_lifespan(receive: Receive, send: Send) -> None:
    """The store lives as long as the server process."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _allow_open_files()
            _wake_politely()
            try:
                await store.start()
                if store.current().connected:
                    await asyncio.to_thread(receipt_days.make_at_start)
                await service.start()
                tracing.start("cacheservice-server")
                metrics_page.start(store.measure, service.measure, _measure)
            except ImproperlyConfigured as error:  # without this the server would run without a store
                log.critical("refused_to_start", reason=str(error))
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                return
            draining.begin_on_sigterm(settings.DRAIN_SECONDS)
            await asyncio.to_thread(_load)
            # What start-up made stays: a full collection need not walk it, 40 ms at a time (docs/decisions/006).
            gc.collect()
            gc.freeze()
            await send({"type": "lifespan.startup.complete"})
        elif message["type"] == "lifespan.shutdown":
            await service.stop()
            await store.stop()
            await metrics_page.stop()
            await asyncio.to_thread(tracing.stop)
            await send({"type": "lifespan.shutdown.complete"})
            return


def _load() -> None:
    """What is otherwise imported and built by the first request that needs it, for which all others would wait."""
    pricing.load()
    resolve("/healthz")  # with the views of all URLs


def _measure() -> None:
    metrics.BYTES_IN_FLIGHT.set(bodies.in_flight, "requests")
    metrics.BYTES_IN_FLIGHT.set(http.large_answers.in_flight, "answers")


def _allow_open_files() -> None:
    """As many as there may be: each client's connection is one, and each call of the gateway another."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if most == resource.RLIM_INFINITY else min(most, MOST_OPEN_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _wake_politely() -> None:
    """This process's threads, when they wake up, let others finish what they are at (docs/decisions/023)."""
    if sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


async def _read_body(scope: Scope, receive: Receive, headers: dict[bytes, bytes]) -> bytes:
    """The body, as the lane reads it: nobody without a valid API key can send a large one."""
    if not (lane.takes(scope) or bodies.is_large(headers)):
        return await bodies.read(receive, headers, items.max_body_bytes())
    caller = await caller_of(store.current(), scope, headers)
    needed = items.SCOPES[scope["method"]] if lane.takes(scope) else None
    try:
        return await items.read_body(store.current(), caller, needed, bodies, receive, headers)
    finally:
        scope["state"]["rate"] = caller.rate


def _logged(scope: Scope, request_id: str, send: Send) -> Send:
    async def logged(message: Message) -> None:
        if message["type"] == "http.response.start":
            log.info("request", request_id=request_id, method=scope["method"], status=message["status"])
        await send(message)

    return logged


def _replay(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives the body that was read, then what comes after it."""
    pending: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        if pending:
            return pending.pop()
        while (message := await receive())["type"] == "http.request":
            pass  # a body that its method does not have
        return message

    return replay
