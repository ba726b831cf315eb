"""Rate limits: a key's requests of a UTC minute, counted in the same statement over all server processes.

The servers here live by a clock of the test's own, so that no minute ends while a test counts.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from accounts.keys import revoke_api_key, rotate_api_key
from accounts.models import Tenant
from billing.limits import set_api_key_limits, set_tenant_limits
from cacheservice.entries.store import Hit
from cacheservice.errors import RateLimitExceeded
from tests.cast import ACTOR, Key, new_key
from tests.client import Answer, Client
from tests.fake_clock import FakeClock
from tests.meters import change_plan, new_plan, used
from tests.processes import RunningServer
from tests.running_stores import RunningStores
from tests.servers import own_server
from tests.store_cast import entry, new_caller, new_tenant, query, scaled

START = datetime(2034, 5, 5, 12, 0, 30, tzinfo=UTC)
LIMIT = 5
MINUTE = timedelta(minutes=1)
ROUNDS = scaled(3, 100)
RATE_HEADERS = "ratelimit-limit", "ratelimit-remaining", "ratelimit-reset"


@pytest.fixture(scope="module")
def clock(django_db_setup: None) -> Iterator[FakeClock]:
    with FakeClock(START) as clock:
        yield clock


@pytest.fixture(scope="module")
def server(clock: FakeClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with own_server(tmp_path_factory.mktemp("limits"), DATABASE_URL=clock.dsn) as running:
        yield running


@pytest.fixture(scope="module")
def django_server(clock: FakeClock, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Another process on the same database, which leaves everything to Django."""
    with own_server(tmp_path_factory.mktemp("limits"), DATABASE_URL=clock.dsn, CACHE_LANE="off") as running:
        yield running


@pytest.fixture
def key() -> Key:
    return limited_key(LIMIT)


def limited_key(limit: int) -> Key:
    key = new_key(new_tenant())
    set_api_key_limits(key.row, requests_per_minute=limit, actor=ACTOR)
    return key


def told(answer: Answer) -> tuple[int, int]:
    """The limit and what is left of it, as the headers say."""
    limit, remaining, reset = (int(answer.header(name) or "") for name in RATE_HEADERS)
    assert 1 <= reset <= 60
    return limit, remaining


def used_of_window(key: Key) -> list[tuple[int]]:
    return query(
        "select used from rate_window where tenant_id = %s and api_key_id = %s", [key.row.tenant_id, key.row.id]
    )


def assert_refused(answer: Answer, limit: int = LIMIT) -> None:
    assert (answer.status, answer.error_code()) == (429, "rate_limit_exceeded")
    seconds = int(answer.header("retry-after") or "")
    assert 1 <= seconds <= 60
    said = f"This API key may make {limit} requests a minute: try again in {seconds} seconds"
    assert answer.error_message().startswith(said)
    assert told(answer) == (limit, 0)


# Counting.


@pytest.mark.parametrize("by", ("server", "django_server"))
def test_requests_beyond_the_limit_wait_for_the_next_minute(
    request: pytest.FixtureRequest, clock: FakeClock, key: Key, by: str
) -> None:
    with Client(request.getfixturevalue(by).url, key.token) as client:
        answers = [client.put("a", 1), client.get("a"), client.get("absent"), client.head("a"), client.delete("a")]
        assert [answer.status for answer in answers] == [201, 200, 200, 200, 200]
        assert [told(answer) for answer in answers] == [(LIMIT, left) for left in (4, 3, 2, 1, 0)]
        for _ in range(3):
            assert_refused(client.get("a"))
        clock.set(clock.now.replace(second=59, microsecond=999_999))
        assert_refused(client.put("a", 1))
        clock.advance(timedelta(microseconds=1))
        answer = client.put("a", 1)
        assert (answer.status, told(answer)) == (201, (LIMIT, LIMIT - 1))


def test_refused_requests_do_nothing_and_cost_nothing(server: RunningServer, key: Key) -> None:
    with Client(server.url, key.token) as client:
        for _ in range(LIMIT):
            client.put("a", 1)
        before = used(key.row.tenant_id)
        for ask in (client.get, client.head, client.delete):
            assert ask("a").status == 429
        assert client.put("a", 2).status == client.patch("a", ttl=1).status == 429
        assert client.delete_many("?all=true").status == client.list().status == 429
        assert client.batch([{"op": "get", "key": "a"}]).status == 429
    assert used(key.row.tenant_id) == before
    assert query("select key from entry where tenant_id = %s", [key.row.tenant_id]) == [("a",)]


def test_server_processes_share_the_minute(server: RunningServer, django_server: RunningServer, key: Key) -> None:
    with Client(server.url, key.token) as first, Client(django_server.url, key.token) as second:
        answers = [(first, second)[turn % 2].get("absent") for turn in range(LIMIT)]
        assert [told(answer) for answer in answers] == [(LIMIT, left) for left in (4, 3, 2, 1, 0)]
        assert_refused(first.get("absent"))
        assert_refused(second.get("absent"))


def test_a_batch_counts_its_operations(server: RunningServer, key: Key) -> None:
    operations = [{"op": "put", "key": "a", "value": 1}, {"op": "get", "key": "a"}, {"op": "get", "key": "b"}]
    with Client(server.url, key.token) as client:
        answer = client.batch(operations)
        assert [result["status"] for result in answer.json()["results"]] == [201, 200, 200]
        assert told(answer) == (LIMIT, LIMIT - 3)
        results = client.batch(operations).json()["results"]
        assert [result["status"] for result in results] == [200, 200, 429]
        assert results[2]["body"]["error"]["code"] == "rate_limit_exceeded"
        assert_refused(client.get("a"))


def test_both_secrets_of_a_key_share_its_minute(server: RunningServer, key: Key) -> None:
    second = rotate_api_key(key.row, overlap=timedelta(days=10_000), actor=ACTOR)
    with Client(server.url, key.token) as old, Client(server.url, second) as new:
        statuses = [client.get("a").status for client in (old, new, old, new, old, new)]
    assert statuses == [200] * LIMIT + [429]


def test_large_bodies_count_once(server: RunningServer, key: Key) -> None:
    """They are authorised before they are read."""
    with Client(server.url, key.token) as client:
        assert told(client.put("a", "x" * 200_000)) == (LIMIT, LIMIT - 1)
        assert told(client.put("a", "x" * 200_000, ttl=0)) == (LIMIT, LIMIT - 2)
        assert client.put("a", "x" * 11_000_000).status == 413
        assert told(client.get("a")) == (LIMIT, LIMIT - 4)


@pytest.mark.parametrize("limit", (1, 50, 100))
def test_no_more_than_the_limit_whatever_comes_at_once(clock: FakeClock, limit: int) -> None:
    """Over two processes' stores, and in every minute anew."""
    tenant = new_tenant()
    caller, other = new_caller(tenant), new_caller(tenant)
    for each in (caller, other):
        set_limit(each.tenant_id, each.api_key_id, limit)
    with RunningStores(2, clock.dsn) as stores:
        clock.advance(MINUTE)
        stores.run(stores[0].put(other, "a", entry(b"1")))
        for _ in range(ROUNDS):
            clock.advance(MINUTE)
            outcomes = stores.at_once([stores[each % 2].get(caller, "a") for each in range(150)])
            assert Counter(map(type, outcomes)) == {Hit: limit, RateLimitExceeded: 150 - limit}
    assert used(tenant.id, caller.api_key_id).hits == ROUNDS * limit
    assert used(tenant.id, other.api_key_id).writes == 1


def set_limit(tenant_id: int, api_key_id: int, limit: int) -> None:
    query(
        "update api_key set requests_per_minute = %s where tenant_id = %s and id = %s", [limit, tenant_id, api_key_id]
    )


def test_no_more_than_the_limit_over_two_servers(server: RunningServer, django_server: RunningServer) -> None:
    key = limited_key(40)

    def client(number: int) -> list[int]:
        with Client((server, django_server)[number % 2].url, key.token) as client:
            return [client.get("absent").status for _ in range(10)]

    with ThreadPoolExecutor(12) as pool:
        statuses = Counter(status for each in pool.map(client, range(12)) for status in each)
    assert statuses == {200: 40, 429: 80}
    assert used(key.row.tenant_id).misses == 40


def test_a_request_that_waits_for_a_fill_counts_once(server: RunningServer) -> None:
    key = limited_key(100)
    with Client(server.url, key.token) as holder, Client(server.url, key.token) as other, ThreadPoolExecutor(1) as pool:
        lease = holder.get("a", "?lease=30").json()["lease"]
        waiting = pool.submit(other.get, "a", "?lease=30&wait=20")
        time.sleep(0.3)
        holder.put("a", 1, headers={"x-cache-lease": lease})
        assert waiting.result().json()["value"] == 1
    assert used_of_window(key) == [(3,)]


# Headers.


@pytest.mark.parametrize(
    ("status", "ask"),
    (
        (200, lambda client: client.get("a")),
        (200, lambda client: client.get("absent")),
        (404, lambda client: client.get("absent", "?raw=true")),
        (404, lambda client: client.head("absent")),
        (304, lambda client: client.get("a", headers={"if-none-match": "*"})),
        (412, lambda client: client.put("a", 1, headers={"if-none-match": "*"})),
        (404, lambda client: client.patch("absent", ttl=1)),
        (400, lambda client: client.put("a", 1, ttl=0)),
        (400, lambda client: client.put_body("a", b"{")),
        (400, lambda client: client.get("a", "?unknown=1")),
        (400, lambda client: client.send("GET", "/api/v1/cache/%00")),
        (415, lambda client: client.put_raw("a", b"a=b", "application/x-www-form-urlencoded")),
        (200, lambda client: client.list()),
        (400, lambda client: client.list("?limit=0")),
        (200, lambda client: client.delete_many("?prefix=none")),
        (400, lambda client: client.delete_many("")),
        (200, lambda client: client.batch([{"op": "get", "key": "a"}])),
        (400, lambda client: client.batch("none")),
        (200, lambda client: client.send("GET", "/api/v1/account")),
        (200, lambda client: client.send("GET", "/api/v1/usage")),
        (400, lambda client: client.send("GET", "/api/v1/usage?group_by=week")),
        (405, lambda client: client.send("POST", "/api/v1/account")),
        (405, lambda client: client.send("POST", "/api/v1/cache/a")),
        (405, lambda client: client.send("GET", "/api/v1/batch")),
    ),
)
@pytest.mark.parametrize("by", ("server", "django_server"))
def test_every_authenticated_answer_tells_of_the_limit(
    request: pytest.FixtureRequest, by: str, status: int, ask: Callable[[Client], Answer]
) -> None:
    key = limited_key(100)
    with Client(request.getfixturevalue(by).url, key.token) as client:
        client.put("a", 1)
        answer = ask(client)
        assert answer.status == status, answer.body
        assert told(answer)[0] == 100
        assert told(answer)[1] in (98, 99)  # what never gets as far as a statement is not counted


def test_refusals_of_money_and_scope_tell_of_the_limit(server: RunningServer) -> None:
    tenant = new_tenant(new_plan(prepaid=True, requests_per_minute=100, storage_quota=10))
    key, blind = new_key(tenant), new_key(tenant, ["write"])
    with Client(server.url, key.token) as client, Client(server.url, blind.token) as other:
        client.put("a", 1)
        for answer, status in ((client.get("a"), 402), (client.put("a", "x" * 10), 402), (other.get("a"), 403)):
            assert answer.status == status
            assert told(answer)[0] == 100


@pytest.mark.parametrize("by", ("server", "django_server"))
def test_refused_api_key_learns_of_no_limit(request: pytest.FixtureRequest, by: str) -> None:
    key = limited_key(100)
    with Client(request.getfixturevalue(by).url, key.token) as client:
        assert told(client.get("a")) == (100, 99)
        revoke_api_key(key.row, ACTOR)
        wrong = client.send("DELETE", "/api/v1/account"), client.send("POST", "/api/v1/cache/a")
        for answer in (*wrong, client.get("a"), client.list(), client.put("a", "x" * 200_000)):
            assert answer.status == 401
            assert [answer.header(name) for name in RATE_HEADERS] == [None] * 3
    assert used_of_window(key) == [(1,)]


# Whose limit.


@pytest.mark.parametrize(
    ("of_key", "of_tenant", "of_plan", "limit"),
    ((7, 8, 9, 7), (None, 8, 9, 8), (None, None, 9, 9), (7, None, None, 7), (9, 8, 7, 9), (None, 8, None, 8)),
)
def test_the_nearest_limit_holds(
    server: RunningServer, of_key: int | None, of_tenant: int | None, of_plan: int | None, limit: int
) -> None:
    tenant = new_tenant(new_plan(requests_per_minute=of_plan))
    key = new_key(tenant)
    set_tenant_limits(tenant, requests_per_minute=of_tenant, actor=ACTOR)
    set_api_key_limits(key.row, requests_per_minute=of_key, actor=ACTOR)
    with Client(server.url, key.token) as client:
        assert [client.head("absent").status for _ in range(limit + 1)] == [404] * limit + [429]


@pytest.mark.parametrize(("plan", "limit"), (("free", 60), ("pro", 120)))
def test_limits_of_the_plans(server: RunningServer, plan: str, limit: int) -> None:
    with Client(server.url, new_key(new_tenant(plan)).token) as client:
        assert told(client.get("a")) == (limit, limit - 1)


def test_each_api_key_has_a_minute_of_its_own(server: RunningServer) -> None:
    tenant: Tenant = new_tenant(new_plan(requests_per_minute=2))
    for key in (new_key(tenant), new_key(tenant)):
        with Client(server.url, key.token) as client:
            assert [client.get("a").status for _ in range(3)] == [200, 200, 429]


@pytest.mark.parametrize("by", ("server", "django_server"))
def test_unlimited_key_has_no_headers_and_no_row(request: pytest.FixtureRequest, by: str) -> None:
    key = new_key(new_tenant())
    with Client(request.getfixturevalue(by).url, key.token) as client:
        for answer in (client.put("a", 1), client.get("a"), client.list(), client.batch([{"op": "get", "key": "a"}])):
            assert answer.status in (200, 201)
            assert [answer.header(name) for name in RATE_HEADERS] == [None] * 3
    assert used_of_window(key) == []


def test_changed_limits_hold_at_once(server: RunningServer, key: Key) -> None:
    with Client(server.url, key.token) as client:
        assert [client.get("a").status for _ in range(LIMIT + 1)] == [200] * LIMIT + [429]
        set_api_key_limits(key.row, requests_per_minute=LIMIT + 10, actor=ACTOR)
        assert client.get("a").status == 200
        set_api_key_limits(key.row, requests_per_minute=1, actor=ACTOR)
        assert client.get("a").status == 429
        set_api_key_limits(key.row, requests_per_minute=None, actor=ACTOR)
        answer = client.get("a")
        assert answer.status == 200
        assert [answer.header(name) for name in RATE_HEADERS] == [None] * 3


def test_change_of_the_plan_holds_at_once(server: RunningServer) -> None:
    tenant = new_tenant(new_plan(requests_per_minute=1))
    with Client(server.url, new_key(tenant).token) as client:
        assert [client.get("a").status for _ in range(2)] == [200, 429]
        change_plan(tenant, new_plan())
        answer = client.get("a")
        assert (answer.status, answer.header("ratelimit-limit")) == (200, None)
