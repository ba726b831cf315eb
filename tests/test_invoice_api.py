"""Invoices over HTTP: the list, one in its formats, the preview of the running month, and what is refused."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from accounts.models import APIKey
from billing import months
from billing.documents import InvoiceDocument, InvoiceList, InvoicePreview
from billing.invoices import issue_credit_note
from billing.models import Invoice
from cacheservice.month_close import close_months
from tests.billing_cast import at, book, new_tenant
from tests.cast import ACTOR, Key, new_key
from tests.client import Answer, Client
from tests.processes import RunningServer
from tests.receipts import receipt

INVOICES = "/api/v1/invoices"
TIME = "%Y-%m-%dT%H:%M:%SZ"


@pytest.fixture
def key() -> Key:
    """Of a tenant with invoices 1 and 2 and a credit note of the first, 3. Its name is a formula."""
    tenant = new_tenant("pro")
    key = new_key(tenant)
    APIKey.objects.filter(id=key.row.id).update(name='=cmd|"/c calc"')
    for month in (8, 9):
        book(receipt(tenant.id, at(2025, month, 3), api_key_id=key.row.id, hits=100_000 * month))
    assert close_months(tenant_id=tenant.id) == 2
    issue_credit_note(tenant, 1, Decimal("1.50"), "an outage", ACTOR)
    return key


@pytest.fixture
def client(server: RunningServer, key: Key) -> Iterator[Client]:
    with Client(server.url, key.token) as client:
        yield client


def get(client: Client, path: str, accept: str | None = None) -> Answer:
    return client.send("GET", INVOICES + path, headers={} if accept is None else {"accept": accept})


def table(answer: Answer) -> list[dict[str, str]]:
    assert answer.header("content-type") == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))


def line(key: Key, **fields: Any) -> dict[str, Any]:
    return {
        "kind": "cache_hits",
        "description": "Cache hits",
        "api_key": {"id": key.id, "name": '=cmd|"/c calc"'},
        "first_day": "2025-08-01",
        "last_day": "2025-08-31",
        "unit": "credit",
        "unit_price_usd": "0.001",
        **fields,
    }


# The list


def test_list_is_newest_first_page_by_page(client: Client) -> None:
    first = get(client, "?limit=2").json()
    second = get(client, f"?limit=2&cursor={first['next_cursor']}").json()
    assert second["next_cursor"] is None
    found = first["invoices"] + second["invoices"]
    assert [
        (each["number"], each["reference"], each["month"], each["total_usd"], each["corrects"]) for each in found
    ] == [
        (3, "CN-0003", "2025-08", "-1.50", 1),
        (2, "INV-0002", "2025-09", "9.00", None),
        (1, "INV-0001", "2025-08", "8.00", None),
    ]
    assert list(found[0]) == ["number", "reference", "kind", "month", "issued_at", "corrects", "total_usd"]
    assert get(client, "").json() == {"invoices": found, "next_cursor": None}


def test_list_of_none_is_empty(server: RunningServer) -> None:
    with Client(server.url, new_key(new_tenant("pro")).token) as client:
        assert get(client, "").json() == {"invoices": [], "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?limit=0", "limit: send an integer from 1 to 100, not '0'."),
        ("?limit=101", "limit: send an integer from 1 to 100, not '101'."),
        ("?cursor=x", "cursor: send 'next_cursor' of the page before, unchanged."),
        ("?cursor=0", "cursor: send 'next_cursor' of the page before, unchanged."),
        ("?cursor=99999999999", "cursor: send 'next_cursor' of the page before, unchanged."),
        ("?month=2025-08", "query: unknown parameter 'month'; this request takes: limit, cursor."),
        ("/1?format=xml", "format: 'xml' is not allowed; choose one of json, csv, pdf."),
        ("/preview?format=pdf", "format: 'pdf' is not allowed; choose one of json, csv."),
        ("/1?page=2", "query: unknown parameter 'page'; this request takes: format."),
    ],
)
def test_bad_input_is_refused_with_what_is_allowed(client: Client, query: str, message: str) -> None:
    answer = get(client, query)
    assert (answer.status, answer.error_code(), answer.error_message()) == (400, "invalid_request", message)


@pytest.mark.parametrize("number", ["4", "0", "01", "-1", "1.0", "x", "99999999999", "1%00", "%D9%A1"])
def test_unknown_number_is_not_found(client: Client, number: str) -> None:
    answer = get(client, f"/{number}")
    assert (answer.status, answer.error_code()) == (404, "not_found")


def test_another_tenants_invoice_is_not_found(server: RunningServer, key: Key) -> None:
    with Client(server.url, new_key(new_tenant("pro")).token) as stranger:
        for form in ("json", "csv", "pdf"):
            answer = get(stranger, f"/1?format={form}")
            assert (answer.status, answer.error_code()) == (404, "not_found")


# One


def test_invoice_as_json(client: Client, key: Key) -> None:
    answer = get(client, "/1")
    assert answer.header("vary") == "Accept"
    found = answer.json()
    [stored] = Invoice.objects.filter(tenant_id=key.row.tenant_id, number=1)
    assert found == {
        "number": 1,
        "reference": "INV-0001",
        "kind": "invoice",
        "month": "2025-08",
        "issued_at": f"{stored.issued_at:%Y-%m-%dT%H:%M:%SZ}",
        "corrects": None,
        "plan": "pro",
        "seller": "cacheservice",
        "bill_to": key.row.tenant.name,
        "lines": [line(key, hits=800_000, quantity="8000.00", amount_usd="8.000000")],
        "total_usd": "8.00",
        "rounding_rule": stored.document["rounding_rule"],
    }


def test_invoice_as_csv_is_safe_in_a_spreadsheet(client: Client, key: Key) -> None:
    answer = get(client, "/1", "text/csv")
    assert answer.header("content-disposition") == 'attachment; filename="INV-0001.csv"'
    first, total = table(answer)
    assert first == {
        "reference": "INV-0001",
        "kind": "invoice",
        "month": "2025-08",
        "issued_at": first["issued_at"],
        "corrects": "",
        "line": "cache_hits",
        "description": "Cache hits",
        "api_key_id": key.id,
        "api_key_name": '\'=cmd|"/c calc"',
        "first_day": "2025-08-01",
        "last_day": "2025-08-31",
        "hits": "800000",
        "quantity": "8000.00",
        "unit": "credit",
        "unit_price_usd": "0.001",
        "amount_usd": "8.000000",
    }
    assert (total["line"], total["amount_usd"], total["api_key_id"]) == ("total", "8.00", "")
    note = table(get(client, "/3?format=csv"))[0]
    assert (note["corrects"], note["amount_usd"]) == ("INV-0001", "-1.50"), "a number is no formula"


@pytest.mark.parametrize("accept", ["application/pdf", "text/html, application/pdf;q=0.9, */*;q=0.8"])
def test_invoice_as_pdf(client: Client, accept: str) -> None:
    answer = get(client, "/1", accept)
    assert answer.status == 200
    assert answer.header("content-type") == "application/pdf"
    assert answer.header("content-disposition") == 'inline; filename="INV-0001.pdf"'
    assert answer.body.startswith(b"%PDF-")
    assert get(client, "/1?format=pdf").body == answer.body, "the same invoice is the same file"
    assert get(client, "/3?format=pdf").header("content-disposition") == 'inline; filename="CN-0003.pdf"'


def test_credit_note_as_json(client: Client) -> None:
    found = get(client, "/3").json()
    assert (found["reference"], found["kind"], found["corrects"], found["total_usd"]) == (
        "CN-0003",
        "credit_note",
        1,
        "-1.50",
    )
    [only] = found["lines"]
    assert {name: value for name, value in only.items() if value is not None} == {
        "kind": "credit_note",
        "description": "an outage",
        "amount_usd": "-1.50",
    }


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("*/*", "application/json"),
        ("", "application/json"),
        ("text/html", "application/json"),
        ("application/json, text/csv", "application/json"),
        ("text/csv, */*", "text/csv; charset=utf-8"),
        ("text/csv;q=0.1, application/json;q=0.2", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("TEXT/CSV; charset=utf-8", "text/csv; charset=utf-8"),
        ("text/csv;q=nonsense", "application/json"),
    ],
)
def test_accept(client: Client, accept: str, expected: str) -> None:
    assert get(client, "/1", accept).header("content-type") == expected
    assert get(client, "/1?format=json", accept).header("content-type") == "application/json"


# The preview


def test_preview_counts_up_to_the_last_hit(client: Client, key: Key) -> None:
    assert client.put("greeting", "x" * 98).status == 201
    for _ in range(3):
        assert client.get("greeting").json()["hit"]
    before = timezone.now()
    answer = get(client, "/preview")
    found, month = answer.json(), months.of(timezone.now())
    assert answer.header("vary") == "Accept"
    assert (found["preview"], found["month"], found["plan"]) == (True, months.wire(month), "pro")
    assert f"{before:{TIME}}" <= found["as_of"] <= f"{timezone.now():{TIME}}"
    [hits, stored, free] = found["lines"]
    days = {"first_day": f"{month}", "last_day": f"{months.following(month) - timedelta(days=1)}"}
    assert hits == line(key, **days, hits=3, quantity="0.03", amount_usd="0.000030")
    assert (stored["kind"], free["kind"], found["total_usd"]) == ("storage", "free_storage", "0.00")
    assert client.get("greeting").json()["hit"]
    assert get(client, "/preview").json()["lines"][0]["hits"] == 4


def test_preview_as_csv(client: Client) -> None:
    client.put("greeting", "hello")
    client.get("greeting")
    answer = get(client, "/preview", "text/csv")
    month = months.wire(months.of(timezone.now()))
    assert answer.header("content-disposition") == f'attachment; filename="preview-{month}.csv"'
    rows = table(answer)
    assert {(row["reference"], row["kind"], row["month"]) for row in rows} == {("", "preview", month)}
    assert [row["line"] for row in rows] == ["cache_hits", "storage", "free_storage", "total"]
    assert get(client, "/preview?format=csv").header("content-type") == "text/csv; charset=utf-8"


def test_preview_of_nothing(server: RunningServer) -> None:
    with Client(server.url, new_key(new_tenant("pro")).token) as client:
        found = get(client, "/preview").json()
        assert (found["lines"], found["total_usd"]) == ([], "0.00")
        [total] = table(get(client, "/preview?format=csv"))
        assert (total["line"], total["amount_usd"]) == ("total", "0.00")


def test_preview_changes_nothing(client: Client, key: Key) -> None:
    client.put("greeting", "hello")
    before = [each.number for each in Invoice.objects.filter(tenant_id=key.row.tenant_id)]
    assert get(client, "/preview").status == 200
    assert [each.number for each in Invoice.objects.filter(tenant_id=key.row.tenant_id)] == before


@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("", InvoiceList),
        ("?limit=1", InvoiceList),
        ("/1", InvoiceDocument),
        ("/3", InvoiceDocument),
        ("/preview", InvoicePreview),
    ],
)
def test_answer_is_what_the_openapi_document_says(client: Client, path: str, described: type) -> None:
    """No field more and none less; schemathesis sees no invoice."""
    assert client.put("greeting", "hello").status == 201
    body = get(client, path).body
    assert msgspec.json.encode(msgspec.json.decode(body, type=described)) == body
