"""The console's pages of what is owed: the same figures as the API's, who sees them, and asking for credits."""

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from django.conf import settings
from django.utils import timezone

from accounts.models import APIKey, AuditEvent
from accounts.policy import Role
from billing import credits, documents
from billing.invoices import issue_credit_note
from billing.limits import set_tenant_limits
from billing.models import Account, Invoice, LedgerEntry, Plan, Price
from billing.rows import django_rows
from cacheservice.errors import InsufficientCredits
from cacheservice.month_close import close_months
from tests.billing_cast import at, book, book_ledger, new_tenant
from tests.cast import ACTOR, new_key
from tests.console_cast import Person, Visitor, mails_to, new_person, visitor
from tests.processes import RunningServer
from tests.receipts import receipt

PAGES = ("billing", "billing/invoices", "billing/invoices/1", "billing/credits", "billing/prices")
FILES = ("billing/preview.csv", "billing/invoices/1/pdf", "billing/invoices/1/csv")
MARKUP = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def owner(django_db_setup: None, django_db_blocker: Any) -> Person:
    """Of a tenant with invoices 1 and 2, a credit note of the first, 3, and use in the running month."""
    with django_db_blocker.unblock():
        tenant = new_tenant("pro")
        key = new_key(tenant).row
        APIKey.objects.filter(id=key.id).update(name=MARKUP)
        for month in (8, 9):
            book(receipt(tenant.id, at(2025, month, 3), api_key_id=key.id, hits=123_456_789 * month))
        assert close_months(tenant_id=tenant.id) >= 2
        issue_credit_note(tenant, 1, Decimal("1.50"), "an outage", ACTOR)
        book(receipt(tenant.id, timezone.now(), api_key_id=key.id, hits=4321))
        return new_person(Role.OWNER, tenant)


def cells(page: str) -> list[str]:
    """The text of a page's table cells."""
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in found]


def test_the_page_that_the_apis_errors_name_leads_to_ones_own(server: RunningServer) -> None:
    person = new_person(Role.OWNER, new_tenant("free"))
    [page] = re.findall(r"https?://\S+(?=\.$)", InsufficientCredits.of_balance(0, 1).message)
    path = page.removeprefix(settings.PUBLIC_URL)
    answer = visitor(server, person).get(path)
    assert (answer.status_code, answer.headers["location"]) == (302, person.path("billing"))
    signed_out = Visitor(server).get(path)
    assert signed_out.headers["location"] == f"/console/account/login/?next={path}"


def plain(text: str) -> str:
    return text.replace(",", "")


def requests_of(person: Person) -> int:
    return AuditEvent.objects.filter(tenant_id=person.tenant.id, action="credits.request").count()


def address_of(person: Person) -> str:
    """A name for the requests of one person among the mails to the operator."""
    return f"Reply-To: {person.user.email}"


def mails_of(server: RunningServer, person: Person) -> list[str]:
    return [mail for mail in mails_to(server, settings.OPERATOR_EMAIL) if address_of(person) in mail]


# Figures


def test_the_summary_is_the_preview_of_the_api(server: RunningServer, owner: Person) -> None:
    client, preview = visitor(server, owner), documents.preview(django_rows, owner.tenant.id)
    page = client.get(owner.path("billing"))
    assert page.status_code == 200
    texts = [plain(cell) for cell in cells(page.text)]
    hits = next(line for line in preview.lines if line.kind == "cache_hits")
    assert (hits.hits, hits.quantity, hits.amount_usd) == (4321, "43.21", "0.043210")
    for line in preview.lines:
        assert f"{line.quantity} {line.unit}s" in texts
        assert f"{line.amount_usd} USD" in texts
    assert f"{preview.total_usd} USD" in texts
    assert re.search(r"<dt>Charged this month</dt><dd>43\.21</dd>", page.text)
    balance = Account.objects.get(tenant=owner.tenant).balance
    assert f"<dt>Balance</dt><dd>{Decimal(balance) / 100:,.2f}</dd>" in page.text
    table = client.get(owner.path("billing/preview.csv"))
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert hits.amount_usd in table.text


def test_the_plan_has_the_limits_of_the_tenant(server: RunningServer) -> None:
    person = new_person(Role.BILLING, new_tenant("free"))
    set_tenant_limits(person.tenant, storage_quota=123_000_000, requests_per_minute=77, actor=ACTOR)
    page = visitor(server, person).get(person.path("billing")).text
    assert "123 MB <span" in page
    assert "77 a minute <span" in page
    assert "<dt>Credits a month</dt><dd>100.00</dd>" in page
    assert 'max="123000000" value="0"' in page
    assert "Nothing was used." in page


def test_invoices_are_listed_and_shown_as_they_were_issued(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    texts = [plain(cell) for cell in cells(client.get(owner.path("billing/invoices")).text)]
    for invoice in Invoice.objects.filter(tenant_id=owner.tenant.id):
        found = documents.find(django_rows, owner.tenant.id, invoice.number)
        assert found is not None
        assert any(text.startswith(found.reference) for text in texts)
        assert f"{invoice.total} USD" in texts
        page = client.get(owner.path(f"billing/invoices/{invoice.number}"))
        assert page.status_code == 200
        shown = [plain(cell) for cell in cells(page.text)]
        for line in found.lines:
            assert f"{line.amount_usd} USD" in shown
        assert f"<strong>{invoice.total:,} USD</strong>" in page.text
        assert owner.tenant.name in page.text
    assert Invoice.objects.filter(tenant_id=owner.tenant.id).count() >= 3


def test_files_are_those_of_the_api(server: RunningServer, owner: Person) -> None:
    client, headers = visitor(server, owner), {"Authorization": f"Bearer {new_key(owner.tenant).token}"}
    for wanted in ("csv", "pdf"):
        file = client.get(owner.path(f"billing/invoices/1/{wanted}"))
        api = httpx.get(f"{server.url}/api/v1/invoices/1?format={wanted}", headers=headers)
        assert file.status_code == api.status_code == 200
        assert file.content == api.content
        assert file.headers["content-type"] == api.headers["content-type"]
        assert "INV-0001" in file.headers["content-disposition"]


def test_names_with_markup_are_text(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    for path in ("billing", "billing/invoices/1"):
        page = client.get(owner.path(path)).text
        assert MARKUP not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page


def test_many_invoices_and_grants_are_paged(server: RunningServer) -> None:
    person = new_person(Role.BILLING, new_tenant("pro"))
    month, content = date(2020, 1, 1), {"seller": "s", "bill_to": "b", "rounding_rule": "r", "lines": []}
    Invoice.objects.bulk_create(
        Invoice(
            tenant_id=person.tenant.id,
            number=n,
            kind="invoice",
            month=month.replace(year=2020 + n // 12, month=n % 12 + 1),
            plan="pro",
            document=content,
            total=Decimal(n),
        )
        for n in range(1, 31)
    )
    for n in range(60):
        book_ledger(person.tenant, 100 + n, timezone.now() - timedelta(days=n))
    client = visitor(server, person)
    first = client.get(person.path("billing/invoices")).text
    assert "INV-0030" in first
    assert "INV-0006" not in first
    assert "before=7" in first
    assert "INV-0006" in client.get(person.path("billing/invoices?before=7")).text
    ledger = client.get(person.path("billing/credits")).text
    assert "1 to 50 of 60" in ledger
    assert "+1.00" in ledger
    assert "+1.59" in client.get(person.path("billing/credits?page=2")).text


def test_the_ledger_shows_what_was_granted_and_taken(server: RunningServer) -> None:
    person = new_person(Role.BILLING, new_tenant("pro"))
    grants = (("promotional", 1_234_567, "Welcome"), ("correction", -1000, MARKUP))
    for kind, units, note in grants:
        credits.grant(person.tenant.id, kind, units, idempotency_key=note, actor="operator kim", note=note)
    page = visitor(server, person).get(person.path("billing/credits")).text
    assert {"+12,345.67", "-10.00", "Promotional", "Correction", "Welcome", "operator kim"} <= set(cells(page))
    assert MARKUP not in page
    assert "<dd>12,335.67</dd>" in page
    assert LedgerEntry.objects.filter(tenant_id=person.tenant.id).count() == 2


def test_prices_are_those_of_today_with_the_changes_to_come(server: RunningServer, owner: Person) -> None:
    coming = date.today() + timedelta(days=4000)  # noqa: DTZ011  far off, so that no other test meets it
    price = Price.objects.create(code=Price.STORAGE, valid_from=coming, amount="0.0712300000")
    hit = Price.objects.create(code=Price.CACHE_HIT, valid_from=coming, amount="2")
    plan = Plan.objects.create(code="pro", valid_from=coming, prepaid=False, monthly_grant=700, free_storage=5 * 10**9)
    try:
        page = visitor(server, owner).get(owner.path("billing/prices")).text
        summary = visitor(server, owner).get(owner.path("billing")).text
    finally:
        for row in (price, hit, plan):
            row.delete()
    assert {"0.01 credits", "$0.001", "$0.10"} <= set(cells(page))
    assert {f"$0.07123 from {coming}", f"0.02 credits from {coming}"} <= set(cells(page))
    for each in (page, summary):
        assert f"From {coming} on" in each or f"pro from {coming} on" in each
        assert "7.00 credits a month; 5.0 GB of storage free" in each


# Who may


@pytest.mark.parametrize("role", [Role.VIEWER, Role.DEVELOPER])
def test_the_bill_is_not_everyones(server: RunningServer, owner: Person, role: str) -> None:
    person = new_person(role, owner.tenant)
    client = visitor(server, person)
    for path in (*PAGES, *FILES, "billing/credits/request"):
        assert client.get(person.path(path)).status_code == 403, path
    assert client.post(person.path("billing/credits/request"), {"credits": "5"}).status_code == 403
    assert "/billing" not in client.get(person.path("team")).text
    assert requests_of(person) == 0


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.BILLING])
def test_who_may_see_the_bill(server: RunningServer, owner: Person, role: str) -> None:
    person = new_person(role, owner.tenant)
    client = visitor(server, person)
    for path in (*PAGES, *FILES, "billing/credits/request"):
        assert client.get(person.path(path)).status_code == 200, path


@pytest.mark.parametrize("number", ["1", "3", "0", "4", "-1", "1.0", "٣", "9" * 30, "%00", "x"])
def test_invoices_of_others_and_none_do_not_exist(server: RunningServer, owner: Person, number: str) -> None:
    stranger = new_person(Role.OWNER, new_tenant("pro"))
    client = visitor(server, stranger)
    assert client.get(stranger.path(f"billing/invoices/{number}")).status_code == 404
    for wanted in ("pdf", "csv"):
        assert client.get(stranger.path(f"billing/invoices/{number}/{wanted}")).status_code == 404
    assert client.get(owner.path(f"billing/invoices/{number}")).status_code == 404
    assert client.get(owner.path("billing")).status_code == 404


def test_there_are_no_other_files(server: RunningServer, owner: Person) -> None:
    for wanted in ("json", "exe", "PDF"):
        assert visitor(server, owner).get(owner.path(f"billing/invoices/1/{wanted}")).status_code == 404


# Asking for credits


def test_a_request_reaches_the_operator(server: RunningServer) -> None:
    person = new_person(Role.BILLING, new_tenant("pro"))
    person.user.name = "Ada\r\nBcc: all@example.com"
    person.user.save()
    client, form = visitor(server, person), {"credits": "1234.5", "note": "Order 4711\r\n<b>soon</b>"}
    answer = client.post(person.path("billing/credits/request"), form)
    assert answer.status_code == 302
    assert person.user.email in client.get(answer.headers["location"]).text
    [mail] = mails_of(server, person)
    assert f"Subject: [cacheservice] {person.tenant.name[:20]}" in mail.replace("\n ", " ")
    assert f"(tenant {person.code}) asks for 1234.50 credits" in mail
    assert f"Asked by: Ada Bcc: all@example.com, {person.user.email}, Billing" in mail
    assert "Order 4711\n<b>soon</b>" in mail.replace("\r", "")
    assert "\nBcc:" not in mail
    event = AuditEvent.objects.get(tenant_id=person.tenant.id, action="credits.request")
    assert (event.actor, event.details["credits"]) == (person.user.email, "1234.50")
    assert Account.objects.get(tenant=person.tenant).balance == 0


@pytest.mark.parametrize(
    ("form", "said"),
    [
        ({}, "Say how many credits you want."),
        ({"credits": "0"}, "Give 0.01 to 1,000,000,000,000 credits"),
        ({"credits": "-5"}, "Give 0.01 to 1,000,000,000,000 credits"),
        ({"credits": "1.001"}, "Give 0.01 to 1,000,000,000,000 credits"),
        ({"credits": "Infinity"}, "Give 0.01 to 1,000,000,000,000 credits"),
        ({"credits": "5", "note": "n" * 2001}, "These are 2001 characters; give at most 2000."),
    ],
)
def test_a_request_that_cannot_be_read_is_not_sent(
    server: RunningServer, owner: Person, form: dict[str, str], said: str
) -> None:
    before = requests_of(owner)
    answer = visitor(server, owner).post(owner.path("billing/credits/request"), form)
    assert answer.status_code == 422
    assert said in answer.text
    assert requests_of(owner) == before


def test_a_tenant_asks_three_times_a_day(server: RunningServer) -> None:
    """However many of its members ask at the same moment."""
    tenant = new_tenant("pro")
    members = [new_person(Role.BILLING, tenant) for _ in range(6)]

    def ask(person: Person) -> httpx.Response:
        return visitor(server, person).post(person.path("billing/credits/request"), {"credits": "5"})

    with ThreadPoolExecutor(len(members)) as pool:
        answers = list(pool.map(ask, members))
    assert sorted(answer.status_code for answer in answers) == [302, 302, 302, 422, 422, 422]
    refused = next(answer for answer in answers if answer.status_code == 422)
    assert "The tenant has asked 3 times within 24 hours, and 3 are allowed." in refused.text
    assert settings.OPERATOR_EMAIL in refused.text
    assert sum(len(mails_of(server, person)) for person in members) == requests_of(members[0]) == 3
