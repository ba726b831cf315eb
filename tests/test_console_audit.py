"""The audit log: that what happens stands in it with who and from where, and how it is read, in pages, CSV and API."""

import csv
import io
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import audit, audit_log, tokens
from accounts.models import AuditEvent
from accounts.policy import Role
from tests.cast import Key, new_caller
from tests.client import Client
from tests.console_cast import PASSWORD, Person, Visitor, new_person, visitor
from tests.processes import ROOT, RunningServer

FORMULA = "=cmd|' /C calc'!A0"


def events(person: Person) -> list[tuple[str, str, str]]:
    found = AuditEvent.objects.filter(tenant_id=person.tenant.id, target=person.user.email).order_by("at")
    return list(found.values_list("action", "actor", "address"))


def record(tenant_id: int, count: int, at: datetime | None = None, **fields: Any) -> None:
    """So many events, all of the same moment."""
    values = {"actor": "somebody", "action": "api_key.create", "target": "key", **fields}
    for _ in range(count):
        AuditEvent.objects.create(tenant_id=tenant_id, at=at or timezone.now(), **values)


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# What stands in it.


def test_signing_in_and_out_stands_in_each_of_their_tenants(server: RunningServer) -> None:
    first = new_person()
    second = new_person(Role.VIEWER, user=first.user)
    stranger = Visitor(server)
    login = {"login": first.user.email, "password": "wrong"}
    stranger.post("/console/account/login/", login)
    stranger.post("/console/account/login/", {**login, "password": PASSWORD})
    stranger.get("/console/tenants")  # for the CSRF token, which is a new one now
    stranger.post("/console/account/logout/")
    for person in (first, second):
        assert events(person) == [
            ("user.fail_sign_in", "somebody not signed in", "127.0.0.1"),
            ("user.sign_in", first.user.email, "127.0.0.1"),
            ("user.sign_out", first.user.email, "127.0.0.1"),
        ]


def test_password_change_stands_in_it_and_no_password(server: RunningServer) -> None:
    person, password = new_person(), secrets.token_urlsafe(16)
    form = {"oldpassword": PASSWORD, "password1": password, "password2": password}
    visitor(server, person).post("/console/account/password/change/", form)
    assert ("user.change_password", person.user.email, "127.0.0.1") in events(person)
    assert not AuditEvent.objects.filter(details__icontains=password).exists()


def test_changes_over_the_api_carry_the_address(server: RunningServer) -> None:
    caller = new_caller()
    with Client(server.url, caller.token) as client:
        body = b'{"name": "another", "scopes": ["read"]}'
        assert client.send("POST", "/api/v1/keys", body, {"content-type": "application/json"}).status == 201
    found = AuditEvent.objects.filter(tenant_id=caller.row.tenant_id, action="api_key.create").latest("at")
    assert (found.actor, found.address) == (f"API key {caller.id}", "127.0.0.1")


def test_address_is_forgotten_after_the_request() -> None:
    with audit.asked_from("203.0.113.7"), audit.asked_from("203.0.113.8"):
        audit.record(1, "tests", "a.b", "c")
    audit.record(1, "tests", "a.b", "d")
    found = AuditEvent.objects.filter(tenant_id=1, actor="tests").order_by("-at")
    assert [each.address for each in found[:2]] == ["", "203.0.113.8"]


# Its page.


def test_page_shows_who_did_what_from_where(server: RunningServer) -> None:
    person = new_person()
    with audit.asked_from("2001:db8::7"):
        audit.record(
            person.tenant.id, "<b>eve</b>", "api_key.create", "<i>key</i>", scopes=["read", "write"], name=None
        )
        audit.record(person.tenant.id, "adam", "something.new_here", "x")
    page = visitor(server, person).get(person.path("audit")).text
    for text in (
        "&lt;b&gt;eve",
        "&lt;i&gt;key",
        "2001:db8::7",
        "Created an API key",
        "read, write",
        "Something: new here",
    ):
        assert text in page


def test_pages_follow_one_another_without_gaps(server: RunningServer) -> None:
    """Of one moment, which is what a page's border may fall into."""
    person = new_person()
    record(person.tenant.id, 120, timezone.now())
    seen, path = [], "?group=api_keys"
    while path:
        page = visitor(server, person).get(person.path(f"audit{path}")).text
        seen.append(page.count("Created an API key"))
        following = page.partition('rel="next"')[0].rpartition('href="')[2].partition('"')[0]
        path = following.replace("&amp;", "&") if 'rel="next"' in page else ""
        assert not path or "group=api_keys" in path
    assert seen == [50, 50, 20]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", {"ada", "grace", "eve"}),
        ("actor=AD", {"ada"}),
        ("actor=%25", set()),
        ("group=team", {"grace"}),
        ("group=settings", {"eve"}),
        ("start=2026-01-02&end=2026-01-02", {"grace"}),
        ("start=2026-01-02", {"grace", "eve"}),
        ("end=2026-01-01", {"ada"}),
        ("end=9999-12-31", {"ada", "grace", "eve"}),
        ("before=nonsense", {"ada", "grace", "eve"}),
    ],
)
def test_filters(query: str, expected: set[str], server: RunningServer) -> None:
    person = new_person()
    for day, actor, action in (
        (1, "ada", "api_key.create"),
        (2, "grace", "member.remove"),
        (3, "eve", "tenant.set_ttls"),
    ):
        record(person.tenant.id, 1, datetime(2026, 1, day, 23, 59, tzinfo=UTC), actor=actor, action=action)
    text = visitor(server, person).get(person.path(f"audit.csv?{query}")).text
    assert {row["actor"] for row in rows(text)} - {"the tests"} == expected
    assert visitor(server, person).get(person.path(f"audit?{query}")).status_code == 200


@pytest.mark.parametrize("query", ["start=2026-01-02&end=2026-01-01", "start=yesterday", "group=nothing", "actor=%00"])
def test_wrong_filters_are_named(query: str, server: RunningServer) -> None:
    person = new_person()
    for path in ("audit", "audit.csv"):
        answer = visitor(server, person).get(person.path(f"{path}?{query}"))
        assert answer.status_code == 422
        assert "errorlist" in answer.text


def test_download_computes_nothing_in_a_spreadsheet(server: RunningServer) -> None:
    person = new_person()
    audit.record(person.tenant.id, FORMULA, "api_key.create", FORMULA, name=FORMULA)
    answer = visitor(server, person).get(person.path("audit.csv"))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert "attachment" in answer.headers["content-disposition"]
    row = rows(answer.text)[0]
    assert (row["actor"], row["target"]) == (f"'{FORMULA}", f"'{FORMULA}")
    assert row["details"] == f'{{"name":"{FORMULA}"}}'


def test_other_tenants_events_are_not_shown(server: RunningServer) -> None:
    person, stranger = new_person(), new_person()
    record(stranger.tenant.id, 2, actor="stranger")
    theirs = AuditEvent.objects.filter(tenant_id=stranger.tenant.id, actor="stranger").latest("at")
    for path in ("audit", "audit.csv", f"audit?before={tokens.encode_id(theirs.id)}"):
        assert "stranger" not in visitor(server, person).get(person.path(path)).text


# Over the API.


def audit_of(client: Client, query: str = "") -> Any:
    return client.send("GET", f"/api/v1/audit{query}").json()


@pytest.fixture
def caller() -> Key:
    return new_caller()


def test_api_pages_follow_one_another(caller: Key, server: RunningServer) -> None:
    record(caller.row.tenant_id, 5, timezone.now() + timedelta(seconds=1), actor="ada")
    with Client(server.url, caller.token) as client:
        ids, cursor = [], ""
        while cursor is not None:
            page = audit_of(client, f"?limit=2&actor=ada{cursor and f'&cursor={cursor}'}")
            ids += [each["id"] for each in page["events"]]
            cursor = page["next_cursor"]
    assert len(ids) == len(set(ids)) == 5


def test_api_gives_csv_with_the_next_cursor(caller: Key, server: RunningServer) -> None:
    record(caller.row.tenant_id, 3, actor="ada", details={"name": FORMULA})
    with Client(server.url, caller.token) as client:
        first = client.send("GET", "/api/v1/audit?limit=2&actor=ada", headers={"accept": "text/csv"})
        assert first.header("content-type") == "text/csv; charset=utf-8"
        last = client.send("GET", f"/api/v1/audit?format=csv&actor=ada&cursor={first.header('x-next-cursor')}")
    assert len(rows(first.body.decode())) == 2
    assert len(rows(last.body.decode())) == 1
    assert last.header("x-next-cursor") is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("actor=%00", "actor"),
        ("actor=", "actor"),
        ("group=nothing", "group"),
        ("from=yesterday", "from"),
        ("to=2026-02-30", "to"),
        ("limit=1001", "limit"),
        ("cursor=00000000001", "cursor"),
        ("cursor=x", "cursor"),
        ("format=pdf", "format"),
        ("who=me", "query"),
    ],
)
def test_api_names_what_is_wrong(query: str, field: str, caller: Key, server: RunningServer) -> None:
    with Client(server.url, caller.token) as client:
        answer = client.send("GET", f"/api/v1/audit?{query}")
    assert answer.status == 400
    assert answer.error_message().startswith(f"{field}:")


def test_api_filters_by_time(caller: Key, server: RunningServer) -> None:
    for hour in (9, 10, 11):
        record(caller.row.tenant_id, 1, datetime(2026, 1, 1, hour, tzinfo=UTC), actor=f"at {hour}")
    with Client(server.url, caller.token) as client:
        found = audit_of(client, "?from=2026-01-01T10:00:00Z&to=2026-01-01T11:00:00Z")["events"]
        assert [each["actor"] for each in found] == ["at 10"]
        assert audit_of(client, "?from=2026-01-01&to=2026-01-02&group=sign_ins")["events"] == []


def recorded() -> set[str]:
    """The actions that the source records of tenants, as far as it spells them out there."""
    call = re.compile(
        r'\b(?:record|_on)\((?![^"]*SERVICE)[^"]*"([a-z_]+\.[a-z_]+)"(?: if \w+ else "([a-z_]+\.[a-z_]+)")?'
    )
    sources = [
        path
        for app in ("accounts", "billing", "cacheservice", "console", "gateway")
        for path in (ROOT / app).rglob("*.py")
    ]
    found = {action for path in sources for each in call.findall(path.read_text()) for action in each if action}
    assert {"api_key.create", "member.remove", "user.sign_in", "entry.open", "webhook.remove"} <= found
    return found


def test_every_action_has_words_of_its_own() -> None:
    assert recorded() - set(audit_log.WORDS) == set()
    assert len(set(audit_log.WORDS.values())) == len(audit_log.WORDS)
    assert audit_log.words("something.new_here") == "something: new here"
