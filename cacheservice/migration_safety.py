"""Whether code of the version before can go on while and after a migration is applied: expand, then contract.

Known by its kind is what only adds. `RunSQL` and `RunPython` may do anything: the migration's author says why the old
code can live with them, in an attribute of its class, `old_code = "…"`, which speaks for the whole migration.
"""

from collections.abc import Iterable, Iterator

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import models
from django.db.migrations import Migration, operations
from django.db.migrations.operations.base import Operation

# The tables that grow with use: what locks them for long holds up requests.
LARGE = {"entry", "entrystats", "tombstone", "receipt", "usagerollup", "tagusage", "ledgerentry", "auditevent"}
LARGE |= {"spendevent", "spendday"}
# What adds something that the old code does not ask for, or takes away what no code can notice.
HARMLESS = (
    operations.CreateModel,
    operations.AlterModelOptions,
    operations.AlterModelManagers,
    operations.AlterModelTableComment,
    operations.RemoveConstraint,
    operations.RenameIndex,
    AddIndexConcurrently,
    RemoveIndexConcurrently,
)


def problems(migrations: Iterable[Migration]) -> list[str]:
    """A line for each step that the version before may not survive, or that nobody has judged."""
    return [
        f"{migration.app_label}.{migration.name}: {problem}"
        for migration in migrations
        if not getattr(migration, "old_code", "")
        for operation in migration.operations
        for problem in _of(operation)
    ]


def _of(operation: Operation) -> Iterator[str]:
    if isinstance(operation, HARMLESS):
        return
    if isinstance(operation, operations.SeparateDatabaseAndState):
        for each in operation.database_operations:
            yield from _of(each)
    elif isinstance(operation, operations.AddField):
        if _is_required(operation.field):
            yield f"{_said(operation)}: the old code does not fill it; make it null, or give it a db_default"
    elif isinstance(operation, operations.AddIndex | operations.RemoveIndex):
        if operation.model_name_lower in LARGE:
            yield f"{_said(operation)}: writers wait meanwhile; do it concurrently, in a migration that is not atomic"
    elif isinstance(operation, operations.RunSQL | operations.RunPython):
        yield f"{_said(operation)}: say in the migration, as old_code, why the old code can live with it"
    else:
        yield f"{_said(operation)}: the old code may rely on what was; do it a version later, and say so as old_code"


def _is_required(field: "models.Field[object, object]") -> bool:
    """Whether an INSERT that does not name the column fails."""
    many = isinstance(field, models.ManyToManyField)  # a table of its own
    return not many and not field.null and not field.has_db_default()


def _said(operation: Operation) -> str:
    return operation.describe().partition("\n")[0][:120]
