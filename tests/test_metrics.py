"""`/metrics`: who may see it, that it counts what happened, in processes that come and go, and tells of nobody."""

import asyncio
import os
import re
import secrets
import signal
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import httpx
import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.networks import parse
from cacheservice import addresses, metrics, metrics_database, metrics_page, metrics_tasks
from cacheservice.entries import store as stores
from cacheservice.entries.store import Store
from cacheservice.metrics_instruments import Counter, Gauge, Histogram, Instrument, Kind, Series, Snapshot, merged
from cacheservice.metrics_process import ENDED, Files, Publisher
from cacheservice.models import TaskRun
from cacheservice.supervisor import Child, server_command
from gateway.providers import ProviderSettings, put_provider
from tests.cast import Cast, cast_fixture, new_caller  # noqa: F401  a fixture
from tests.client import Client
from tests.conftest import server_environment
from tests.processes import HOST, ROOT, RunningServer, descendants, free_port, wait_for
from tests.store_cast import query, run_with_store


@pytest.fixture
def instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a test declares, and no others."""
    monkeypatch.setattr(Instrument, "all", {})


def page(url: str, **headers: str) -> str:
    answer = httpx.get(f"{url}/metrics", headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


def settled_page(url: str) -> str:
    """With all that was answered before; a process tells the others once a second."""

    def marks() -> float:
        return total(page(url), "cacheservice_requests_total", route="none", method="PATCH")

    before = marks()
    httpx.patch(f"{url}/api/v1/nowhere", timeout=30)
    wait_for(lambda: marks() > before, 30, "what came before is published")
    return page(url)


def values(text: str, name: str, **labels: str) -> list[float]:
    """Of the series that have these labels."""
    found = re.findall(rf"^{name}(?:\{{(.*)\}})? (\S+)$", text, re.MULTILINE)
    wanted = [f'{label}="{value}"' for label, value in labels.items()]
    return [float(value) for given, value in found if all(each in given for each in wanted)]


def total(text: str, name: str, **labels: str) -> float:
    return sum(values(text, name, **labels))


# What is counted


def test_histogram_knows_its_bounds(instruments: None) -> None:
    histogram = Histogram("h", "", (1, 2), ("kind",))
    for value in (0, 1, 1.5, 2, 3):
        histogram.observe(value, "a")
    assert histogram.series() == [(("a",), [2, 2, 1, 7.5])]
    text = metrics_page.rendered(Snapshot({"h": histogram.series()}), []).decode()
    assert values(text, "h_bucket") == [2, 4, 5]
    assert (values(text, "h_count"), values(text, "h_sum")) == ([5], [7.5])


def test_processes_become_one(instruments: None) -> None:
    """Gauges are of the living; what was counted stays; what another version counted differently is left out."""
    Counter("c", "", ("of",))
    Gauge("sum", "")
    Gauge("most", "", kind=Kind.MOST)
    Gauge("least", "", kind=Kind.LEAST)
    Histogram("h", "", (1,))

    def process(number: float) -> Snapshot:
        series: dict[str, Series] = {name: [((), [number])] for name in ("sum", "most", "least")}
        return Snapshot({"c": [(("a",), [number])], "h": [((), [number, 0, number])], **series})

    old = Snapshot({"h": [((), [1, 2, 3, 4])], "gone": [((), [1])]})
    found = merged([process(1), process(2), old], [process(4)]).series
    assert found == {
        "c": [(("a",), [7])],
        "h": [((), [7, 0, 7])],
        "sum": [((), [3])],
        "most": [((), [2])],
        "least": [((), [1])],
    }


def test_money_is_whole_and_nothing_is_lost(instruments: None) -> None:
    counter = Counter("c", "")
    money = metrics.Money(counter)
    for _ in range(10):
        money.add(Decimal("0.00000025"))
    assert counter.series() == [((), [2])]
    money.add(Decimal("1.0000005"))
    assert counter.series() == [((), [1_000_003])]


def test_methods_that_clients_invent_are_one(instruments: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "REQUESTS", Counter("r", "", ("plane", "route", "method", "status")))
    monkeypatch.setattr(metrics, "_cells", {})
    for number in range(50):
        metrics.count_request("lane", "item", f"FROB{number}", 405, 0)
    assert metrics.REQUESTS.series() == [(("lane", "item", "other", "4xx"), [50])]
    assert metrics._cells == {}


# Processes that come and go


def counting(counter: Counter, gauge: Gauge, number: float) -> Snapshot:
    return Snapshot({counter.name: [((), [number])], gauge.name: [((), [number])]})


def test_what_ended_processes_counted_stays(instruments: None, tmp_path: Path) -> None:
    counter, gauge = Counter("c", ""), Gauge("g", "")
    first, second = Files(tmp_path), Files(tmp_path)
    first.write(counting(counter, gauge, 1))
    second.write(counting(counter, gauge, 2))
    assert first.read().series == {"c": [((), [3])], "g": [((), [3])]}
    second.close()
    for _ in range(3):  # however often it is looked at
        assert first.read().series == {"c": [((), [3])], "g": [((), [1])]}
    first.close()
    third = Files(tmp_path)
    assert third.read().series == {"c": [((), [3])]}
    assert sorted(path.name for path in tmp_path.glob("*") if path.suffix != ".json") == [ENDED, "lock"]
    third.close()


def test_torn_file_is_left_out(instruments: None, tmp_path: Path) -> None:
    counter, gauge = Counter("c", ""), Gauge("g", "")
    files = Files(tmp_path)
    files.write(counting(counter, gauge, 1))
    whole = next(tmp_path.glob("*.json")).read_bytes()
    for number, content in enumerate((b"", whole[:-1], whole[:4] + b"{}", b"\0\0\0\0")):
        (tmp_path / f"{number}.json").write_bytes(content)
    assert files.read().series["c"] == [((), [1])]
    files.close()


def test_process_without_a_directory_tells_of_itself(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def scenario() -> Snapshot:
        publisher = Publisher(tmp_path / "file" / "below", [lambda: metrics.LEASE_WAITERS.set(7)])
        publisher.start()
        await publisher.stop()
        return publisher.read()

    try:
        assert asyncio.run(scenario()).series["cacheservice_lease_waiters"] == [((), [7])]
    finally:
        metrics.LEASE_WAITERS.set(0)


def test_counters_never_go_back(tmp_path: Path, cast: Cast) -> None:
    """Two workers, one of which is killed."""
    port = free_port()
    environment = {**server_environment("on"), "CACHE_VAR_DIR": str(tmp_path / "var")}
    command = server_command(HOST, port, workers=2)
    url = f"http://{HOST}:{port}"
    child = Child.start("server", command, log_path=tmp_path / "log", directory=ROOT, environment=environment)
    try:

        def processes(number: int) -> bool:
            try:
                return values(page(url), "cacheservice_processes") == [number]
            except httpx.TransportError:
                return False

        wait_for(lambda: processes(2), 60, "both workers are there")
        with Client(url, cast.first.token) as client:
            for _ in range(20):
                assert client.put("counted", 1).status in (200, 201)
        wait_for(lambda: total(page(url), "cacheservice_writes_total") >= 20, 30, "all writes are counted")
        before = total(page(url), "cacheservice_writes_total")
        workers = sorted(descendants(child.process.pid))
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: processes(2) and set(workers) != descendants(child.process.pid), 60, "it is replaced")
        assert total(page(url), "cacheservice_writes_total") == before
        with Client(url, cast.first.token) as client:
            assert client.put("counted", 1).status == 200
        wait_for(lambda: total(page(url), "cacheservice_writes_total") == before + 1, 30, "it goes on")
    finally:
        child.stop()


# What a server tells


def test_what_happens_is_counted(server: RunningServer) -> None:
    caller = new_caller()
    before = settled_page(server.url)

    def grown(name: str, **labels: str) -> float:
        return total(page(server.url), name, **labels) - total(before, name, **labels)

    with Client(server.url, caller.token) as client:
        assert client.put("k", 1).status == 201
        for _ in range(3):
            assert client.get("k").status == 200
        assert client.get("absent").status == 200
        assert client.head("k").status == 200
        assert client.delete("k").status == 200
        assert client.list().status == 200
        assert client.send("GET", "/api/v1/nowhere").status == 404
    lane = {"plane": "lane", "route": "item", "status": "2xx"}
    wait_for(
        lambda: grown("cacheservice_requests_total", route="none", method="GET") >= 1, 10, "the last one is published"
    )
    assert grown("cacheservice_requests_total", method="GET", **lane) == 4
    assert grown("cacheservice_requests_total", method="PUT", **lane) == 1
    assert grown("cacheservice_requests_total", plane="django", route="collection", status="2xx") == 1
    assert grown("cacheservice_request_seconds_count", plane="lane") == 7
    assert grown("cacheservice_hits_total", space="tenant") == 3
    assert grown("cacheservice_misses_total", space="tenant") == 1
    assert grown("cacheservice_writes_total", space="tenant") == 1
    assert grown("cacheservice_deletes_total", space="tenant") == 1
    assert grown("cacheservice_batch_size_sum", kind="Write") == 1
    assert grown("cacheservice_statement_seconds_count", kind="Write") == 1
    now = page(server.url)
    assert values(now, "cacheservice_pool_connections", pool="store", state="open") == [2]
    assert values(now, "cacheservice_lease_listening") == [1]
    assert values(now, "cacheservice_database_up") == [1]
    assert total(now, "cacheservice_process_resident_bytes") > 10_000_000


def test_no_label_tells_of_a_tenant(server: RunningServer) -> None:
    canary = f"canary{secrets.token_hex(8)}"
    caller = new_caller()
    put_provider(caller.row.tenant_id, canary, ProviderSettings(kind="other", base_url="https://x.example"), "tests")
    with Client(server.url, caller.token) as client:
        client.put(canary, canary, tags=[canary])
        client.get(canary)
        client.send("GET", f"/{canary}")
        client.send("GET", f"/api/v1/providers/{canary}")
        client.send(canary.upper(), "/api/v1/account")
        client.send("POST", f"/gateway/{canary}x/{canary}", b"{}", {"content-type": "application/json"})
    text = page(server.url).lower()
    for secret in (canary, caller.token.lower(), str(caller.row.tenant_id), caller.row.tenant.name.lower()):
        assert secret not in text
    assert set(re.findall(r'[{,](\w+)="', text)) <= {
        *("plane", "route", "method", "status", "cause", "of", "space", "kind", "reason", "pool", "state", "outcome"),
        *("task", "version", "python", "le"),
    }


TOKEN = "token-of-prometheus-55"


def test_answers_while_the_database_is_away(tmp_path: Path) -> None:
    """Who has the token; others get what any unknown path gets."""
    port, nobody = free_port(), free_port()
    environment = {**os.environ, "DATABASE_URL": f"postgresql://x@{HOST}:{nobody}/x", "CACHE_METRICS_TOKEN": TOKEN}
    command, url = server_command(HOST, port), f"http://{HOST}:{port}"
    child = Child.start("server", command, log_path=tmp_path / "log", directory=ROOT, environment=environment)
    try:
        with Client(url, "ck_live_x") as client:

            def refused() -> bool:
                try:
                    return client.send("GET", "/readyz").status == 503
                except httpx.TransportError:
                    return False

            wait_for(refused, 60, "it says that it is not ready")
            answer, unknown = client.send("GET", "/metrics"), client.send("GET", "/metricz")
        assert (answer.status, answer.error_code()) == (404, "not_found")
        assert answer.body.replace(b"/metrics", b"/metricz").partition(b"request_id")[0] in unknown.body
        text = page(url, Authorization=f"Bearer {TOKEN}")
        assert values(text, "cacheservice_database_up") == [0]
        assert values(text, "cacheservice_pool_connections", pool="store", state="open") == [0]
        assert values(text, "cacheservice_purge_lag_seconds") == []
    finally:
        child.stop()


def test_each_metric_is_described(server: RunningServer) -> None:
    described = re.findall(r"^\| `(cacheservice_\w+)` \| (\w+) \|", (ROOT / "docs/observability.md").read_text(), re.M)
    there = re.findall(r"^# TYPE (\w+) (\w+)", page(server.url), re.MULTILINE)
    assert described == there


# Who may see it


PEERS = [  # address, headers, whether
    ("127.0.0.1", {}, True),
    ("10.1.2.3", {}, True),
    ("172.16.0.1", {}, True),
    ("192.168.7.7", {}, True),
    ("::1", {}, True),
    ("fd00::7", {}, True),
    ("::ffff:10.0.0.1", {}, True),
    ("172.32.0.1", {}, False),
    ("203.0.113.9", {}, False),
    ("169.254.1.1", {}, False),
    ("2001:db8::1", {}, False),
    ("nonsense", {}, False),
    (None, {}, False),
    ("127.0.0.1", {"x-forwarded-for": "10.0.0.1"}, False),  # through a proxy that nobody named
    ("127.0.0.1", {"forwarded": "for=10.0.0.1"}, False),
    ("127.0.0.1", {"via": "1.1 somewhere"}, False),
    ("192.168.0.1", {"x-forwarded-for": "203.0.113.9"}, False),  # through one that was: of a stranger,
    ("192.168.0.1", {"x-forwarded-for": "10.0.0.1, 203.0.113.9"}, False),
    ("192.168.0.1", {"x-forwarded-for": "203.0.113.9, 10.0.0.1"}, True),  # and of one's own
    ("192.168.0.1", {}, True),
]


@pytest.mark.parametrize(("address", "headers", "may"), PEERS)
def test_without_a_token_only_private_addresses_see_it(
    address: str | None, headers: dict[str, str], may: bool, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.METRICS_TOKEN = ""
    monkeypatch.setattr(addresses, "TRUSTED_PROXIES", (parse("192.168.0.1"),))
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    scope = {"client": None if address is None else (address, 1), "headers": sent}
    assert metrics_page.may_see(scope, "Bearer whatever") is may


AUTHORIZATIONS = [
    (f"Bearer {TOKEN}", True),
    ("", False),
    (TOKEN, False),
    (f"Bearer {TOKEN}x", False),
    (f"Bearer {TOKEN[:-1]}", False),
    (f"bearer {TOKEN}", False),
    ("Bearer ", False),
    ("Bearer \u00e9", False),
]


@pytest.mark.parametrize(("sent", "may"), AUTHORIZATIONS)
def test_with_a_token_only_who_has_it_sees_it(sent: str, may: bool, settings: Settings) -> None:
    settings.METRICS_TOKEN = TOKEN
    for address in ("127.0.0.1", "203.0.113.9"):
        assert metrics_page.may_see({"client": (address, 1), "headers": []}, sent) is may


def test_token_that_is_easily_guessed_is_refused(settings: Settings) -> None:
    settings.METRICS_TOKEN = "short"
    with pytest.raises(Exception, match="CACHE_METRICS_TOKEN must have at least 16 characters"):
        metrics_page.start()


# What the database knows


def read_figures() -> dict[tuple[str, ...], float]:
    """By name and labels."""

    async def scenario(store: Store) -> list[metrics_database.Reading]:
        former, stores._current = stores._current, store
        try:
            return await metrics_database.read()
        finally:
            stores._current = former

    return {(figure.name, *labels): value for figure, labels, value in run_with_store(scenario)}


DAY = 86_400  # seconds
DAYS = 10_000  # older than what any other test leaves


def test_lags_are_those_of_the_oldest(server: RunningServer) -> None:
    caller = new_caller()
    tenant_id = caller.row.tenant_id
    with Client(server.url, caller.token) as client:
        for key in ("old", "new"):
            assert client.put(key, 1).status == 201
    long_ago = timezone.now() - timedelta(days=DAYS)
    try:
        query("update entry set expires_at = %s where tenant_id = %s and key = 'old'", [long_ago, tenant_id])
        query("update receipt set at = %s, folded = false where tenant_id = %s", [long_ago, tenant_id])
        found = read_figures()
        assert DAYS * DAY <= found["cacheservice_purge_lag_seconds",] < (DAYS + 1) * DAY
        assert DAYS * DAY <= found["cacheservice_rollup_lag_seconds",] < (DAYS + 1) * DAY
        assert found["cacheservice_database_up",] == 1
    finally:
        query("update entry set expires_at = now() + interval '1 hour' where tenant_id = %s", [tenant_id])
        query("update receipt set at = now() where tenant_id = %s", [tenant_id])
    found = read_figures()
    assert found["cacheservice_purge_lag_seconds",] < DAYS * DAY
    assert found["cacheservice_rollup_lag_seconds",] < DAYS * DAY


def test_leases_are_counted(server: RunningServer) -> None:
    before = read_figures()["cacheservice_leases_held",]
    with Client(server.url, new_caller().token) as client:
        assert client.get("absent", "?lease=30").json()["lease"]
        assert read_figures()["cacheservice_leases_held",] == before + 1
        assert client.delete("absent").status == 200
    assert read_figures()["cacheservice_leases_held",] == before


class Task:
    """As Celery hands it over."""

    def __init__(self, name: str) -> None:
        self.name = name


def test_tasks_are_noted() -> None:
    name = f"tests.tasks.{secrets.token_hex(4)}"
    for state in ("SUCCESS", "FAILURE", "SUCCESS"):
        metrics_tasks._begin(task_id="x")
        metrics_tasks._end(task_id="x", task=Task(name), state=state)
    run = TaskRun.objects.get(name=name)
    assert (run.runs, run.failures, run.succeeded_at) == (3, 1, run.ended_at)
    metrics_tasks._end(task_id="x", task=Task(name), state="FAILURE")
    failed = TaskRun.objects.get(name=name)
    assert (failed.runs, failed.failures, failed.succeeded_at) == (4, 2, run.succeeded_at)
    place = name.replace(".tasks.", ".")
    found = read_figures()
    assert found["cacheservice_task_runs_total", place] == 4
    assert found["cacheservice_task_failures_total", place] == 2
    assert found["cacheservice_task_last_success_timestamp_seconds", place] == pytest.approx(
        run.succeeded_at.timestamp() if run.succeeded_at else 0
    )


def test_what_a_reconciliation_finds_is_noted() -> None:
    metrics_tasks.note_found(metrics_tasks.RECONCILIATION, 3)
    assert read_figures()["cacheservice_reconciliation_differences",] == 3
    metrics_tasks.note_found(metrics_tasks.RECONCILIATION, 0)
    assert read_figures()["cacheservice_reconciliation_differences",] == 0
