"""The console's pages of API keys: what they show, what they change, whom they refuse; and a token is shown once."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts import keys, tokens
from accounts.models import APIKey, AuditEvent, random_id
from accounts.policy import Role
from billing import usage
from billing.limits import set_api_key_limits, set_tenant_limits
from billing.rows import django_rows
from cacheservice.entries import rollup
from console import api_key_list, sparklines
from tests.billing_cast import book
from tests.cast import ACTOR, expire, new_key, new_tenant, revoke
from tests.console_cast import PASSWORD, Person, forget_authentication, new_person, session_of, visitor
from tests.processes import RunningServer
from tests.receipts import receipt

TOKEN = re.compile(r'<code id="token">(ck_live_\w+)</code>')
MARKUP = '<img src=x onerror="alert(1)">'
NEW = {"name": "backend", "scopes": ["read", "write"]}


@pytest.fixture
def owner() -> Person:
    return new_person()


def key_of(owner: Person) -> APIKey:
    """The only one that the tenant has."""
    return APIKey.objects.get(tenant=owner.tenant)


def works(server: RunningServer, token: str) -> bool:
    answer = httpx.get(f"{server.url}/api/v1/account", headers={"Authorization": f"Bearer {token}"})
    return answer.status_code == 200


def shown_token(answer: httpx.Response) -> str:
    [token] = TOKEN.findall(answer.text)
    return str(token)


def actions(owner: Person) -> list[str]:
    """What the audit log says that was done to the tenant's API keys."""
    events = AuditEvent.objects.filter(tenant_id=owner.tenant.id, action__startswith="api_key.").order_by("at")
    return list(events.values_list("action", flat=True))


# The list


def test_a_tenant_without_keys_is_told_what_to_do(server: RunningServer, owner: Person) -> None:
    page = visitor(server, owner).get(owner.path("keys"))
    assert page.status_code == 200
    assert "No API key yet" in page.text


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({}, "Active"),
        ({"expires_at": timedelta(days=6)}, "Expires soon"),
        ({"expires_at": timedelta(days=8)}, "Active"),
        ({"expires_at": timedelta(0)}, "Expired"),
        ({"previous_expires_at": timedelta(hours=1), "expires_at": timedelta(days=6)}, "Rotating"),
        ({"previous_expires_at": timedelta(0)}, "Active"),
        ({"revoked_at": timedelta(0), "expires_at": timedelta(0), "previous_expires_at": timedelta(1)}, "Revoked"),
    ],
)
def test_states(changes: dict[str, timedelta], state: str) -> None:
    now = timezone.now()
    key = APIKey(**{name: now + after for name, after in changes.items()})
    assert api_key_list.state_of(key, now).label == state


def test_use_is_what_the_usage_report_says(owner: Person) -> None:
    """Of folded receipts and of others, at the edges of the days."""
    today = usage.start_of(datetime.now(UTC), "day")
    first_day = today - timedelta(days=6)
    mine = [new_key(owner.tenant).row.id for _ in range(2)]
    moments = [first_day - timedelta(microseconds=1), first_day, today - timedelta(microseconds=1), today]

    def receipts(hits: int) -> list[Any]:
        return [
            receipt(owner.tenant.id, at, api_key_id=key_id, hits=hits + n)
            for n, (at, key_id) in enumerate((at, key_id) for at in moments for key_id in mine)
        ]

    book(*receipts(10))
    rollup.rollup()
    book(*receipts(1000))
    book(receipt(new_tenant().id, today, api_key_id=mine[0], hits=5))
    asked = usage.Range(first_day, today + timedelta(days=1), "day")
    report = usage.read(django_rows, owner.tenant.id, asked, by_api_key=True)
    expected = {key_id: [0] * 7 for key_id in mine}
    for used in report.rows:
        assert used.api_key is not None
        expected[used.api_key.id][(used.start - first_day).days] = used.counts.hits
    assert sum(map(sum, expected.values())) > 0
    assert api_key_list.hits_by_day(owner.tenant, mine, first_day) == expected


def test_a_sparkline_stays_inside_its_drawing() -> None:
    assert sparklines.path([0, 0, 0]) == "M2.0 26.0L56.0 26.0L110.0 26.0"
    assert sparklines.path([0, 5, 10**12]) == "M2.0 26.0L56.0 26.0L110.0 2.0"


def test_the_use_is_told_in_words_too(server: RunningServer, owner: Person) -> None:
    key = new_key(owner.tenant).row
    book(receipt(owner.tenant.id, datetime.now(UTC), api_key_id=key.id, hits=1234))
    page = visitor(server, owner).get(owner.path("keys")).text
    assert re.search(r'role="img" aria-label="Hits a day from \d+ \w+ to \d+ \w+: 0, 0, 0, 0, 0, 0, 1,234"', page)


def test_a_thousand_keys_are_paged(server: RunningServer, owner: Person) -> None:
    now = timezone.now()
    APIKey.objects.bulk_create(
        APIKey(
            tenant=owner.tenant,
            name=f"key number {n}",
            scopes=1,
            digest=n.to_bytes(32, "big"),
            created_at=now - timedelta(minutes=n),
        )
        for n in range(1000)
    )
    client = visitor(server, owner)
    first, last = client.get(owner.path("keys")).text, client.get(owner.path("keys?page=20")).text
    assert first.count('<th scope="row"') == last.count('<th scope="row"') == 50
    assert "1 to 50 of 1,000" in first
    assert "key number 0<" in first
    assert "key number 999<" in last
    found = client.get(owner.path("keys?q=number+77&page=99")).text
    assert found.count('<th scope="row"') == 11
    with CaptureQueriesContext(connection) as queries:
        api_key_list.lines(owner.tenant, api_key_list.keys_of(owner.tenant)[:50])
    assert len(queries) == 2


def test_filters(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    for name, end in (("alpha", None), ("beta", revoke), ("gamma", expire)):
        key = new_key(owner.tenant)
        APIKey.objects.filter(id=key.row.id).update(name=name)
        if end:
            end(key)
    for query, names in {
        "": {"alpha", "beta", "gamma"},
        "?show=working": {"alpha"},
        "?show=ended": {"beta", "gamma"},
        "?show=ended&q=BET": {"beta"},
        "?show=nonsense&page=x": {"alpha", "beta", "gamma"},
        "?q=%00": {"alpha", "beta", "gamma"},
        "?q=none": set(),
    }.items():
        page = client.get(owner.path(f"keys{query}"))
        assert page.status_code == 200
        assert {name for name in ("alpha", "beta", "gamma") if f">{name}</a>" in page.text} == names, query


# A new key


def test_a_new_key_is_shown_once_and_works(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    answer = client.post(owner.path("keys/create"), NEW)
    assert answer.status_code == 201
    token = shown_token(answer)
    assert works(server, token)
    assert f"url=&quot;{server.url}&quot;,\n    api_key=&quot;{token}&quot;" in answer.text  # the Python snippet
    code = tokens.encode_id(key_of(owner).id)
    secret = token.removeprefix(f"ck_live_{code}_")
    for path in ("keys", f"keys/{code}", f"keys/{code}/edit", "audit", ""):
        assert secret not in client.get(owner.path(path)).text
    assert secret not in server.log_path.read_text(errors="replace")
    assert secret not in repr(dict(session_of(owner.session).items()))
    assert secret not in repr(list(AuditEvent.objects.filter(tenant_id=owner.tenant.id).values()))
    assert "no-store" in answer.headers["cache-control"]


def test_a_new_key_has_what_the_form_says(server: RunningServer, owner: Person) -> None:
    until = (timezone.now() + timedelta(days=30)).replace(second=0, microsecond=0)
    form = {
        "name": "  backend ",
        "scopes": ["delete", "read"],
        "expires_at": f"{until:%Y-%m-%dT%H:%M}",
        "requests_per_minute": "600",
        "storage_quota": "0.000123",
        "credit_limit": "12.34",
        "allowed_networks": "127.0.0.1\r\n2001:db8::/32, 203.0.113.0/24",
    }
    answer = visitor(server, owner).post(owner.path("keys/create"), form)
    assert answer.status_code == 201
    key = key_of(owner)
    assert (key.name, key.scope_names, key.expires_at) == ("backend", ["read", "delete"], until)
    assert (key.requests_per_minute, key.storage_quota, key.credit_limit) == (600, 123, 1234)
    assert key.allowed_networks == ["127.0.0.1/32", "2001:db8::/32", "203.0.113.0/24"]
    assert "Try it" not in answer.text  # it may not write
    assert actions(owner) == ["api_key.create", "api_key.set_limits"]
    assert AuditEvent.objects.filter(tenant_id=owner.tenant.id, actor=owner.user.email).count() == 2


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "Give the key a name of 1 to 100 characters."),
        ("name", "n" * 101, "These are 101 characters; give at most 100."),
        ("name", "a\tb", "Leave out control characters"),
        ("name", "a\x00b", "Null characters are not allowed."),
        ("scopes", [], "Choose at least one."),
        ("scopes", ["read", "root"], "Your role may not give &#x27;root&#x27;"),
        ("expires_at", "2020-01-01T00:00", "This has passed"),
        ("expires_at", "tomorrow", "Give a date and a time, such as 2027-01-31 12:00"),
        ("requests_per_minute", "0", "Give a whole number from 1 to 1,000,000"),
        ("requests_per_minute", "1.5", "Give a whole number from 1 to 1,000,000"),
        ("requests_per_minute", "9" * 5000, "Give a whole number from 1 to 1,000,000"),
        ("storage_quota", "-5", "Give 0.000001 to 1,000,000,000 MB"),
        ("storage_quota", "0.0000001", "Give 0.000001 to 1,000,000,000 MB"),
        ("storage_quota", "NaN", "Give 0.000001 to 1,000,000,000 MB"),
        ("storage_quota", "1e400", "Give 0.000001 to 1,000,000,000 MB"),
        ("credit_limit", "0", "Give 0.01 to 1,000,000,000,000 credits"),
        ("credit_limit", "1.234", "Give 0.01 to 1,000,000,000,000 credits"),
        ("allowed_networks", "10.0.0.1/8", "the network that holds it is 10.0.0.0/8"),
        ("allowed_networks", "<b>here</b>", "&#x27;&lt;b&gt;here&lt;/b&gt;&#x27; is no network; send one such as"),
        ("allowed_networks", "\n".join(f"10.0.{n}.0/24" for n in range(33)), "33 are given; 1 to 32 are allowed"),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    server: RunningServer, owner: Person, field: str, value: Any, said: str
) -> None:
    answer = visitor(server, owner).post(owner.path("keys/create"), {**NEW, field: value})
    assert answer.status_code == 422
    [errors] = re.findall(r'<ul class="errorlist".*?</ul>', answer.text, re.DOTALL)
    assert f'id="id_{field}_error"' in errors
    assert said in errors
    assert not APIKey.objects.filter(tenant=owner.tenant).exists()


def test_markup_in_a_name_is_text(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    answer = client.post(owner.path("keys/create"), {**NEW, "name": MARKUP})
    code = tokens.encode_id(key_of(owner).id)
    pages = [client.get(owner.path(f"keys{path}")) for path in ("", *(f"/{code}{p}" for p in ("", "/edit", "/revoke")))]
    for page in (answer, *pages):
        assert "<img" not in page.text
        assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in page.text


# Changes


def test_what_differs_is_changed_and_nothing_else(server: RunningServer, owner: Person) -> None:
    key = new_key(owner.tenant).row
    keys.update_api_key(key, name="former", allowed_networks=["10.0.0.0/8", "2001:db8::/32"], actor=ACTOR)
    set_api_key_limits(key, storage_quota=1_500_000, credit_limit=500, requests_per_minute=10, actor=ACTOR)
    client, path = visitor(server, owner), owner.path(f"keys/{tokens.encode_id(key.id)}/edit")
    page = client.get(path).text
    assert 'name="storage_quota" value="1.5"' in page
    assert 'name="credit_limit" value="5"' in page
    same = {
        "name": "former",
        "requests_per_minute": "10",
        "storage_quota": "1.5",
        "credit_limit": "5.00",
        "allowed_networks": "10.0.0.0/8\r\n2001:db8::/32",
    }
    before = actions(owner)
    assert client.post(path, same).status_code == 302
    assert actions(owner) == before
    assert client.post(path, {**same, "credit_limit": "", "requests_per_minute": "20"}).status_code == 302
    assert actions(owner) == [*before, "api_key.set_limits"]
    event = AuditEvent.objects.filter(tenant_id=owner.tenant.id).latest("at")
    assert event.details == {"credit_limit": None, "requests_per_minute": 20}
    assert client.post(path, {**same, "name": "later", "allowed_networks": ""}).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.allowed_networks, key.storage_quota, key.credit_limit) == ("later", None, 1_500_000, 500)


def test_more_requests_than_the_tenants_are_the_operators_to_give(server: RunningServer, owner: Person) -> None:
    said = "An API key of this tenant may make at most 120 requests a minute"
    key = new_key(owner.tenant).row
    set_tenant_limits(owner.tenant, requests_per_minute=120, actor=ACTOR)
    set_api_key_limits(key, requests_per_minute=5000, actor=ACTOR)
    client, path = visitor(server, owner), owner.path(f"keys/{tokens.encode_id(key.id)}/edit")
    for where, form in ((owner.path("keys/create"), NEW), (path, {"name": "renamed"})):
        answer = client.post(where, {**form, "requests_per_minute": "5001"})
        assert answer.status_code == 422
        [errors] = re.findall(r'<ul class="errorlist".*?</ul>', answer.text, re.DOTALL)
        assert 'id="id_requests_per_minute_error"' in errors
        assert said in errors
    assert key_of(owner).name == "test"  # and there is no other
    assert client.post(path, {"name": "renamed", "requests_per_minute": "5000"}).status_code == 302
    key.refresh_from_db()
    assert (key.name, key.requests_per_minute) == ("renamed", 5000)


def test_a_revoked_key_is_not_changed(server: RunningServer, owner: Person) -> None:
    key = revoke(new_key(owner.tenant))
    client = visitor(server, owner)
    for what, form in (("edit", {"name": "other", "credit_limit": "5"}), ("rotate", {"overlap": "0"})):
        answer = client.post(owner.path(f"keys/{key.id}/{what}"), form)
        assert answer.status_code == 422
        assert "This API key is revoked; create a new one." in answer.text
    former = APIKey.objects.get(id=key.row.id)
    assert (former.name, former.credit_limit, bytes(former.digest)) == ("test", None, bytes(key.row.digest))
    assert "Rotate" not in client.get(owner.path(f"keys/{key.id}")).text


@pytest.mark.parametrize(("overlap", "former_works"), [("0", False), ("3600", True)])
def test_rotation(server: RunningServer, owner: Person, overlap: str, former_works: bool) -> None:
    key, client = new_key(owner.tenant), visitor(server, owner)
    answer = client.post(owner.path(f"keys/{key.id}/rotate"), {"overlap": overlap})
    assert answer.status_code == 200
    token = shown_token(answer)
    assert works(server, token)
    assert works(server, key.token) is former_works
    assert ("Rotating" in client.get(owner.path("keys")).text) is former_works
    assert token not in client.get(owner.path(f"keys/{key.id}")).text
    assert token not in server.log_path.read_text(errors="replace")


@pytest.mark.parametrize("overlap", ["", "-1", "86401", "x"])
def test_other_overlaps_are_refused(server: RunningServer, owner: Person, overlap: str) -> None:
    key = new_key(owner.tenant)
    assert visitor(server, owner).post(owner.path(f"keys/{key.id}/rotate"), {"overlap": overlap}).status_code == 422
    assert works(server, key.token)


def test_an_expired_key_is_not_rotated(server: RunningServer, owner: Person) -> None:
    key = expire(new_key(owner.tenant))
    answer = visitor(server, owner).post(owner.path(f"keys/{key.id}/rotate"), {"overlap": "0"})
    assert answer.status_code == 422
    assert "This API key has expired; create a new one." in answer.text


def test_revoking_takes_the_typed_name(server: RunningServer, owner: Person) -> None:
    key, client = new_key(owner.tenant), visitor(server, owner)
    path = owner.path(f"keys/{key.id}/revoke")
    assert client.post(path, {"name": "TEST"}).status_code == 422
    assert works(server, key.token)
    assert client.post(path, {"name": "test"}).status_code == 302
    assert not works(server, key.token)
    assert "Revoked" in client.get(owner.path(f"keys/{key.id}")).text
    assert actions(owner)[-1] == "api_key.revoke"


@pytest.mark.parametrize(
    ("page", "form"), [("create", NEW), ("{}/rotate", {"overlap": "0"}), ("{}/revoke", {"name": "test"})]
)
def test_what_makes_or_ends_a_token_takes_a_recent_sign_in(
    server: RunningServer, owner: Person, page: str, form: dict[str, Any]
) -> None:
    key = new_key(owner.tenant)
    forget_authentication(owner.session)
    answer = visitor(server, owner).post(owner.path(f"keys/{page.format(key.id)}"), form)
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("/console/account/reauthenticate/")
    assert works(server, key.token)
    assert actions(owner) == ["api_key.create"]  # by the test


def test_the_form_goes_on_after_the_password(server: RunningServer, owner: Person) -> None:
    """The answer to the password is the page with the token: nothing has to be typed twice, or is kept in between."""
    forget_authentication(owner.session)
    client = visitor(server, owner)
    asked = client.post(owner.path("keys/create"), NEW).headers["location"]
    client.get(asked)
    answer = client.post(asked, {"password": PASSWORD})
    assert answer.status_code == 201
    assert works(server, shown_token(answer))


# Who may


@pytest.mark.parametrize(
    ("role", "sees", "manages"),
    [
        (Role.ADMIN, True, True),
        (Role.DEVELOPER, True, True),
        (Role.VIEWER, True, False),
        (Role.BILLING, False, False),
    ],
)
def test_roles(server: RunningServer, role: str, sees: bool, manages: bool) -> None:
    person = new_person(role)
    key, client = new_key(person.tenant, ["read", "write"]), visitor(server, person)
    for path in ("keys", f"keys/{key.id}"):
        page = client.get(person.path(path))
        assert page.status_code == (200 if sees else 403)
        assert ("/create" in page.text or "/rotate" in page.text) is manages
    forms: dict[str, dict[str, Any]] = {
        "create": NEW,
        f"{key.id}/edit": {"name": "a"},
        f"{key.id}/rotate": {"overlap": "0"},
        f"{key.id}/revoke": {"name": "a"},
    }
    for path, form in forms.items():
        expected = {200, 201, 302} if manages else {403}
        assert client.get(person.path(f"keys/{path}")).status_code in expected
        assert client.post(person.path(f"keys/{path}"), form).status_code in expected
    if not manages:
        assert works(server, key.token)
        assert APIKey.objects.filter(tenant=person.tenant).count() == 1


def test_nobody_gets_a_token_that_may_do_more_than_they(server: RunningServer) -> None:
    developer, key = (person := new_person(Role.DEVELOPER)), new_key(person.tenant)
    client = visitor(server, developer)
    assert 'value="gateway"' in client.get(developer.path("keys/create")).text
    assert 'value="admin"' not in client.get(developer.path("keys/create")).text
    answer = client.post(developer.path("keys/create"), {**NEW, "scopes": ["read", "admin"]})
    assert answer.status_code == 422
    assert "Your role may not give &#x27;admin&#x27;." in answer.text
    rotated = client.post(developer.path(f"keys/{key.id}/rotate"), {"overlap": "0"})
    assert (rotated.status_code, "may not have the token" in rotated.text) == (403, True)
    assert works(server, key.token)
    assert APIKey.objects.filter(tenant=developer.tenant).count() == 1


def test_keys_of_others_and_of_the_console_itself_do_not_exist(server: RunningServer, owner: Person) -> None:
    internal = new_key(owner.tenant)
    APIKey.objects.filter(id=internal.row.id).update(internal=True, name="the console's own")
    stranger = new_key(new_tenant())
    client = visitor(server, owner)
    assert "own" not in re.findall(r"<tbody>.*</tbody>", client.get(owner.path("keys")).text, re.DOTALL)
    assert "No API key yet" in client.get(owner.path("keys")).text
    for code in (internal.id, stranger.id, tokens.encode_id(random_id()), "x", "%00", "zzzzzzzzzzz"):
        for what, form in (("edit", {"name": "mine"}), ("rotate", {"overlap": "0"}), ("revoke", {"name": "test"})):
            assert client.get(owner.path(f"keys/{code}")).status_code == 404
            assert client.post(owner.path(f"keys/{code}/{what}"), form).status_code == 404
    for key in (internal, stranger):
        assert works(server, key.token)
