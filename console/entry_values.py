"""How a value is shown: pretty-printed, as text or as bytes, never as what it may claim to be.

A picture is an `<img>` of the page; everything else that leaves here is a download, in a sandbox of its own.
"""

import re
from itertools import accumulate
from typing import NamedTuple

import msgspec
from django.http import HttpResponse

from cacheservice.entries.browsing import Viewed

SHOWN_BYTES = 256 * 1024  # of a value that is text
DUMPED_BYTES = 1024  # of one that is not
DUMP_WIDTH = 16  # bytes on a line
INDENT_BYTES = 1024 * 1024  # that pretty-printing may add: a deep value would become far larger than it is
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")  # SVG is a document that may hold scripts
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"')
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_OF_TEXT = bytes(set(range(32)) - set(b"\t\n\f\r"))


class Shown(NamedTuple):
    """A value as text of a page."""

    kind: str  # JSON, text or bytes
    text: str
    bytes: int  # of the value, how many the text shows


def media_type(content_type: str | None) -> str:
    """Without parameters, in lower case."""
    return (content_type or "application/json").partition(";")[0].strip().lower()


def is_picture(content_type: str | None) -> bool:
    return media_type(content_type) in PICTURES


def shown(value: bytes, content_type: str | None) -> Shown:
    head = value[:SHOWN_BYTES]
    if content_type is None:
        return Shown("JSON", head.decode(errors="ignore") if len(head) < len(value) else _pretty(value), len(head))
    if head.translate(None, _NOT_OF_TEXT) != head:
        return _dump(value)
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if len(head) == len(value) or error.start < len(head) - 3:  # else a character was cut
            return _dump(value)
        text = head.decode(errors="ignore")
    return Shown("text", text, len(head))


def download(entry: Viewed, value: bytes) -> HttpResponse:
    """The bytes, for an `<img>` or as an attachment: no browser sniffs, renders or runs them."""
    kind = media_type(entry.content_type)
    if kind in PICTURES:
        response, disposition = HttpResponse(value, content_type=kind), "inline"
    else:
        ending = {"application/json": "json", "text/plain": "txt"}.get(kind, "bin")
        response = HttpResponse(value, content_type="application/octet-stream")
        disposition = f'attachment; filename="value.{ending}"'
    response["Content-Disposition"] = disposition
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _pretty(value: bytes) -> str:
    """JSON with indents; numbers and strings stay as they are."""
    structure = _STRING.sub(b"", value)
    steps = [1 if bracket in b"[{" else -1 for bracket in structure.translate(None, _NO_BRACKETS)]
    lines = structure.count(b",") + len(steps)
    if lines * 2 * max(accumulate(steps), default=0) > INDENT_BYTES:
        return value.decode()
    return msgspec.json.format(value, indent=2).decode()


def _dump(value: bytes) -> Shown:
    """Lines of offset, bytes in hexadecimal, and those of them that are ASCII."""
    head = value[:DUMPED_BYTES]
    lines = []
    for offset in range(0, len(head), DUMP_WIDTH):
        part = head[offset : offset + DUMP_WIDTH]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{offset:08x}  {part.hex(' '):<{3 * DUMP_WIDTH}} {text}")
    return Shown("bytes", "\n".join(lines), len(head))
