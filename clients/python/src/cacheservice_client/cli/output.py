"""Everything that is printed: results on stdout, the rest on stderr; colour only where a person looks on."""

import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO

import typer

from cacheservice_client.cli import exits

_BOLD = "\x1b[1m{}\x1b[0m"


def write(content: bytes) -> None:
    """Bytes to stdout as they are. When nobody reads them any more, the program ends without a word."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        _forget_stdout()
        raise typer.Exit(exits.BROKEN_PIPE) from None
    except OSError as error:
        _forget_stdout()
        raise exits.Failure(f"cannot write to stdout: {error.strerror}") from None


def _forget_stdout() -> None:
    """So that the flush at the interpreter's end has nothing to complain of."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def line(text: str) -> None:
    write(text.encode("utf-8", "backslashreplace") + b"\n")


def note(text: str) -> None:
    """For the person, not for the pipe. Always one line."""
    print(shown(text), file=sys.stderr)  # noqa: T201


def table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> None:
    """Columns under a header; those of the indices in `right` are flush right."""
    from rich.cells import cell_len  # here, since few commands want it

    cells = [list(header), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    texts = []
    for row in cells:
        spaces = [" " * (width - cell_len(cell)) for cell, width in zip(row, widths, strict=True)]
        padded = [
            space + cell if index in right else cell + space
            for index, (cell, space) in enumerate(zip(row, spaces, strict=True))
        ]
        texts.append("  ".join(padded).rstrip())
    if coloured(sys.stdout):
        texts[0] = _BOLD.format(texts[0])
    line("\n".join(texts))


def coloured(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def shown(text: str) -> str:
    """The text on one line, without characters that would steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode() for c in text)


def size(count: int) -> str:
    """Bytes in the service's units: kB is 10^3."""
    if count < 1000:
        return f"{count} B"
    amount = float(count)
    for unit in ("kB", "MB", "GB"):
        amount /= 1000
        if amount < 999.95:
            return f"{amount:.1f} {unit}"
    return f"{amount / 1000:.1f} TB"


def time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%SZ")
