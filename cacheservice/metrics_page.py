"""`/metrics`, for Prometheus: the metrics of all processes of this server, and what the database knows.

Who has the token of `CACHE_METRICS_TOKEN` is answered. Where there is none: who asks from a loopback or private
address, but not through a proxy that `CACHE_TRUSTED_PROXIES` does not name, for then anybody may have sent it. All
others get what any unknown path gets.
"""

import hmac
import ipaddress
from collections.abc import Iterable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from accounts import networks
from cacheservice import addresses, metrics_database
from cacheservice.http import Scope
from cacheservice.metrics_database import Reading
from cacheservice.metrics_instruments import Counter, Histogram, Instrument, Series, Snapshot, snapshot
from cacheservice.metrics_process import Measure, Publisher, directory_of_server
from cacheservice.views import safe_methods

PRIVATE: Final = tuple(
    ipaddress.ip_network(text)
    for text in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7")
)
# What proxies say of whom they speak for.
FORWARDED: Final = frozenset({b"forwarded", b"via", b"x-forwarded-for", b"x-real-ip"})
SHORTEST_TOKEN = 16  # characters

_publisher: Publisher | None = None


def start(*measures: Measure) -> None:
    """In a server process, on its loop: begin to publish. Raises ImproperlyConfigured for a token easily guessed."""
    global _publisher
    if 0 < len(settings.METRICS_TOKEN) < SHORTEST_TOKEN:
        raise ImproperlyConfigured(f"CACHE_METRICS_TOKEN must have at least {SHORTEST_TOKEN} characters")
    _publisher = Publisher(directory_of_server(Path(settings.VAR_DIR)), measures)
    _publisher.start()


async def stop() -> None:
    global _publisher
    publisher, _publisher = _publisher, None
    if publisher is not None:
        await publisher.stop()


@safe_methods
def metrics(request: HttpRequest) -> HttpResponse:
    """The page. Raises Http404 for who may not see it."""
    scope: Scope = request.scope  # type: ignore[attr-defined]  # an ASGIRequest
    if not may_see(scope, request.headers.get("Authorization", "")):
        raise Http404
    own = snapshot() if _publisher is None else _publisher.read()
    return HttpResponse(rendered(own, metrics_database.readings()), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def may_see(scope: Scope, authorization: str) -> bool:
    if settings.METRICS_TOKEN:
        return hmac.compare_digest(authorization.encode(), f"Bearer {settings.METRICS_TOKEN}".encode())
    address = addresses.client_address(scope)
    found = networks.parse_address(address)
    if found is None or not any(found in network for network in PRIVATE):
        return False
    return addresses.is_of_trusted_proxy(scope) or not any(name in FORWARDED for name, _ in scope["headers"])


def rendered(counted: Snapshot, readings: Iterable[Reading]) -> bytes:
    """In Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Found([*_of_processes(counted), *_of_database(readings)]))
    return generate_latest(registry)


class _Found(Collector):
    def __init__(self, families: list[Metric]) -> None:
        self._families = families

    def collect(self) -> list[Metric]:
        return self._families


def _of_processes(counted: Snapshot) -> Iterator[Metric]:
    for name, instrument in Instrument.all.items():
        series = counted.series.get(name, [])
        if isinstance(instrument, Histogram):
            yield _histogram(instrument, series)
        else:
            family = _family(name, instrument.meaning, instrument.labels, counts=isinstance(instrument, Counter))
            for labels, [value] in series:
                family.add_metric(labels, value)
            yield family


def _histogram(instrument: Histogram, series: Series) -> Metric:
    family = HistogramMetricFamily(instrument.name, instrument.meaning, labels=instrument.labels)
    bounds = [*(f"{bound:g}" for bound in instrument.bounds), "+Inf"]
    for labels, row in series:
        if len(row) == len(bounds) + 1:  # else another version's
            family.add_metric(labels, list(zip(bounds, accumulate(row[:-1]), strict=True)), row[-1])
    return family


def _of_database(readings: Iterable[Reading]) -> Iterator[Metric]:
    found = list(readings)
    for figure in metrics_database.ALL:
        family = _family(figure.name, figure.meaning, figure.labels, counts=figure.counts)
        for other, labels, value in found:
            if other is figure:
                family.add_metric(labels, value)
        yield family


def _family(
    name: str, meaning: str, labels: tuple[str, ...], *, counts: bool
) -> CounterMetricFamily | GaugeMetricFamily:
    return (CounterMetricFamily if counts else GaugeMetricFamily)(name, meaning, labels=labels)
