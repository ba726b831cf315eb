"""The overview: the figures of the API's reports, for the time that was asked for, in few queries."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import random_id
from accounts.policy import Role, allows
from billing import usage
from billing.models import Account
from cacheservice.entries.models import Entry, EntryStats, Space
from console import alerts, charts
from console.charts import Series
from console.models import Alert
from tests.console_cast import Person, new_person, visitor
from tests.console_pages import get, queries
from tests.processes import RunningServer
from tests.usage_cast import Event, write_receipts, write_rollups

KEY = 11


def new_entry(person: Person, key: str, hits: int, saved: str, *, ttl: int = 3600, **fields: int) -> None:
    """With its statistics, as the rollup leaves them."""
    now, version = timezone.now(), random_id()
    Entry.objects.create(
        tenant_id=person.tenant.id,
        space=fields.get("space", Space.TENANT),
        key=key,
        value=b"",
        data_key_version=1,
        size=100,
        version=version,
        api_key_id=KEY,
        created_at=now,
        expires_at=now + timedelta(seconds=ttl),
    )
    EntryStats.objects.create(
        tenant_id=person.tenant.id, version=version, hits=hits, saved=Decimal(saved), last_hit_at=now
    )


def hour_ago(hours: int = 1) -> datetime:
    return timezone.now() - timedelta(hours=hours)


@pytest.fixture
def person() -> Person:
    """The owner of a tenant with some use: in the last 24 hours, before, and of another tenant."""
    person = new_person()
    write_rollups(person.tenant.id, [Event(hour_ago(), KEY, 500, hits=3, misses=1, units=3, saved=Decimal("0.12"))])
    write_receipts(person.tenant.id, [Event(hour_ago(50), KEY, 500, hits=5, writes=2, units=5)])
    write_rollups(random_id(), [Event(hour_ago(), KEY, 500, hits=1000)])
    return person


def test_overview_makes_at_most_twelve_queries(person: Person) -> None:
    """Session, user, membership and tenant; the session's activity (2 at most); alerts; usage, account, storage; the
    two lists of entries."""
    get(person, "")  # the first visit notes the tenant in the session
    made = queries(person, "")
    assert 6 <= len(made) <= 12, made


def test_tiles_say_what_the_report_says(person: Person) -> None:
    Account.objects.filter(tenant=person.tenant).update(balance=-250)
    page = get(person, "?range=24h")
    counts = page.context["figures"].counts
    assert (counts.hits, counts.misses, counts.units, counts.saved) == (3, 1, 3, Decimal("0.12"))
    text = page.content.decode()
    for shown in ("75.0 %", "3 of 4 reads", "0.03", "2.50 owed now", "$0.12", "0 B"):
        assert shown in text, shown


def test_longer_range_has_more(person: Person) -> None:
    for name, hits, group_by, rows in (("24h", 3, "hour", 24), ("7d", 8, "hour", 168), ("30d", 8, "day", 30)):
        figures = get(person, f"?range={name}").context["figures"]
        assert figures.counts.hits == hits
        assert (figures.range.group_by, len(figures.hits.rows)) == (group_by, rows)


def test_chart_has_its_table(person: Person) -> None:
    figures = get(person, "?range=24h").context["figures"]
    drawn = {one["label"]: one["values"] for one in figures.hits.data["series"]}
    assert sum(drawn["Hits"]) == 3
    assert set(drawn["Hit ratio"]) == {None, 75.0}
    full = [cells for _, cells in figures.hits.rows if cells[0] != "0"]
    assert full == [["3", "1", "75.0 %"]]
    assert [chart.title for chart in figures.others] == ["Credits spent", "Saved", "Storage"]
    assert all(len(chart.rows) == 24 for chart in figures.others)


def test_table_of_a_chart_stands_in_the_page(person: Person) -> None:
    page = get(person, "?range=24h")
    [(start, cells)] = [(start, cells) for start, cells in page.context["figures"].hits.rows if cells[0] != "0"]
    shown = "".join(f'<td class="number">{cell}</td>' for cell in cells)
    assert f'<tr><th scope="row">{start}</th>{shown}</tr>' in page.content.decode()


def test_markup_in_the_table_of_a_chart_shows_as_text() -> None:
    series = Series("A", ["<b>&"], shown=str, drawn=len)
    chart = charts.over_time("parts", "Parts", [hour_ago()], "hour", series)
    assert '<td class="number">&lt;b&gt;&amp;</td>' in chart.body
    assert "<b>" not in chart.body


def test_custom_range_is_widened_to_whole_hours(person: Person) -> None:
    now = timezone.now()
    start, end = now - timedelta(hours=3), now
    figures = get(person, f"?range=custom&start={start:%Y-%m-%dT%H:%M}&end={end:%Y-%m-%dT%H:%M}").context["figures"]
    first, last = usage.start_of(start, "hour"), usage.start_of(end, "hour")
    assert figures.range[0] == first
    assert figures.range[1] in (last, last + timedelta(hours=1))
    assert figures.counts.hits == 3


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("range=1y", ["range: choose 24h, 7d, 30d or custom"]),
        ("range=custom&start=yesterday", ["From: give a UTC time such as"]),
        ("range=custom&end=2026-02-30T00:00", ["To: give a UTC time such as"]),
        ("range=custom&start=1999-12-31T00:00", ["From: give a year from 2000 to 2999"]),
        ("range=custom&start=0001-01-01T00:00%2B23:00", ["From: give a year from 2000"]),
        ("range=custom&start=2026-01-02T00:00&end=2026-01-01T00:00", ["before To", "2026-01-01 00:00"]),
        ("range=custom&start=2998-01-02T00:00&end=2999-01-01T00:00", ["From lies ahead"]),
        ("range=custom&start=2001-01-01T00:00&end=2026-01-01T00:00", ["by month", "60 months", "later start"]),
    ],
)
def test_impossible_range_is_told_what_is_allowed(query: str, words: Sequence[str], person: Person) -> None:
    page = get(person, f"?{query}")
    assert page.status_code == 400
    text = page.content.decode()
    for word in words:
        assert word in text, word
    assert "figures" not in page.context


def test_top_entries_live_and_by_both_figures(person: Person) -> None:
    new_entry(person, "dear", 1, "5")
    new_entry(person, "cheap", 3, "0.03")
    new_entry(person, "free", 2, "0")
    new_entry(person, "over", 9, "9", ttl=-1)
    new_entry(person, "of the gateway", 9, "9", space=Space.GATEWAY)
    new_entry(new_person(), "another tenant's", 9, "9")
    top = get(person, "").context["figures"].top
    assert [entry.key for entry in top["hits"]] == ["cheap", "free", "dear"]
    assert [(entry.key, entry.saved) for entry in top["saved_usd"]] == [("dear", 5), ("cheap", Decimal("0.03"))]


def test_key_of_markup_shows_as_text(person: Person) -> None:
    new_entry(person, "<script>alert(1)</script>&\"'", 1, "1")
    text = get(person, "").content.decode()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;" in text
    assert "?key=%3Cscript%3Ealert%281%29%3C%2Fscript%3E%26%22%27" in text


def test_role_without_entries_sees_no_keys(person: Person) -> None:
    new_entry(person, "secret/name", 1, "1")
    billing = new_person(Role.BILLING, person.tenant)
    page = get(billing, "")
    assert page.context["figures"].top == {}
    assert b"secret/name" not in page.content
    viewer = get(new_person(Role.VIEWER, person.tenant), "").content.decode()
    assert "secret/name" in viewer
    assert "?key=" not in viewer  # may list entries, and not open them


def test_storage_against_what_is_free() -> None:
    person = new_person()
    write_receipts(person.tenant.id, [Event(hour_ago(), KEY, writes=1)])
    figures = get(person, "").context["figures"]
    free = figures.account.free_storage
    for stored, percent, level in ((0, 0, ""), (free * 8 // 10, 80, "warn"), (free * 3, 300, "bad")):
        shown = figures._replace(stored=stored)
        assert (shown.free_percent, shown.level) == (percent, level)


def test_tenant_without_a_request_is_told_what_to_do() -> None:
    text = get(new_person(), "").content.decode()
    assert "No requests yet" in text
    assert "curl -X PUT" in text
    assert "data-chart" not in text


def test_time_without_a_request_offers_a_longer_one() -> None:
    person = new_person()
    write_receipts(person.tenant.id, [Event(hour_ago(24 * 20), KEY, writes=1)])
    text = get(person, "?range=24h").content.decode()
    assert "No requests in this time" in text
    assert "data-chart" not in text
    assert "data-chart" in get(person, "?range=30d").content.decode()


def test_alerts_stand_first(person: Person) -> None:
    Alert.objects.create(
        tenant_id=person.tenant.id, kind="low_balance", subject="", level="warn", title="Few credits", text="<b>12</b>"
    )
    text = get(person, "").content.decode()
    assert text.index("Few credits") < text.index("Hit ratio")
    assert "&lt;b&gt;12&lt;/b&gt;" in text


def new_alert(person: Person, kind: str, subject: str = "", text: str = "Text.") -> Alert:
    return Alert.objects.create(
        tenant_id=person.tenant.id, kind=kind, subject=subject, level="bad", title=f"Of {kind}", text=text
    )


@pytest.mark.parametrize("role", Role)
def test_alerts_lead_only_where_the_role_may_go(role: str, person: Person, server: RunningServer) -> None:
    new_entry(person, "a/b&c", 1, "1")
    version = Entry.objects.get(tenant_id=person.tenant.id, key="a/b&c").version
    for kind in Alert.Kind:
        new_alert(person, kind, str(version) if kind == Alert.Kind.ENTRY else "")
    member = new_person(role, person.tenant)
    shown = get(member, "").context["alerts"]
    assert len(shown) == len(Alert.Kind) == len(alerts.NEEDED)
    for alert in shown:
        allowed = allows(role, alerts.NEEDED[alert.title.removeprefix("Of ")])
        assert bool(alert.url) == allowed, alert
        if alert.url:
            assert visitor(server, member).get(alert.url).status_code == 200, alert.url


def test_alert_of_an_entry_leads_to_it_and_names_it_to_who_may_list_entries(person: Person) -> None:
    new_entry(person, "secret/<name>", 1, "1")
    version = Entry.objects.get(tenant_id=person.tenant.id, key="secret/<name>").version
    new_alert(person, Alert.Kind.ENTRY, str(version), "Its key is secret/<name>. It was changed.")
    viewer = get(new_person(Role.VIEWER, person.tenant), "").content.decode()
    assert "Its key is secret/&lt;name&gt;" in viewer
    assert "entries/open?key=secret%2F%3Cname%3E" in viewer
    billing = get(new_person(Role.BILLING, person.tenant), "").content.decode()
    assert "Of entry" in billing
    assert "Whoever may list entries" in billing
    assert "secret/" not in billing
    assert ">Look<" not in billing


@pytest.mark.parametrize("space", [Space.GATEWAY, None])
def test_alert_of_an_entry_without_a_page_leads_nowhere(space: int | None, person: Person) -> None:
    """The gateway's entries have none, and one that is gone by now has none any more."""
    version = random_id()
    if space is not None:
        new_entry(person, "of the gateway", 1, "1", space=space)
        version = Entry.objects.get(tenant_id=person.tenant.id, key="of the gateway").version
    new_alert(person, Alert.Kind.ENTRY, str(version))
    [alert] = get(person, "").context["alerts"]
    assert (alert.url, alert.text) == ("", "Text.")
