"""A tenant's own default and maximum ttl: what holds for PUT, PATCH and batches, at once in every process."""

import secrets
from collections.abc import Iterator
from datetime import datetime
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from accounts.models import AuditEvent, Tenant
from billing.limits import set_api_key_limits, set_ttls
from billing.models import Account, RateWindow
from tests.cast import ACTOR, Key, new_caller, new_key
from tests.client import Answer, Client
from tests.processes import RunningServer

WEEK, YEAR = 604_800, 31_536_000


@pytest.fixture
def owner(committed_db: None) -> Key:
    """A key of a tenant of its own."""
    return new_caller()


@pytest.fixture(params=["server", "server_without_lane"])
def client(request: pytest.FixtureRequest, owner: Key) -> Iterator[Client]:
    server: RunningServer = request.getfixturevalue(request.param)
    with Client(server.url, owner.token) as client:
        yield client


def lifetime(content: Any) -> int:
    times = (datetime.fromisoformat(content[name]) for name in ("created_at", "expires_at"))
    created, expires = times
    return int((expires - created).total_seconds())


def put(client: Client, **fields: Any) -> int:
    answer = client.put(secrets.token_hex(8), 1, **fields)
    assert answer.status == 201, answer
    return lifetime(answer.json())


def ttl_shown(client: Client) -> Any:
    return client.send("GET", "/api/v1/account").json()["ttl"]


def check_too_long(answer: Answer, ttl: int, most: int) -> None:
    assert answer.status == 400
    assert answer.error_code() == "invalid_request"
    assert answer.error_message() == (
        f"ttl: {ttl} is above this tenant's maximum of {most} seconds; send at most {most}, leave it out, or have the "
        "maximum raised."
    )


@pytest.mark.parametrize(
    ("default_ttl", "max_ttl", "expected", "most"),
    [
        (None, None, WEEK, YEAR),
        (60, None, 60, YEAR),
        (YEAR, None, YEAR, YEAR),
        (None, 3600, 3600, 3600),
        (None, WEEK + 1, WEEK, WEEK + 1),
        (60, 3600, 60, 3600),
        (3600, 3600, 3600, 3600),
        (1, 1, 1, 1),
    ],
)
def test_put_without_a_ttl(
    client: Client, owner: Key, default_ttl: int | None, max_ttl: int | None, expected: int, most: int
) -> None:
    set_ttls(owner.row.tenant, default_ttl=default_ttl, max_ttl=max_ttl, actor=ACTOR)
    assert put(client) == expected
    assert lifetime(client.put_raw(secrets.token_hex(8), b"raw", "text/plain").json()) == expected
    [result] = client.batch([{"op": "put", "key": secrets.token_hex(8), "value": 1}]).json()["results"]
    assert lifetime(result["body"]) == expected
    assert ttl_shown(client) == {"default_seconds": expected, "max_seconds": most}


def test_explicit_ttl_goes_up_to_the_maximum(client: Client, owner: Key) -> None:
    set_ttls(owner.row.tenant, default_ttl=60, max_ttl=3600, actor=ACTOR)
    assert put(client, ttl=3600) == 3600
    assert put(client, ttl=1) == 1
    check_too_long(client.put("k", "new", ttl=3601), 3601, 3600)
    check_too_long(client.put_raw("k", b"new", "text/plain", query=f"?ttl={YEAR}"), YEAR, 3600)
    assert client.get("k").json() == {"key": "k", "hit": False}


def test_what_is_refused_changes_nothing(client: Client, owner: Key) -> None:
    assert client.put("k", "old", ttl=1000, tags=["old"]).status == 201
    before = client.get("k").body, client.list().body
    set_ttls(owner.row.tenant, max_ttl=60, actor=ACTOR)
    check_too_long(client.put("k", "new", ttl=61), 61, 60)
    check_too_long(client.patch("k", ttl=61, tags=["new"]), 61, 60)
    check_too_long(client.patch("absent", ttl=61), 61, 60)
    check_too_long(client.put("k", "new", ttl=61, headers={"If-None-Match": "*"}), 61, 60)
    refused, kept, read = client.batch(
        [
            {"op": "put", "key": "k", "value": "new", "ttl": 61},
            {"op": "put", "key": "other", "value": 1, "ttl": 60},
            {"op": "get", "key": "k"},
        ]
    ).json()["results"]
    assert (refused["status"], kept["status"], read["body"]["value"]) == (400, 201, "old")
    assert refused["body"]["error"]["message"].startswith("ttl: 61 is above this tenant's maximum of 60 seconds; ")
    client.delete("other")
    assert (client.get("k").body, client.list().body) == before
    # An entry that is there keeps its expiry; what is left alone of it may be changed.
    assert lifetime(client.patch("k", tags=["new"]).json()) == 1000
    assert client.patch("k", ttl=60).status == 200


def test_change_holds_at_once_in_every_process(
    server: RunningServer, server_without_lane: RunningServer, owner: Key
) -> None:
    urls = [server.url, server_without_lane.url]
    for default_ttl, max_ttl in ((60, None), (None, 30), (None, None), (5, 10)):
        set_ttls(owner.row.tenant, default_ttl=default_ttl, max_ttl=max_ttl, actor=ACTOR)
        for url in urls:
            with Client(url, owner.token) as client:
                assert put(client) == (default_ttl or max_ttl or WEEK)
                assert client.put("k", 1, ttl=40).status == (400 if max_ttl else 201)
                client.delete("k")


def test_other_tenants_have_their_own(client: Client, owner: Key) -> None:
    set_ttls(owner.row.tenant, default_ttl=5, max_ttl=10, actor=ACTOR)
    with Client(client.url, new_caller().token) as stranger:
        assert put(stranger) == WEEK
        assert put(stranger, ttl=YEAR) == YEAR
    with Client(client.url, new_key(owner.row.tenant).token) as second:
        assert put(second) == 5


def test_refusal_counts_once_against_the_rate_limit(client: Client, owner: Key) -> None:
    set_ttls(owner.row.tenant, max_ttl=10, actor=ACTOR)
    set_api_key_limits(owner.row, requests_per_minute=1000, actor=ACTOR)
    answer = client.put("k", 1, ttl=11)
    assert answer.status == 400
    assert answer.header("ratelimit-remaining") == "999"
    assert RateWindow.objects.get(api_key_id=owner.row.id).used == 1


def test_filling_a_lease_is_held_to_the_maximum(client: Client, owner: Key) -> None:
    set_ttls(owner.row.tenant, max_ttl=10, actor=ACTOR)
    lease = {"X-Cache-Lease": client.get("k", "?lease=30").json()["lease"]}
    check_too_long(client.put("k", 1, ttl=11, headers=lease), 11, 10)
    assert client.put("k", 1, ttl=10, headers=lease).status == 201  # the refused fill has not used it up


# Setting them


def ttls(tenant: Tenant) -> tuple[int | None, int | None]:
    account = Account.objects.get(tenant=tenant)
    return account.default_ttl, account.max_ttl


def events(tenant: Tenant) -> list[tuple[str, str, Any]]:
    found = AuditEvent.objects.filter(tenant_id=tenant.id, action="tenant.set_ttls").order_by("at")
    return [(event.actor, event.target, event.details) for event in found]


def test_setting_one_leaves_the_other(owner: Key) -> None:
    tenant = owner.row.tenant
    set_ttls(tenant, default_ttl=60, actor="ada")
    set_ttls(tenant, max_ttl=3600, actor="bob")
    assert ttls(tenant) == (60, 3600)
    set_ttls(tenant, default_ttl=None, actor="ada")
    assert ttls(tenant) == (None, 3600)
    assert events(tenant) == [
        ("ada", tenant.name, {"default_ttl": 60}),
        ("bob", tenant.name, {"max_ttl": 3600}),
        ("ada", tenant.name, {"default_ttl": None}),
    ]


def test_what_is_no_ttl_is_refused(owner: Key) -> None:
    tenant = owner.row.tenant
    for name in ("default_ttl", "max_ttl"):
        for value in (0, -1, YEAR + 1, True, 1.5, "5"):
            with pytest.raises(ValueError) as raised:
                set_ttls(tenant, **{name: value}, actor="ada")  # type: ignore[arg-type]
            assert str(raised.value) == f"{name}: {value} is not allowed; give 1 to {YEAR} seconds, or none."
    with pytest.raises(ValueError, match="no limit is given; choose from default_ttl, max_ttl"):
        set_ttls(tenant, actor="ada")
    assert (ttls(tenant), events(tenant)) == ((None, None), [])


def test_default_above_the_maximum_is_refused(owner: Key) -> None:
    tenant = owner.row.tenant
    set_ttls(tenant, default_ttl=60, max_ttl=60, actor="ada")
    for change in ({"default_ttl": 61}, {"max_ttl": 59}, {"default_ttl": 100, "max_ttl": 99}):
        with pytest.raises(ValueError, match=r"default_ttl: \d+ seconds are above max_ttl, which is \d+; lower"):
            set_ttls(tenant, **change, actor="ada")
    assert ttls(tenant) == (60, 60)
    assert len(events(tenant)) == 1


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("set_limits", *arguments, stdout=output, no_color=True)
    return output.getvalue()


def test_command(owner: Key) -> None:
    tenant = owner.row.tenant
    assert run("--tenant", tenant.name, "--default-ttl", "60") == (
        "seconds of ttl by default: 60\nseconds of ttl at most: 31536000\n"
    )
    output = run("--tenant", tenant.name, "--max-ttl", "3600", "--default-ttl", "none", "--storage-quota-bytes", "5")
    assert output.splitlines() == [
        "seconds of ttl by default: 3600",
        "seconds of ttl at most: 3600",
        "requests a minute of each API key: the plan's",
        "bytes of storage: 5",
        "bytes of storage of each API key: the plan's",
    ]
    with pytest.raises(CommandError, match="default_ttl: 3601 seconds are above max_ttl, which is 3600"):
        run("--tenant", tenant.name, "--default-ttl", "3601", "--storage-quota-bytes", "6")
    assert (ttls(tenant), Account.objects.get(tenant=tenant).storage_quota) == ((None, 3600), 5)
    with pytest.raises(CommandError, match="--max-ttl: only a tenant has one; give --tenant, not --api-key"):
        run("--api-key", owner.id, "--max-ttl", "5")
