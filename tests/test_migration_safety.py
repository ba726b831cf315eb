"""Each migration after the first release can be applied while the version before runs."""

from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import connection, models
from django.db.migrations import Migration, operations
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.operations.base import Operation

from cacheservice.migration_safety import problems
from tests.processes import ROOT

# The first release: the latest of each app. What came before it needs no judgement.
RELEASED = {"accounts": "0006", "billing": "0004", "entries": "0007", "console": "0004", "gateway": "0002"}
RELEASED |= {"cacheservice": "0000"}
INDEX = models.Index(fields=["id"], name="x")


def test_every_app_of_ours_is_looked_at() -> None:
    ours = [app for app in apps.get_app_configs() if ROOT in Path(app.path).parents and ".venv" not in app.path]
    with_migrations = {app.label for app in ours if (Path(app.path) / "migrations").exists()}
    assert with_migrations == RELEASED.keys()


def test_migrations_since_the_first_release_are_safe_for_the_version_before() -> None:
    loader = MigrationLoader(connection)
    later = [
        migration
        for (app, name), migration in sorted(loader.disk_migrations.items())
        if app in RELEASED and name[:4] > RELEASED[app]
    ]
    assert problems(later) == []


def judged(operation: Operation, old_code: str = "") -> list[str]:
    """The problems of a migration of one operation."""
    members = {"operations": [operation], **({"old_code": old_code} if old_code else {})}
    return problems([type("Migration", (Migration,), members)("0042_test", "billing")])


@pytest.mark.parametrize(
    "operation",
    [
        operations.CreateModel("Thing", [("id", models.BigIntegerField(primary_key=True))]),
        operations.AddField("Receipt", "note", models.TextField(null=True)),
        operations.AddField("Receipt", "note", models.TextField(db_default="")),
        operations.AddIndex("Plan", INDEX),
        AddIndexConcurrently("Receipt", INDEX),
        operations.SeparateDatabaseAndState([], [operations.DeleteModel("Thing")]),
    ],
    ids=lambda operation: type(operation).__name__,
)
def test_what_only_adds_is_safe(operation: Operation) -> None:
    assert judged(operation) == []


@pytest.mark.parametrize(
    ("operation", "why"),
    [
        (operations.AddField("Receipt", "note", models.TextField(default="")), "db_default"),
        (operations.RemoveField("Receipt", "note"), "a version later"),
        (operations.RenameField("Receipt", "note", "remark"), "a version later"),
        (operations.AlterField("Receipt", "note", models.TextField()), "a version later"),
        (operations.DeleteModel("Receipt"), "a version later"),
        (operations.AddIndex("Receipt", INDEX), "concurrently"),
        (operations.RunSQL("drop table receipt"), "old_code"),
        (operations.RunPython(operations.RunPython.noop), "old_code"),
        (operations.SeparateDatabaseAndState([operations.RunSQL("select 1")], []), "old_code"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_the_old_code_may_rely_on_is_named(operation: Operation, why: str) -> None:
    [problem] = judged(operation)
    assert problem.startswith("billing.0042_test: ")
    assert why in problem
    assert judged(operation, "nobody reads it") == []
