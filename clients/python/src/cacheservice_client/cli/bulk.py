"""The commands for many entries: import, export."""

import asyncio
import os
import signal
import stat
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Annotated, Any, BinaryIO, TextIO

import typer

from cacheservice_client.cli import exits, exporting, importing, lines, output, progress
from cacheservice_client.cli.entries import PrefixFilter, TagFilter
from cacheservice_client.cli.service import AsyncService
from cacheservice_client.errors import CacheError

Connections = Annotated[int, typer.Option("--connections", "-c", min=1, max=64, help="Requests at once.")]

SECONDS_TO_END = 3  # after Ctrl-C


def import_(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON Lines, or - for stdin.", show_default=False)],
    resume: Annotated[
        Path | None, typer.Option(metavar="STATEFILE", help="Keep here how far it has come, and go on from there.")
    ] = None,
    connections: Connections = 8,
) -> None:
    """Store the entries of a JSON Lines file.

    On each line: {"key", "value" or "value_base64" and "content_type", "ttl" or "expires_at", "tags", "cost"}. Values
    are stored byte for byte. Lines that are wrong are reported with their numbers, and the others stored: exit code 6.
    """
    state, report = importing.State(resume), importing.Report()
    began_at, before = monotonic(), state.position.lines

    async def run(source: BinaryIO, tell: progress.Bar) -> None:
        service = AsyncService()
        try:
            await importing.Importer(service, connections, state, report, tell).run(importing.lines_of(source.fileno()))
        finally:
            await service.close()

    with _source(file) as source, progress.bar("Import", _size(source)) as tell:
        ended = _ended(run(source, tell))
    seconds = monotonic() - began_at
    expired = f", {report.expired:,} had expired" if report.expired else ""
    resumed = f", {before:,} lines done before" if before else ""
    output.note(
        f"{report.stored:,} stored, {report.failed:,} lines failed{expired}{resumed}: "
        f"{seconds:.1f} s, {report.stored / seconds:,.0f}/s"
    )
    if ended is not None:
        how = f"run it again with --resume {resume}" if resume else "with --resume STATEFILE another run goes on"
        output.note(f"All of the first {state.position.lines:,} lines are done: {how}")
        raise ended
    if report.failed:
        raise typer.Exit(exits.PARTIAL)


def export(
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="Where to; stdout if not given.")] = "-",
    prefix: PrefixFilter = None,
    tag: TagFilter = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on behind the last whole line of FILE.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    connections: Connections = 8,
) -> None:
    """Write entries as JSON Lines, in the order of their keys, as `import` takes them. Reading them costs hits."""
    if resume and (file == "-" or force):
        raise exits.Failure("--resume goes on with a FILE, and not with --force")
    report = exporting.Report()
    service = AsyncService()  # before the file is opened: it is left alone where nobody is logged in
    began_at = monotonic()

    async def run(write: Callable[[bytes], None], tell: progress.Bar, after: str | None) -> None:
        try:
            await exporting.Exporter(service, connections, report, write, tell).run(tag or [], prefix, after)
        finally:
            await service.close()

    with progress.bar("Export", count=True, hidden=file == "-" and not _keeps(sys.stdout)) as tell:
        if file == "-":
            ended = _ended(run(output.write, tell, None))
        else:
            with _target(Path(file), resume, force) as (target, after):
                ended = _ended(run(lambda content: _write(target, content), tell, after))
                if ended is None:
                    _write(target, b"")
    gone = f", {report.gone:,} were gone meanwhile" if report.gone else ""
    skipped = f", {report.skipped:,} passed over" if report.skipped else ""
    seconds = monotonic() - began_at
    output.note(f"{report.written:,} written{gone}{skipped}: {seconds:.1f} s, {report.written / seconds:,.0f}/s")
    if ended is not None:
        if file != "-":
            output.note(f"{file} has whole lines only: --resume goes on behind them")
        raise ended


def _ended(work: Coroutine[Any, Any, None]) -> Exception | None:
    """Run it; what ended it before its time."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    try:
        asyncio.run(work)
    except (CacheError, exits.Failure) as error:
        return error
    except KeyboardInterrupt:
        return exits.Failure("interrupted", exits.INTERRUPTED)
    finally:
        signal.signal(signal.SIGINT, before)
        if hasattr(signal, "alarm"):
            signal.alarm(0)
    return None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """At once: asyncio's own handler would only ask for it, and a read of stdin that waits would not hear it.

    What has to end first may wait for stdin once more: then the process goes without it.
    """
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGALRM, _give_up)
        signal.alarm(SECONDS_TO_END)
    raise KeyboardInterrupt


def _give_up(_signal: int, _frame: FrameType | None) -> None:
    os.write(2, b"cachectl: interrupted\n")
    os._exit(exits.INTERRUPTED)


def _keeps(stream: TextIO) -> bool:
    """Whether what is written goes to a file; else it may come to the terminal, where a bar would stand in it."""
    return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    try:
        with nullcontext(sys.stdin.buffer) if file == "-" else open(file, "rb") as source:
            yield source
    except OSError as error:
        raise exits.Failure(f"cannot read {file}: {error.strerror}") from None


def _size(source: BinaryIO) -> int | None:
    size = os.fstat(source.fileno()).st_size
    return size or None  # a pipe has none


@contextmanager
def _target(path: Path, resume: bool, force: bool) -> Iterator[tuple[BinaryIO, str | None]]:
    """The file to write to, and the last key that is in it."""
    try:
        if resume and path.exists():
            with path.open("r+b") as file:
                after = _last_key(file)
                yield file, after
        else:
            with path.open("xb" if not force else "r+b" if path.is_file() else "wb") as file:
                yield file, None
    except FileExistsError:
        raise exits.Failure(f"{path} exists: --resume goes on behind its last line, --force overwrites it") from None
    except OSError as error:
        raise exits.Failure(f"cannot write {path}: {error.strerror}") from None


def _last_key(file: BinaryIO) -> str | None:
    """The key of the last whole line, behind which the file then ends."""
    last, end = b"", 0
    for text in file:
        if not text.endswith(b"\n"):
            break
        last = text
        end += len(text)
    try:
        key = lines.parse(last, 0).key if last else None
    except ValueError as error:
        raise exits.Failure(f"{file.name} is no export to go on with: its last line: {error}") from None
    file.seek(end)
    file.truncate()
    return key


def _write(file: BinaryIO, content: bytes) -> None:
    if file.seekable() and not file.tell():
        file.truncate()  # what --force overwrites: not before there is something to put in its place
    file.write(content)
    file.flush()
