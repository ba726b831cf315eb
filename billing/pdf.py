"""Invoices and credit notes as PDF, set by typst from `templates/billing/invoice.typ` with the fonts that come with it.

The template gets a document as data, so that nobody's text is ever markup. The same document makes the same bytes.
"""

import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import structlog
from django.conf import settings

from billing import months
from billing.documents import InvoiceDocument, reference
from billing.pricing import DAY, PLACES, InvoiceLine, Kind
from billing.units import usd
from cacheservice.errors import InvalidRequest, Unavailable

log = structlog.get_logger(__name__)

TEMPLATE = Path(__file__).parent / "templates" / "billing" / "invoice.typ"
PROGRAM = Path(__file__).with_name("typesetting.py")
MOST_LINES = 5_000  # about six seconds; a thousand take one
SECONDS = 30
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
NOTES = ("Days and months are UTC. A GB is 1,000,000,000 bytes; a GB-month has the real length of its month.",)


class _Group(NamedTuple):
    """Lines that stand in one table, with the names of its columns behind the first, and what they show."""

    title: str
    kinds: tuple[Kind, ...]
    columns: tuple[tuple[str, Callable[[InvoiceLine], str]], ...]


_turn = threading.Lock()


def render(document: InvoiceDocument) -> bytes:
    """One at a time in a process, for it takes the machine's cores.

    Raises Unavailable when that takes too long, and InvalidRequest for more lines than are set in a bearable time.
    """
    if len(document.lines) > MOST_LINES:
        raise InvalidRequest(
            f"format: the document has {len(document.lines)} lines, and a PDF at most {MOST_LINES}; choose csv or json."
        )
    if not _turn.acquire(timeout=settings.QUEUE_TIMEOUT_SECONDS):
        raise Unavailable("Too many PDFs are being made at once: try again shortly.")
    try:
        return _set(msgspec.json.encode(content(document)), datetime.fromisoformat(document.issued_at))
    finally:
        _turn.release()


def _set(text: bytes, issued_at: datetime) -> bytes:
    """In a process of its own, without the environment, which holds secrets."""
    program = [sys.executable, "-I", str(PROGRAM), str(TEMPLATE), str(int(issued_at.timestamp()))]
    try:
        done = subprocess.run(program, input=text, capture_output=True, timeout=SECONDS, env={}, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        log.warning("pdf_took_too_long", size=len(text))
        raise Unavailable("The PDF took too long to make: try again later, or choose csv or json.") from None
    if done.returncode != 0:
        raise RuntimeError(f"typst failed: {done.stderr.decode(errors='replace')[-1000:]}")
    return done.stdout


def content(document: InvoiceDocument) -> dict[str, Any]:
    """What the template shows: texts and formatted numbers."""
    issued_at = datetime.fromisoformat(document.issued_at)
    facts = [("Number", document.reference), ("Issued", _day(issued_at))]
    if document.corrects is not None:
        facts.append(("Corrects", reference("invoice", document.corrects)))
    facts += [("Month", f"{months.parse(document.month):%B %Y}"), ("Plan", document.plan)]
    is_invoice = document.kind == "invoice"
    return {
        "title": "Invoice" if is_invoice else "Credit note",
        "reference": document.reference,
        "seller": document.seller.splitlines() or [""],
        "bill_to": _printable(document.bill_to),
        "facts": facts,
        "groups": list(_groups(document)),
        "total_label": "Total" if is_invoice else "Credited",
        "total": _grouped(abs(Decimal(document.total_usd)), 2),
        "notes": [document.rounding_rule, *NOTES] if is_invoice else [],
    }


def _groups(document: InvoiceDocument) -> Iterator[dict[str, Any]]:
    """Amounts have as many decimals as the one that needs most."""
    places = max([2, *(len(usd(Decimal(line.amount_usd)).partition(".")[2]) for line in document.lines)])
    for group in _GROUPS:
        lines = [line for line in document.lines if line.kind in group.kinds]
        if lines:
            amounts = [Decimal(line.amount_usd) for line in lines]
            yield {
                "title": group.title,
                "columns": [*(name for name, _ in group.columns), "Amount, USD"],
                "rows": [
                    {
                        "text": _text(line),
                        "note": _note(line, months.parse(document.month)),
                        "cells": [*(cell(line) for _, cell in group.columns), _grouped(amount, places)],
                    }
                    for line, amount in zip(lines, amounts, strict=True)
                ],
                "subtotal": _grouped(sum(amounts, Decimal(0)), places) if len(lines) > 1 else "",
            }


def _text(line: InvoiceLine) -> str:
    if line.api_key is None:
        return _printable(line.description)
    return _printable(line.api_key.name or "A deleted API key")


def _printable(text: str) -> str:
    """Control characters show as spaces: typst leaves some of them out."""
    return _CONTROL.sub(" ", text)


def _note(line: InvoiceLine, month: date) -> str:
    """The API key's id, and the days where they are not the whole month."""
    parts = [line.api_key.id] if line.api_key else []
    if line.first_day is not None and line.last_day is not None:
        first, last = date.fromisoformat(line.first_day), date.fromisoformat(line.last_day)
        if (first, last + DAY) != (month, months.following(month)):
            parts.append(f"{first.day} to {_day(last)}")
    return ", ".join(parts)


def _day(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def _hits(line: InvoiceLine) -> str:
    return "" if line.hits is None else _grouped(Decimal(line.hits), 0)


def _quantity(line: InvoiceLine) -> str:
    return "" if line.quantity is None else _grouped(Decimal(line.quantity), PLACES[line.unit or "credit"])


def _unit_price(line: InvoiceLine) -> str:
    return line.unit_price_usd or ""


def _grouped(number: Decimal, places: int) -> str:
    """With separators of thousands, and a minus sign that is one."""
    return f"{number:,.{places}f}".replace("-", "−")


_GROUPS = (
    _Group(
        "Cache hits",
        ("cache_hits", "covered_credits", "owed_credits"),
        (("Hits", _hits), ("Credits", _quantity), ("USD a credit", _unit_price)),
    ),
    _Group("Storage", ("storage", "free_storage"), (("GB-months", _quantity), ("USD a GB-month", _unit_price))),
    _Group("Credit", ("credit_note",), ()),
)
