"""What the gateway of one server process is made of."""

import asyncio
from typing import Any, NamedTuple

from django.conf import settings

from cacheservice import metrics
from cacheservice.entries import store
from cacheservice.entries.store import Store
from cacheservice.errors import Unavailable
from gateway.delivery import Usages
from gateway.directory import Directory
from gateway.fetch import Fetcher
from gateway.flights import Flights, Place
from gateway.ledger import Ledger
from gateway.plan import Planner
from gateway.upstreams import Upstreams

LANDING_SECONDS = 10  # that calls under way get when the server stops


class Gateway(NamedTuple):
    """Its parts."""

    store: Store
    directory: Directory
    planner: Planner
    flights: Flights
    upstreams: Upstreams
    ledger: Ledger
    fetcher: Fetcher
    usages: Usages
    strings: dict[Place, asyncio.Future[Any]]  # that requests for embeddings are getting


_current: Gateway | None = None


def current() -> Gateway:
    """Raises Unavailable before the server has started it."""
    if _current is None:
        raise Unavailable("The gateway is not running: this process is not the server, or it is still starting.")
    return _current


def measure() -> None:
    """Sets the gauges of this process's gateway, if it has one."""
    if _current is not None:
        metrics.BYTES_IN_FLIGHT.set(_current.flights.bytes, "gateway")
        _current.upstreams.measure()
        _current.ledger.measure()


async def start() -> None:
    """On the running loop, after the store."""
    global _current
    entries = store.current()
    upstreams = Upstreams()
    ledger = Ledger(settings.DATABASE_DSN)
    await upstreams.start()
    await ledger.start()
    flights = Flights(settings.GATEWAY_BYTES_IN_FLIGHT)
    fetcher = Fetcher(entries, upstreams, ledger, flights)
    _current = Gateway(entries, Directory(entries), Planner(), flights, upstreams, ledger, fetcher, Usages(), {})


async def stop() -> None:
    """Before the store."""
    global _current
    gateway, _current = _current, None
    if gateway is not None:
        await gateway.flights.close(LANDING_SECONDS)
        await gateway.ledger.close()
        await gateway.upstreams.close()
