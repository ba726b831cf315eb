"""CSV answers."""

import csv
import io
from collections.abc import Iterable, Sequence

from cacheservice.http import Answer, Header

VARY: Header = (b"vary", b"Accept")  # on the JSON that could have been CSV too
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # what spreadsheets compute


def answer(name: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Answer:
    """A CSV document (RFC 4180, UTF-8) with a header line, to be saved as `name`. None is an empty field."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(columns)
    writer.writerows(rows)
    headers = (
        (b"content-type", b"text/csv; charset=utf-8"),
        (b"content-disposition", f'attachment; filename="{name}"'.encode()),
        VARY,
    )
    return Answer(200, headers, text.getvalue().encode())


def plain(text: str) -> str:
    """Text that somebody else chose, with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if text.startswith(_FORMULA) else text
