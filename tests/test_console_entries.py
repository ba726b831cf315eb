"""The console's pages of entries: who sees what, that markup stays text, what opening and changing leave behind."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html import unescape
from io import StringIO
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from django.core.management import call_command
from django.db import connections

from accounts import keys
from accounts.models import APIKey, AuditEvent, Tenant
from accounts.policy import Role
from billing.models import Account, Receipt
from tests.cast import new_key
from tests.client import Client
from tests.console_cast import PASSWORD, Person, Visitor, forget_authentication, new_person, visitor
from tests.processes import RunningServer
from tests.store_cast import query

pytestmark = pytest.mark.usefixtures("committed_db")

MARKUP = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"


@pytest.fixture(name="owner", scope="module")
def owner_fixture(django_db_setup: None, django_db_blocker: Any) -> Person:
    with django_db_blocker.unblock():
        return new_person(Role.OWNER)


@pytest.fixture(name="api_of")
def api_of_fixture(server: RunningServer) -> Iterator[Callable[[Tenant], Client]]:
    """Makes clients with an API key that may do everything in a tenant."""
    with ExitStack() as clients:
        yield lambda tenant: clients.enter_context(Client(server.url, new_key(tenant).token))


@pytest.fixture(name="api")
def api_fixture(api_of: Callable[[Tenant], Client], owner: Person) -> Client:
    return api_of(owner.tenant)


@pytest.fixture(name="console")
def console_fixture(server: RunningServer, owner: Person) -> Visitor:
    return visitor(server, owner)


def page(person: Person, name: str = "", **fields: Any) -> str:
    path = person.path("entries" + (f"/{name}" if name else ""))
    return f"{path}?{urlencode(fields, doseq=True)}" if fields else path


def shown(response: httpx.Response) -> str:
    """The page's text: what stands between tags, entities resolved."""
    assert response.status_code == 200, (response.status_code, response.text[:2000])
    return unescape(re.sub(r"<[^>]*>", " ", response.text))


def listed(response: httpx.Response) -> list[str]:
    """The keys of the list, in order."""
    assert response.status_code == 200, (response.status_code, response.text[:2000])
    return [unescape(title) for title in re.findall(r'class="entry-key mono"[^>]*title="([^"]*)"', response.text)]


def etag_of(response: httpx.Response) -> str:
    found = re.search(r'name="etag" value="([^"]*)"', response.text)
    assert found is not None
    return unescape(found[1])


def events(person: Person, action: str) -> list[tuple[str, dict[str, Any]]]:
    found = AuditEvent.objects.filter(tenant_id=person.tenant.id, action=action).order_by("at")
    return [(event.target, event.details) for event in found]


def link(response: httpx.Response, rel: str) -> str | None:
    found = re.search(rf'href="(\?[^"]*)" rel="{rel}"', response.text)
    return unescape(found[1]) if found else None


def assert_ascending(values: list[Any]) -> None:
    assert values == sorted(values)


def test_an_empty_tenant_is_told_how_to_store_an_entry(server: RunningServer) -> None:
    person = new_person()
    text = shown(visitor(server, person).get(page(person)))
    assert "Nothing is stored yet" in text
    assert "curl -X PUT" in text


def test_a_list_shows_what_is_known_of_an_entry(api: Client, owner: Person, console: Visitor) -> None:
    assert api.put("shown/one", "x" * 998, ttl=7200, tags=["a tag"]).status == 201
    text = shown(console.get(page(owner, prefix="shown/")))
    for expected in ("shown/one", "1.0 KB", "119 min", "a tag", "test", "never", "1–1 of 1"):
        assert expected in text


@pytest.mark.parametrize("order", ["key", "newest", "expiry", "size", "hits"])
def test_pages_lead_there_and_back_in_every_order(
    server: RunningServer, api_of: Callable[[Tenant], Client], order: str
) -> None:
    person = new_person()
    api = api_of(person.tenant)
    written = [f"k{number * 37 % 120:03}" for number in range(120)]
    for number, name in enumerate(written):
        assert api.put(name, "x" * (number * 7 % 40), ttl=3600 + number % 9 * 60).status == 201
    console, seen, url = visitor(server, person), [], "?" + urlencode({"sort": order})
    first = answer = console.get(page(person) + url)
    for pages in (1, 2, 3):
        seen += listed(answer)
        following = link(answer, "next")
        assert (following is None) == (pages == 3)
        answer = console.get(page(person) + following) if following else answer
    assert sorted(seen) == [f"k{number:03}" for number in range(120)]
    assert "101–120 of 120" in shown(answer)
    rows = {row["key"]: row for row in api.list("?limit=1000").json()["keys"]}
    if order == "key":
        assert seen == sorted(seen)
    elif order == "size":
        assert_ascending([-rows[key]["size_bytes"] for key in seen])
    elif order == "expiry":
        assert_ascending([rows[key]["expires_at"] for key in seen])
    elif order == "newest":
        assert seen == written[::-1]
    back = console.get(page(person) + (link(answer, "prev") or ""))
    assert listed(back) == seen[50:100]
    assert "51–100 of 120" in shown(back)
    back = console.get(page(person) + (link(back, "prev") or ""))
    assert listed(back) == listed(first)
    assert link(back, "prev") is None


def test_many_entries_are_sorted_by_an_index_or_by_key(server: RunningServer) -> None:
    """Where more match than are sorted at once: by expiry and hits through all of them, by size not at all."""
    person = new_person()
    query(
        "insert into entry (tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, "
        "created_at, expires_at) select %s, 0, 'k' || lpad(i::text, 5, '0'), '\\x00', 1, i, '{t}', i, 1, now(), "
        "now() + interval '1 day' - (i / 7) * interval '1 second' from generate_series(1, 6000) as i",
        [person.tenant.id],
    )
    query(
        "insert into entry_stats (tenant_id, version, hits, last_hit_at, saved) "
        "select %s, i, i %% 100, now(), 0 from generate_series(1, 3000) as i",
        [person.tenant.id],
    )
    console = visitor(server, person)
    assert listed(console.get(page(person)))[:2] == ["k00001", "k00002"]
    assert "1–50 of more than 5,000" in shown(console.get(page(person)))
    size = console.get(page(person, sort="size"))
    assert listed(size)[0] == "k00001"
    assert "they are listed by key" in shown(size)
    assert "they are listed by key" in shown(console.get(page(person, sort="expiry", tag="t")))
    assert "never hit are not in this list" in shown(console.get(page(person, sort="hits")))
    for order in ("expiry", "hits"):
        seen, answer = [], console.get(page(person, sort=order))
        for _ in range(2):
            seen += listed(answer)
            answer = console.get(page(person) + (link(answer, "next") or ""))
        assert listed(console.get(page(person) + (link(answer, "prev") or ""))) == seen[50:]
        numbers = [int(key[1:]) for key in seen]
        if order == "expiry":
            assert_ascending([-(number // 7) for number in numbers])
            assert min(numbers) > 5890
        else:
            by_hits = [number for hits in range(99, 95, -1) for number in range(hits, 3000, 100)]
            assert numbers == by_hits[:100]


def test_filters_join(api: Client, owner: Person, console: Visitor) -> None:
    for name, tags in (("a", ["x", "y"]), ("b", ["x"]), ("c", ["y"])):
        api.put(f"filter/{name}", 1, tags=tags)
        api.put(f"other/{name}", 1, tags=tags)
    assert listed(console.get(page(owner, prefix="filter/", tag=["x", "y"]))) == ["filter/a"]
    assert listed(console.get(page(owner, prefix="filter/", tag=["", "x"], sort="newest"))) == ["filter/b", "filter/a"]
    assert "No live entry matches" in shown(console.get(page(owner, prefix="Filter/")))


@pytest.mark.parametrize("fields", [{"prefix": "a\x00"}, {"tag": "x" * 200}, {"cursor": "nonsense"}])
def test_a_search_that_cannot_be_is_refused(owner: Person, console: Visitor, fields: dict[str, str]) -> None:
    answer = console.get(page(owner, **fields))
    assert answer.status_code == 400
    assert 'role="alert"' in answer.text


def test_a_cursor_is_of_one_list(owner: Person, console: Visitor, api: Client) -> None:
    for number in range(51):
        api.put(f"cursor/{number:02}", 1)
    following = link(console.get(page(owner, prefix="cursor/")), "next")
    assert following is not None
    cursor = httpx.URL(following).params["cursor"]
    assert console.get(page(owner, prefix="cursor/", cursor=cursor)).status_code == 200
    assert console.get(page(owner, prefix="curso", cursor=cursor)).status_code == 400
    assert console.get(page(owner, prefix="cursor/", cursor=cursor, sort="size")).status_code == 400


def test_markup_is_text(api: Client, owner: Person, console: Visitor) -> None:
    name = f"markup/{MARKUP}"
    assert api.put(name, {"text": MARKUP}, tags=[MARKUP]).status == 201
    for answer in (
        console.get(page(owner, prefix=name)),
        console.get(page(owner, tag=MARKUP)),
        console.get(page(owner, "open", key=name)),
        console.get(page(owner, "purge", prefix=name, tag=MARKUP)),
    ):
        assert answer.status_code == 200
        assert "<script>alert" not in answer.text
        assert "<img src=x" not in answer.text
        assert MARKUP in unescape(answer.text)
    assert listed(console.get(page(owner, prefix=name))) == [name]


def test_longest_and_strangest_keys_open(api: Client, owner: Person, console: Visitor) -> None:
    for name in ("長" * 170, "a//b/../c?d#e&f=g%2F+h", "عربى\u202eabc", "x" * 512):
        assert api.put(name, "v").status == 201
        assert name in shown(console.get(page(owner, "open", key=name)))


def test_json_is_pretty_and_numbers_stay(api: Client, owner: Person, console: Visitor) -> None:
    api.put("pretty", b'{"a":[1.10,12345678901234567890],"b":{}}')
    assert '{\n  "a": [\n    1.10,\n    12345678901234567890\n  ],' in shown(
        console.get(page(owner, "open", key="pretty"))
    )


def test_a_large_or_deep_value_is_bounded(api: Client, owner: Person, console: Visitor) -> None:
    api.put("large", ('"' + "ä" * 400_000 + '"').encode())
    answer = console.get(page(owner, "open", key="large"))
    assert "These are the first 262,144 of 800,002 bytes" in shown(answer)
    assert len(answer.content) < 400_000
    api.put("deep", b"[" * 500 + b",".join([b"1"] * 60_000) + b"]" * 500)
    answer = console.get(page(owner, "open", key="deep"))
    assert answer.status_code == 200
    assert len(answer.content) < 400_000


def test_text_and_bytes_are_shown_as_such(api: Client, owner: Person, console: Visitor) -> None:
    api.put_raw("text.html", f"<h1>{MARKUP}</h1>".encode(), "text/html")
    answer = console.get(page(owner, "open", key="text.html"))
    assert f"<h1>{MARKUP}</h1>" in unescape(answer.text)
    assert "<h1><script>" not in answer.text
    api.put_raw("bytes", bytes(range(256)), "application/octet-stream")
    assert "41 42 43" in shown(console.get(page(owner, "open", key="bytes")))
    api.put_raw("cut", "é".encode() * 200_000, "text/plain")
    assert "éé" in shown(console.get(page(owner, "open", key="cut")))


@pytest.mark.parametrize(
    "content_type", ["text/html", "image/svg+xml", "application/xhtml+xml", "text/javascript", "application/pdf", "a/b"]
)
def test_documents_are_downloads_in_a_sandbox(api: Client, owner: Person, console: Visitor, content_type: str) -> None:
    body = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(1)</script></svg>"
    api.put_raw("document", body, content_type)
    assert b"<img" not in console.get(page(owner, "open", key="document")).content
    answer = console.get(page(owner, "value", key="document"))
    assert answer.content == body
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["content-type"] == "application/octet-stream"
    _assert_sandboxed(answer)


def test_a_picture_is_shown_by_its_type_alone(api: Client, owner: Person, console: Visitor) -> None:
    api.put_raw("picture", b"<script>alert(1)</script>", "image/png")
    assert "<img src=" in console.get(page(owner, "open", key="picture")).text
    answer = console.get(page(owner, "value", key="picture"))
    assert (answer.headers["content-type"], answer.headers["content-disposition"]) == ("image/png", "inline")
    _assert_sandboxed(answer)


def _assert_sandboxed(answer: httpx.Response) -> None:
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"


def test_opening_is_free_and_written_down(server: RunningServer, api_of: Callable[[Tenant], Client]) -> None:
    person = new_person()
    api_of(person.tenant).put("free/" + "k" * 200, "v")
    account, receipts = Account.objects.get(tenant=person.tenant), Receipt.objects.filter(tenant_id=person.tenant.id)
    before, count = account.balance, receipts.count()
    console = visitor(server, person)
    assert '"v"' in shown(console.get(page(person, "open", key="free/" + "k" * 200)))
    assert console.get(page(person, "value", key="free/" + "k" * 200)).content == b'"v"'
    account.refresh_from_db()
    assert (account.balance, receipts.count()) == (before, count)
    assert events(person, "entry.open") == [("free/" + "k" * 95, {})] * 2


def test_a_value_that_does_not_open_says_so(api: Client, owner: Person, console: Visitor) -> None:
    api.put("broken", "v")
    query("update entry set value = '\\x0200' where tenant_id = %s and key = 'broken'", [owner.tenant.id])
    assert "cannot be opened" in shown(console.get(page(owner, "open", key="broken")))
    assert console.get(page(owner, "value", key="broken")).status_code == 500


def test_changes_are_booked_on_the_console(server: RunningServer, api_of: Callable[[Tenant], Client]) -> None:
    person = new_person()
    api, console = api_of(person.tenant), visitor(server, person)
    api.put("change", "v", ttl=60, tags=["old"])
    opened = console.get(page(person, "open", key="change"))
    fields = {"key": "change", "etag": etag_of(opened)}
    answer = console.post(page(person, "retag"), {**fields, "tags": "new\r\n two words \r\n\r\n"})
    assert answer.status_code == 302
    assert console.post(page(person, "renew"), {**fields, "amount": "2", "unit": "3600"}).status_code == 302
    [row] = api.list().json()["keys"]
    assert row["tags"] == ["new", " two words "]
    assert "119 min" in shown(console.get(page(person, "open", key="change")))
    assert console.post(page(person, "delete"), fields).status_code == 302
    assert api.get("change").json()["hit"] is False
    assert [target for target, _ in events(person, "entry.update")] == ["change"] * 2
    assert [target for target, _ in events(person, "entry.delete")] == ["change"]
    internal = APIKey.objects.get(tenant=person.tenant, internal=True)
    assert Receipt.objects.filter(tenant_id=person.tenant.id, api_key_id=internal.id, deletes=1).count() == 1


def test_what_was_replaced_meanwhile_is_left_alone(api: Client, owner: Person, console: Visitor) -> None:
    api.put("replaced", "old")
    fields = {"key": "replaced", "etag": etag_of(console.get(page(owner, "open", key="replaced")))}
    api.put("replaced", "new", tags=["kept"])
    console.post(page(owner, "retag"), {**fields, "tags": "lost"})
    console.post(page(owner, "delete"), fields)
    assert "since you opened it" in shown(console.get(page(owner)))
    assert api.get("replaced").json()["value"] == "new"
    assert "replaced" not in [target for target, _ in events(owner, "entry.delete")]


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("retag", {"tags": "t" * 129}, "tags: it has 129 bytes"),
        ("renew", {"amount": "0", "unit": "60"}, "from 1 on"),
        ("renew", {"amount": "366", "unit": "86400"}, "at most 365 days"),
        ("renew", {"amount": "x", "unit": "60"}, "whole number"),
    ],
)
def test_a_change_that_is_refused_says_why(
    api: Client, owner: Person, console: Visitor, name: str, fields: dict[str, str], message: str
) -> None:
    api.put("refused", "v")
    answer = console.post(page(owner, name), {"key": "refused", "etag": "", **fields})
    assert answer.status_code == 422
    assert message in unescape(answer.text)


def test_the_tenants_maximum_holds(server: RunningServer, api_of: Callable[[Tenant], Client]) -> None:
    person = new_person()
    api_of(person.tenant).put("short", "v", ttl=60)
    Account.objects.filter(tenant=person.tenant).update(max_ttl=3600)
    answer = visitor(server, person).post(page(person, "renew"), {"key": "short", "amount": "2", "unit": "3600"})
    assert answer.status_code == 422
    assert "maximum of 3600 seconds" in answer.text


def test_a_purge_counts_asks_and_deletes(server: RunningServer, api_of: Callable[[Tenant], Client]) -> None:
    person = new_person()
    api, console = api_of(person.tenant), visitor(server, person)
    for number in range(5):
        api.put(f"purge/{number}", 1, tags=["t"])
        api.put(f"kept/{number}", 1, tags=["t", "u"])
    assert "Say which entries" in shown(console.get(page(person, "purge")))
    assert "5 entries will be deleted" in shown(console.get(page(person, "purge", prefix="purge/")))
    fields = {"prefix": "purge/", "tag": ["t"]}
    refused = console.post(page(person, "purge"), {**fields, "confirmation": "purge"})
    assert refused.status_code == 422
    assert api.list().json()["total"] == 10
    console.post(page(person, "purge"), {**fields, "confirmation": "purge/"})
    assert "5 entries are deleted" in shown(console.get(page(person)))
    assert [row["key"] for row in api.list().json()["keys"]] == [f"kept/{number}" for number in range(5)]
    assert events(person, "entries.delete") == [("purge/…, t", {"prefix": "purge/", "tags": ["t"]})]
    assert console.post(page(person, "purge"), {"tag": ["t", "u"], "confirmation": "t, u"}).status_code == 302
    assert api.list().json()["total"] == 0


def test_nothing_selected_deletes_nothing(api: Client, owner: Person, console: Visitor) -> None:
    api.put("still there", 1)
    answer = console.post(page(owner, "purge"), {"prefix": "", "tag": "", "confirmation": ""})
    assert "Say which entries" in shown(answer)
    assert api.get("still there").json()["hit"] is True


def test_deleting_asks_for_the_password_again(server: RunningServer, api: Client, owner: Person) -> None:
    api.put("guarded", 1)
    person = new_person(Role.DEVELOPER, owner.tenant)
    late = visitor(server, person)
    forget_authentication(person.session)
    for name, fields in (("delete", {"key": "guarded"}), ("purge", {"prefix": "guarded", "confirmation": "guarded"})):
        answer = late.post(page(person, name), fields)
        assert answer.status_code == 302
        assert answer.headers["location"].startswith("/console/account/reauthenticate/")
    assert api.get("guarded").json()["hit"] is True
    assert late.post(answer.headers["location"], {"password": PASSWORD}).status_code == 302
    assert "The entry guarded is deleted" not in (text := shown(late.get(page(person))))
    assert "1 entry is deleted." in text  # what was asked last
    assert api.get("guarded").json()["hit"] is False


def test_roles(server: RunningServer, api: Client, owner: Person) -> None:
    api.put("roles", "secret value", tags=["t"])
    post = {"key": "roles", "tags": "changed", "amount": "1", "unit": "60", "prefix": "roles", "confirmation": "roles"}
    for role, may_list in ((Role.VIEWER, True), (Role.BILLING, False)):
        person = new_person(role, owner.tenant)
        console = visitor(server, person)
        assert (console.get(page(person)).status_code == 200) is may_list
        opened = console.get(page(person, "open", key="roles"))
        assert opened.status_code == (200 if may_list else 403)
        assert "secret value" not in opened.text
        assert console.get(page(person, "value", key="roles")).status_code == 403
        assert console.get(page(person, "purge", prefix="roles")).status_code == 403
        for name in ("retag", "renew", "delete", "purge"):
            assert console.post(page(person, name), post).status_code == 403
    assert api.get("roles").json()["value"] == "secret value"


def test_another_tenants_entry_is_not_there(server: RunningServer, api: Client, owner: Person) -> None:
    api.put("mine", "v")
    stranger = new_person()
    console = visitor(server, stranger)
    for name in ("open", "value"):
        assert console.get(page(stranger, name, key="mine")).status_code == 404
        assert console.get(page(owner, name, key="mine")).status_code == 404
    assert console.get(page(owner)).status_code == 404
    console.post(page(stranger, "purge"), {"prefix": "mine", "confirmation": "mine"})
    console.post(page(stranger, "delete"), {"key": "mine"})
    assert console.post(page(owner, "delete"), {"key": "mine"}).status_code == 404
    assert api.get("mine").json()["hit"] is True


def test_the_internal_key_is_one_and_nobodys(server: RunningServer, api_of: Callable[[Tenant], Client]) -> None:
    person = new_person()
    console = visitor(server, person)
    with ThreadPoolExecutor(8) as threads:
        made = set(threads.map(lambda _: _internal_key(person.tenant), range(16)))
    [(_, scopes)] = made
    assert scopes == ("read", "write", "delete")
    assert APIKey.objects.filter(tenant=person.tenant, internal=True).count() == 1
    listing = api_of(person.tenant).send("GET", "/api/v1/keys").json()["keys"]
    assert [key["name"] for key in listing] == ["test"]
    assert "Console" not in shown(console.get(person.path("keys")))
    out = StringIO()
    call_command("list_api_keys", person.tenant.name, stdout=out)
    assert "Console" not in out.getvalue()


def _internal_key(tenant: Tenant) -> tuple[int, tuple[str, ...]]:
    try:
        key = keys.internal_api_key(tenant)
        return key.id, tuple(key.scope_names)
    finally:
        connections.close_all()
