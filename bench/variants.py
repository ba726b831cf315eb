"""`--variants`: the server's own settings against each other, to choose their defaults by."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial

from bench import wrk
from bench.service import Owner, Service, running_service
from bench.throughput import Row, Run, in_turn, say


@dataclass(frozen=True)
class Variant:
    """How it differs from what `manage.py up` starts."""

    name: str
    options: tuple[str, ...] = ()
    workers: int = 1
    environment: dict[str, str] = field(default_factory=dict)
    application: str | None = None


def _with_max_batch(size: int) -> Variant:
    return Variant(
        f"MAX_BATCH {size}", environment={"BENCH_MAX_BATCH": str(size)}, application="bench.tuned:application"
    )


VARIANTS = (
    Variant("as shipped"),
    Variant("--runtime-mode st", ("--runtime-mode", "st")),
    Variant("--runtime-mode mt", ("--runtime-mode", "mt")),
    Variant("--task-impl rust", ("--task-impl", "rust")),
    Variant("st and rust", ("--runtime-mode", "st", "--task-impl", "rust")),
    Variant("--workers 2", workers=2),
    _with_max_batch(32),
    _with_max_batch(128),
    Variant("1 database connection", environment={"CACHE_DATABASE_CONNECTIONS": "1"}),
    Variant("3 database connections", environment={"CACHE_DATABASE_CONNECTIONS": "3"}),
)


def measure(
    dsn: str, owner: Owner, *, connections: Sequence[int], seconds: float, rounds: int, entries: int
) -> list[Row]:
    """GET hits and PUTs of every variant in turn; a row's `what` is `hit` or `put` and the variant's name."""
    rows = []
    with ExitStack() as running:
        services = {variant.name: running.enter_context(_running(dsn, owner, variant)) for variant in VARIANTS}
        for what in ("hit", "put"):
            for count in connections:
                say(f"variants: {what} at {count} connections")
                kinds: dict[str, Run] = {
                    f"{what} {name}": partial(wrk.requests_of, each, what, count, seconds, entries)
                    for name, each in services.items()
                }
                rows += in_turn(kinds, count, rounds)
    return rows


def _running(dsn: str, owner: Owner, variant: Variant) -> AbstractContextManager[Service]:
    return running_service(
        dsn,
        owner,
        workers=variant.workers,
        options=variant.options,
        environment=variant.environment,
        application=variant.application,
    )
