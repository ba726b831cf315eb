"""PDFs of invoices: they are made for every document, show every text as it is, and do not take for ever."""

import json
import re
import subprocess
from datetime import UTC, datetime
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any

import pytest
import typst
from hypothesis import given, settings
from hypothesis import strategies as st

from billing import pdf, pricing
from billing.documents import InvoiceDocument
from billing.pricing import APIKey, InvoiceLine, Period, Used
from cacheservice.errors import InvalidRequest, Unavailable

START, CHANGE, END = (datetime(2025, *day, tzinfo=UTC) for day in ((10, 1), (10, 12), (11, 1)))
PERIODS = [
    Period(START, CHANGE, Decimal(1), Decimal("0.001"), Decimal("0.1"), 10**8),
    Period(CHANGE, END, Decimal(1), Decimal("0.0012"), Decimal("0.1"), 10**8),
]
HOSTILE = [
    '#import "@preview/x": *',
    '#panic() #sys.inputs #read("/etc/passwd")',
    "*bold* _under_ $x^2$ `raw` <label> @ref ~ -- ... // no /* no",
    "= heading\n- item\n+ item\n/ term: x",
    "back\\slash \\u{41} \"double\" 'single' ]] }} )) #[",
    "=SUM(A1)",
    "W" * 100,
    "שלום עולם",
    "مفتاح الإنتاج",
    "漢字テスト",
    "\U0001f600 \U0001f468‍\U0001f469‍\U0001f467",
    "\u202ereversed\u202c",
    "tab\there",
    "",
]


def document(*names: str, **fields: Any) -> InvoiceDocument:
    """An invoice with API keys of these names; of more lines in all where a price changed."""
    usage = {
        APIKey(name, number): [Used(hits=1_234_567, units=1_234_567, byte_microseconds=10**21)] * len(PERIODS)
        for number, name in enumerate(names, 1)
    }
    bill = pricing.bill(PERIODS, usage, available=100)
    values: dict[str, Any] = {
        "number": 7,
        "reference": "INV-0007",
        "kind": "invoice",
        "month": "2025-10",
        "issued_at": "2025-11-01T01:10:04Z",
        "corrects": None,
        "plan": "pro",
        "seller": "Cache Ltd.\n1 Main Street\nTown",
        "bill_to": "Acme",
        "lines": bill.lines,
        "total_usd": str(bill.total),
        "rounding_rule": pricing.ROUNDING_RULE,
    }
    return InvoiceDocument(**{**values, **fields})


def credit_note() -> InvoiceDocument:
    line = InvoiceLine(kind="credit_note", description="An outage", amount_usd="-12.50")
    fields = {"number": 8, "reference": "CN-0008", "kind": "credit_note", "corrects": 7, "total_usd": "-12.50"}
    return document(lines=[line], **fields)


def pages(made: bytes) -> int:
    assert made.startswith(b"%PDF-")
    assert made.rstrip().endswith(b"%%EOF")
    [count] = re.findall(rb"/Type/Pages/Count (\d+)", made)
    return int(count)


class Cells(HTMLParser):
    """The texts of a table."""

    def __init__(self) -> None:
        super().__init__()
        self.found = [""]

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "br":
            self.found[-1] += "\n"
        else:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        self.found[-1] += data


def texts(made: InvoiceDocument) -> list[str]:
    """What typst makes of the data in the tables: asked for the same template as HTML, it gives texts, not glyphs."""
    document = json.dumps(pdf.content(made))
    as_html = typst.compile(pdf.TEMPLATE, format="html", ignore_system_fonts=True, sys_inputs={"document": document})
    assert isinstance(as_html, bytes)
    cells = Cells()
    cells.feed(as_html.decode())
    return cells.found


# What is shown


def test_what_an_invoice_shows() -> None:
    shown = pdf.content(document("chat", ""))
    assert (shown["title"], shown["reference"]) == ("Invoice", "INV-0007")
    assert shown["seller"] == ["Cache Ltd.", "1 Main Street", "Town"]
    assert shown["facts"] == [
        ("Number", "INV-0007"),
        ("Issued", "1 November 2025"),
        ("Month", "October 2025"),
        ("Plan", "pro"),
    ]
    hits, storage = shown["groups"]
    assert hits["columns"] == ["Hits", "Credits", "USD a credit", "Amount, USD"]
    assert hits["rows"] == [
        {
            "text": "A deleted API key",
            "note": "00000000002, 1 to 11 October 2025",
            "cells": ["1,234,567", "12,345.67", "0.001", "12.345670"],
        },
        {
            "text": "A deleted API key",
            "note": "00000000002, 12 to 31 October 2025",
            "cells": ["1,234,567", "12,345.67", "0.0012", "14.814804"],
        },
        {
            "text": "chat",
            "note": "00000000001, 1 to 11 October 2025",
            "cells": ["1,234,567", "12,345.67", "0.001", "12.345670"],
        },
        {
            "text": "chat",
            "note": "00000000001, 12 to 31 October 2025",
            "cells": ["1,234,567", "12,345.67", "0.0012", "14.814804"],
        },
        {
            "text": "Paid from the credit balance",
            "note": "1 to 11 October 2025",
            "cells": ["", "−1.00", "0.001", "−0.001000"],
        },
    ]
    assert hits["subtotal"] == "54.319948"
    assert storage["columns"] == ["GB-months", "USD a GB-month", "Amount, USD"]
    assert storage["rows"][0] == {
        "text": "A deleted API key",
        "note": "00000000002",
        "cells": ["0.746714456", "0.10", "0.074671"],
    }
    assert storage["rows"][-1] == {"text": "Free storage", "note": "", "cells": ["−0.100000000", "0.10", "−0.010000"]}
    assert (shown["total_label"], shown["total"]) == ("Total", "54.46")
    assert shown["notes"][0] == pricing.ROUNDING_RULE


def test_what_a_credit_note_shows() -> None:
    shown = pdf.content(credit_note())
    assert shown["title"] == "Credit note"
    assert ("Corrects", "INV-0007") in shown["facts"]
    [group] = shown["groups"]
    assert group["rows"] == [{"text": "An outage", "note": "", "cells": ["−12.50"]}]
    assert (shown["total_label"], shown["total"]) == ("Credited", "12.50")


def test_amounts_have_the_decimals_that_they_need() -> None:
    lines = [
        InvoiceLine(kind="cache_hits", description="Cache hits", amount_usd=amount) for amount in ("1.000000", "0.5")
    ]
    [group] = pdf.content(document(lines=lines))["groups"]
    assert [row["cells"][-1] for row in group["rows"]] == ["1.00", "0.50"]


# What is made


def test_pdf_is_the_same_whenever_it_is_made() -> None:
    made = pdf.render(document("chat"))
    assert pages(made) == 1
    assert pdf.render(document("chat")) == made


def test_credit_note_is_one_page() -> None:
    assert pages(pdf.render(credit_note())) == 1


def test_long_invoice_goes_over_pages() -> None:
    assert pages(pdf.render(document(*(f"key {number}" for number in range(15))))) == 3


def test_hostile_texts_are_shown_as_they_are() -> None:
    """Each stands in the typeset document letter by letter; long words only got places to break."""
    made = document(*HOSTILE, seller="\n".join(HOSTILE[:3]), bill_to=HOSTILE[4], plan="#plan")
    assert pages(pdf.render(made)) >= 2
    shown = [text.replace("\u200b", "") for text in texts(made)]
    for text in [*HOSTILE[:-1], "A deleted API key"]:
        on_one_line = text.replace("\n", " ").replace("\t", " ")
        assert any(cell.startswith(f"{on_one_line}\n000000000") for cell in shown), text


any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=100)


@settings(max_examples=25, deadline=None)
@given(st.lists(any_text, max_size=3), any_text)
def test_any_text_makes_a_pdf(names: list[str], other: str) -> None:
    assert pages(pdf.render(document(*names, seller=other, bill_to=other))) >= 1


def test_fonts_of_the_machine_are_not_used() -> None:
    made = pdf.render(document("plain", *HOSTILE))
    fonts = {name.partition(b"+")[2] or name for name in re.findall(rb"/BaseFont\s*/([\w+-]+)", made)}
    assert fonts, "the page has text"
    assert all(font.startswith((b"LibertinusSerif", b"DejaVuSansMono", b"NewCM")) for font in fonts), fonts


# Its bounds


def test_thousand_lines_are_made() -> None:
    made = document(*(f"key {number}" for number in range(250)))
    assert len(made.lines) >= 1000 - 250
    assert pages(pdf.render(made)) > 20


def test_more_lines_than_can_be_set_are_refused() -> None:
    line = InvoiceLine(kind="cache_hits", description="Cache hits", amount_usd="0.01")
    with pytest.raises(InvalidRequest, match="the document has 5001 lines, and a PDF at most 5000; choose csv or json"):
        pdf.render(document(lines=[line] * 5001))


def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "SECONDS", 0.001)
    with pytest.raises(Unavailable, match="took too long"):
        pdf.render(document("chat"))
    monkeypatch.undo()
    assert pages(pdf.render(document("chat"))) == 1, "the turn was given back"


def test_one_is_made_at_a_time(settings: Any) -> None:
    settings.QUEUE_TIMEOUT_SECONDS = 0.01
    with pdf._turn, pytest.raises(Unavailable, match="Too many PDFs are being made at once"):
        pdf.render(document("chat"))


def test_failure_tells_typsts_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "content", lambda _: {})
    with pytest.raises(RuntimeError, match='dictionary does not contain key "title"'):
        pdf.render(document("chat"))


def test_program_gets_no_secret_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    run, environments = subprocess.run, []

    def recording(*arguments: Any, **options: Any) -> Any:
        environments.append(options["env"])
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", recording)
    pdf.render(document("chat"))
    assert environments == [{}]
