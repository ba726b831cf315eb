"""An API key's allow-list: refused from elsewhere on every path, by every process at once, without a word between them.

Two processes share the database, one with the lane, one without. Both are told that 127.0.0.1 is a proxy, so that each
request says where it comes from.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from accounts import keys, tokens
from accounts.models import APIKey, AuditEvent
from billing.limits import set_api_key_limits
from billing.models import RateWindow
from cacheservice.entries.arrays import texts
from cacheservice.entries.connection import Connection, Done, Step
from cacheservice.entries.operations import Caller
from cacheservice.entries.store import Store
from cacheservice.errors import AddressNeeded, AddressRefused, APIError
from tests.cast import ACTOR, Key, new_caller, new_key, new_tenant
from tests.client import Answer, Client, exchange, request_bytes
from tests.processes import RunningServer
from tests.servers import own_server
from tests.store_cast import entry, outcomes, query, run_with_store
from tests.store_cast import new_caller as new_store_caller

INSIDE, OUTSIDE = "203.0.113.9", "198.51.100.7"
NETWORK, OTHER_NETWORK = "203.0.113.0/24", "198.51.100.0/24"


class From(Client):
    """A client whose requests come through the proxy from an address."""

    def __init__(self, url: str, token: str, address: str) -> None:
        super().__init__(url, token)
        self.address = address

    def send(
        self, method: str, path: str | bytes, body: object = b"", headers: Mapping[str, str | bytes] | None = None
    ) -> Answer:
        sent = {**(headers or {}), "x-forwarded-for": self.address}
        return super().send(method, path, body, sent)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def urls(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    proxies = {"CACHE_TRUSTED_PROXIES": "127.0.0.1"}
    with (
        own_server(tmp_path_factory.mktemp("lane"), **proxies) as with_lane,
        own_server(tmp_path_factory.mktemp("django"), CACHE_LANE="off", **proxies) as without,
    ):
        yield [with_lane.url, without.url]


@pytest.fixture
def caller(committed_db: None) -> Key:
    """A key of a tenant of its own."""
    return new_caller()


def allow(key: Key, *networks: str) -> None:
    keys.update_api_key(key.row, allowed_networks=networks or None, actor=ACTOR)


def every_request(url: str, token: str, address: str) -> dict[str, Answer]:
    """What the token gets from there for each kind of request."""
    with From(url, token, address) as client:
        return {name: send() for name, send in requests_of(client).items()}


def requests_of(client: Client) -> dict[str, Callable[[], Answer]]:
    return {
        "PUT": lambda: client.put("k", 1),
        "GET": lambda: client.get("k"),
        "lease": lambda: client.get("absent", "?lease=1"),
        "HEAD": lambda: client.head("k"),
        "PATCH": lambda: client.patch("k", ttl=60),
        "list": client.list,
        "batch": lambda: client.batch([{"op": "get", "key": "k"}]),
        "empty batch": lambda: client.batch([]),
        "bulk delete": lambda: client.delete_many("?prefix=nothing"),
        "DELETE": lambda: client.delete("absent"),
        "bad request": lambda: client.get("k", "?nothing=1"),
        "account": lambda: client.send("GET", "/api/v1/account"),
        "usage": lambda: client.send("GET", "/api/v1/usage"),
        "invoices": lambda: client.send("GET", "/api/v1/invoices"),
        "keys": lambda: client.send("GET", "/api/v1/keys"),
    }


def check_works(urls: list[str], token: str, address: str) -> None:
    for url in urls:
        statuses = {name: answer.status for name, answer in every_request(url, token, address).items()}
        assert (statuses.pop("bad request"), statuses.pop("empty batch")) == (400, 400)
        with From(url, token, address) as client:
            statuses |= {name: send().status for name, send in large_requests(client).items()}
        assert {name: status for name, status in statuses.items() if status not in (200, 201)} == {}


def large_requests(client: Client) -> dict[str, Callable[[], Answer]]:
    """With bodies that are not read from everyone."""
    return {
        "large PUT": lambda: client.put("large", "x" * 100_000),
        "large batch": lambda: client.batch([{"op": "put", "key": "large", "value": "x" * 100_000}]),
    }


def check_refused(urls: list[str], token: str, address: str) -> None:
    for url in urls:
        for name, answer in every_request(url, token, address).items():
            assert answer.status == 403, (url, name, answer.body)
            assert answer.body == b"" or answer.error_code() == "forbidden"


def test_works_from_inside_only(urls: list[str], caller: Key) -> None:
    allow(caller, NETWORK, "2001:db8::/32")
    check_works(urls, caller.token, INSIDE)
    check_works(urls, caller.token, "2001:db8::7")
    check_works(urls, caller.token, f"::ffff:{INSIDE}")
    for address in (OUTSIDE, "2001:db9::1", f"::ffff:{OUTSIDE}", "nonsense", f"{INSIDE}, {OUTSIDE}"):
        check_refused(urls, caller.token, address)
    check_works(urls, new_key(caller.row.tenant).token, OUTSIDE)  # another key of the tenant has no list


def test_every_process_follows_at_once(urls: list[str], caller: Key) -> None:
    """Both have used the key before it had a list, and so with each list."""
    check_works(urls, caller.token, INSIDE)
    check_works(urls, caller.token, OUTSIDE)
    allow(caller, NETWORK)
    check_refused(urls, caller.token, OUTSIDE)
    check_works(urls, caller.token, INSIDE)
    allow(caller, OTHER_NETWORK)
    check_refused(urls, caller.token, INSIDE)
    check_works(urls, caller.token, OUTSIDE)
    allow(caller)
    check_works(urls, caller.token, INSIDE)
    check_works(urls, caller.token, OUTSIDE)
    allow(caller, NETWORK)
    check_refused(urls, caller.token, OUTSIDE)


def test_nothing_is_done_from_outside(urls: list[str], caller: Key) -> None:
    for url in urls:
        allow(caller)
        with From(url, caller.token, INSIDE) as inside, From(url, caller.token, OUTSIDE) as outside:
            assert inside.put("k", "before", ttl=1000).status in (200, 201)
            before = inside.get("k").body
            allow(caller, NETWORK)
            outside.put("k", "after")
            outside.patch("k", ttl=5)
            outside.delete("k")
            outside.delete_many("?all=true")
            outside.batch([{"op": "put", "key": "k", "value": "after"}, {"op": "delete", "key": "k"}])
            refused = outside.get("k")
            assert b"before" not in refused.body
            assert inside.get("k").body == before


@pytest.mark.parametrize("kind", requests_of(Client("http://nowhere.example")))
def test_the_very_first_request_after_the_change(urls: list[str], caller: Key, kind: str) -> None:
    """Whichever kind it is: the process learns of the list by it, and answers it all the same."""
    expected = {"bad request": 400, "empty batch": 400}
    for url in urls:
        for address in (OUTSIDE, INSIDE):
            key = new_key(caller.row.tenant)
            with From(url, key.token, address) as client:
                assert client.put("k", 1).status in (200, 201)
                allow(key, NETWORK)
                status = requests_of(client)[kind]().status
                assert status == (expected.get(kind, 200) if address == INSIDE else 403)
                assert client.get("k").status == (200 if address == INSIDE else 403)


@pytest.mark.parametrize("kind", large_requests(Client("http://nowhere.example")))
def test_first_request_may_be_a_large_one(urls: list[str], caller: Key, kind: str) -> None:
    for url in urls:
        key = new_key(caller.row.tenant)
        with From(url, key.token, INSIDE) as client:
            assert client.put("k", 1).status in (200, 201)
            allow(key, NETWORK)
            assert large_requests(client)[kind]().status in (200, 201)


def test_body_that_is_too_large_is_not_waited_for(urls: list[str], caller: Key) -> None:
    """Its headers are answered. Where Django serves, nobody has asked for the address yet when they come."""
    allow(caller, NETWORK)
    for url, outside in zip(urls, ({403}, {403, 413}), strict=True):
        for address, expected in ((INSIDE, {413}), (OUTSIDE, outside)):
            headers = [  # only these
                (b"Authorization", f"Bearer {caller.token}".encode()),
                (b"X-Forwarded-For", address.encode()),
                (b"Content-Type", b"application/json"),
                (b"Content-Length", b"20000000"),
            ]
            assert exchange(url, request_bytes("PUT", b"/api/v1/cache/k", headers)).status in expected


def test_refusal_names_the_address_and_not_the_list(urls: list[str], caller: Key) -> None:
    allow(caller, NETWORK)
    for url in urls:
        with From(url, caller.token, OUTSIDE) as client:
            answer = client.get("k")
        assert answer.error_message() == (
            f"This API key may not be used from the address {OUTSIDE}: send the request from an address that its IP "
            "allow-list holds, or have the list changed."
        )
        assert NETWORK.encode() not in answer.body


def test_unknown_key_stays_a_401_from_anywhere(urls: list[str], caller: Key) -> None:
    allow(caller, NETWORK)
    keys.revoke_api_key(caller.row, ACTOR)
    for url in urls:
        for address in (INSIDE, OUTSIDE):
            with From(url, caller.token, address) as client:
                assert client.get("k").error_code() == "invalid_api_key"
                assert client.list().error_code() == "invalid_api_key"


def test_rotated_secrets_are_held_to_the_list(urls: list[str], caller: Key) -> None:
    allow(caller, NETWORK)
    second = keys.rotate_api_key(caller.row, overlap=timedelta(hours=1), actor=ACTOR)
    for token in (caller.token, second):
        check_works(urls, token, INSIDE)
        check_refused(urls, token, OUTSIDE)


def test_refused_requests_count_against_no_limit(urls: list[str], caller: Key) -> None:
    """Else a thief could use up the limit of the key's owner."""
    allow(caller, NETWORK)
    set_api_key_limits(caller.row, requests_per_minute=1000, actor=ACTOR)
    check_refused(urls, caller.token, OUTSIDE)
    assert not RateWindow.objects.filter(api_key_id=caller.row.id).exists()
    for url in urls:
        with From(url, caller.token, OUTSIDE) as client:
            assert client.get("k").header("ratelimit-limit") is None
        with From(url, caller.token, INSIDE) as client:
            assert client.get("k").header("ratelimit-limit") == "1000"


def test_limited_keys_keep_their_limits_and_headers(urls: list[str], caller: Key) -> None:
    set_api_key_limits(caller.row, requests_per_minute=1000, credit_limit=10_000, actor=ACTOR)
    for url in urls:
        allow(caller)
        with From(url, caller.token, INSIDE) as client:
            assert client.put("k", 1).status in (200, 201)
            allow(caller, NETWORK)
            for answer in (client.get("k"), client.get("k"), client.list(), client.put("k", 1)):
                assert answer.status in (200, 201)
                assert answer.header("ratelimit-limit") == "1000"


def test_forwarded_addresses_count_only_behind_a_proxy(
    server: RunningServer, server_without_lane: RunningServer, caller: Key
) -> None:
    """These servers trust no proxy: what a client claims is nothing to them."""
    allow(caller, NETWORK)
    for running in (server, server_without_lane):
        with From(running.url, caller.token, INSIDE) as client:
            assert "the address 127.0.0.1:" in client.get("k").error_message()
            assert "the address 127.0.0.1:" in client.list().error_message()
    allow(caller, "127.0.0.0/8")
    for running in (server, server_without_lane):
        with From(running.url, caller.token, OUTSIDE) as client:
            assert client.get("k").status == client.list().status == 200


# The store


def test_caller_without_an_address_is_told_to_bring_one() -> None:
    caller = new_store_caller()

    async def scenario(store: Store) -> None:
        inside, outside = store.caller_at(caller, INSIDE), store.caller_at(caller, OUTSIDE)
        await store.put(caller, "k", entry(b"1"))
        change = "update api_key set allowed_networks = %s::cidr[] where id = %s"
        await asyncio.to_thread(query, change, [[NETWORK], caller.api_key_id])
        for who, expected in ((caller, AddressNeeded), (outside, AddressRefused)):
            found = await outcomes(
                [
                    store.get(who, "k"),
                    store.put(who, "k", entry(b"2")),
                    store.patch(who, "k", 5, None),
                    store.delete(who, "k"),
                    store.authorise(who, None),
                    store.authorise(who, "read"),
                    store.get_or_lease(who, "absent", seconds=1, wait=0),
                ]
            )
            assert [type(one) for one in found] == [expected] * len(found)
        assert caller.listed
        hit = await store.get(inside, "k")
        assert hit is not None
        assert hit.value == b"1"

    run_with_store(scenario)


def test_refused_addresses_take_no_room_in_the_process() -> None:
    caller = new_store_caller()
    APIKey.objects.filter(id=caller.api_key_id).update(allowed_networks=[NETWORK])

    async def scenario(store: Store) -> None:
        for number in range(20):
            with pytest.raises(AddressRefused):
                await store.get(store.caller_at(caller, f"198.51.100.{number}"), "k")
        assert store._callers == {}
        assert await store.get(store.caller_at(caller, INSIDE), "k") is None
        assert list(store._callers) == [(caller.digest, INSIDE)]

    run_with_store(scenario)


def test_in_one_batch_each_caller_is_judged_by_its_own_list() -> None:
    """Callers with and without lists, in and out of theirs, at once."""
    tenant = new_tenant()
    free, listed, other = (new_store_caller(tenant) for _ in range(3))
    APIKey.objects.filter(id=listed.api_key_id).update(allowed_networks=[NETWORK])
    APIKey.objects.filter(id=other.api_key_id).update(allowed_networks=[OTHER_NETWORK])

    async def scenario(store: Store) -> None:
        await store.put(free, "k", entry(b"1"))
        who: list[tuple[Caller, bool]] = [
            (free, True),
            (store.caller_at(listed, INSIDE), True),
            (store.caller_at(listed, OUTSIDE), False),
            (store.caller_at(other, OUTSIDE), True),
            (store.caller_at(other, INSIDE), False),
            (listed, False),
        ] * 20
        found = await outcomes([store.get(caller, "k") for caller, _ in who])
        assert [not isinstance(one, APIError) for one in found] == [works for _, works in who]

    run_with_store(scenario)


def test_callers_without_a_list_send_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One statement a hit as before, and of addresses an array without elements."""
    caller = new_store_caller()
    steps: list[Step] = []
    send = Connection.send

    def recording(connection: Connection, batch: Sequence[Step], done: Done) -> None:
        steps.extend(batch)
        send(connection, batch, done)

    async def scenario(store: Store) -> None:
        await store.put(caller, "k", entry(b"1"))
        monkeypatch.setattr(Connection, "send", recording)
        for _ in range(5):
            assert await store.get(caller, "k") is not None

    run_with_store(scenario)
    assert [name for name, _ in steps] == [b"read"] * 5
    assert {parameters[4] for _, parameters in steps} == {texts([])}


# Where lists are set


def test_create_api_key_takes_networks() -> None:
    tenant = new_tenant()
    output = StringIO()
    options = ["--allow", "203.0.113.0/24", "--allow", "::ffff:198.51.100.7", "--allow", "2001:DB8::/32"]
    call_command("create_api_key", tenant.name, *options, stdout=output)
    row = APIKey.objects.get(tenant=tenant)
    assert row.allowed_networks == ["203.0.113.0/24", "198.51.100.7/32", "2001:db8::/32"]
    [event] = AuditEvent.objects.filter(tenant_id=tenant.id, action="api_key.create")
    assert event.target == tokens.encode_id(row.id)
    assert event.details["allowed_networks"] == row.allowed_networks
    with pytest.raises(CommandError) as raised:
        call_command("create_api_key", tenant.name, "--allow", "10.1.0.0/8", stdout=output)
    assert "the network that holds it is 10.0.0.0/8" in str(raised.value)
    assert APIKey.objects.filter(tenant=tenant).count() == 1


def test_update_is_in_the_audit_log_and_refuses_what_is_no_network(caller: Key) -> None:
    allow(caller, NETWORK)
    keys.update_api_key(caller.row, name="renamed", actor="ada")
    with pytest.raises(ValueError, match="allowed_networks: 'here' is no network"):
        keys.update_api_key(caller.row, allowed_networks=["here"], name="lost", actor="ada")
    with pytest.raises(ValueError, match="name: give 1 to 100 characters"):
        keys.update_api_key(caller.row, name="a\nb", actor="ada")
    row = APIKey.objects.get(id=caller.row.id)
    assert (row.name, row.allowed_networks) == ("renamed", [NETWORK])
    events = AuditEvent.objects.filter(tenant_id=row.tenant_id, action="api_key.update").order_by("at")
    assert [(event.actor, event.details) for event in events] == [
        (ACTOR, {"allowed_networks": [NETWORK]}),
        ("ada", {"name": "renamed"}),
    ]
