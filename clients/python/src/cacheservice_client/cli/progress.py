"""The progress bar on stderr, where that is a terminal."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from cacheservice_client.cli import output


class Bar(Protocol):
    def __call__(self, done: int, total: int | None = None) -> None: ...


@contextmanager
def bar(what: str, total: int | None = None, *, count: bool = False, hidden: bool = False) -> Iterator[Bar]:
    """Gives a function to tell how much is done in all: bytes, or with `count` entries, whose numbers are shown."""
    if hidden or not sys.stderr.isatty():
        yield _silent
        return
    from rich import progress  # takes as long to import as all commands together, and few of them want it
    from rich.console import Console

    if count:
        numbers = [progress.MofNCompleteColumn(), progress.TimeRemainingColumn()]
    elif total is not None:
        numbers = [progress.TaskProgressColumn(), progress.TimeRemainingColumn()]
    else:  # a pipe's: nobody knows what part of it that is
        numbers = [progress.FileSizeColumn(), progress.TimeElapsedColumn()]
    columns = (progress.TextColumn(what), progress.BarColumn(), *numbers)
    console = Console(stderr=True, no_color=not output.coloured(sys.stderr), highlight=False)
    with progress.Progress(*columns, console=console, transient=True) as shown:
        task = shown.add_task(what, total=total)

        def tell(done: int, total: int | None = None) -> None:
            shown.update(task, completed=done, total=total)

        yield tell


def _silent(done: int, total: int | None = None) -> None: ...
