"""Everything of the embedded database into the one that DATABASE_URL names: how a trial becomes an installation.

Table by table by COPY, in one transaction of the target and at one instant of the source; so versions of PostgreSQL may
differ, no rights of a superuser are needed, and what fails leaves the target as it was. Both must have the same
migrations, and the target no tenants. Memory does not grow with the tables.
"""

from collections.abc import Callable
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

import psycopg
from psycopg.sql import SQL, Identifier

from cacheservice.embedded import Server
from cacheservice.supervisor import only_run

MIGRATIONS: Final = "select app, name from django_migrations order by app, name"
NOT_COPIED = {"django_migrations"}  # which the target has of its own

# Tables without their partitions, which are reached through them.
TABLES: Final = """
select relname from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition order by relname
"""
# Days of receipts that stand alone (billing/receipt_days.py): the target has none of them yet.
DETACHED_DAYS: Final = """
select relname from pg_class
where relnamespace = 'public'::regnamespace and relkind = 'r' and not relispartition and relname ~ '^receipt_[0-9]{8}$'
"""
COLUMNS: Final = """
select attname from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped and attgenerated = '' order by attnum
"""
FOREIGN_KEYS: Final = """
select conrelid::regclass::text, confrelid::regclass::text from pg_constraint
where contype = 'f' and connamespace = 'public'::regnamespace and conrelid <> confrelid and conparentid = 0
"""
# Numbers that columns take from sequences go on behind the highest that there is.
SEQUENCES: Final = """
select c.relname, a.attname, pg_get_serial_sequence(c.relname, a.attname)
from pg_class c join pg_attribute a on a.attrelid = c.oid
where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and a.attnum > 0 and not a.attisdropped
  and pg_get_serial_sequence(c.relname, a.attname) is not null
"""

Progress = Callable[[str, int], None]
Connection = psycopg.Connection[tuple[object, ...]]


class CannotCopy(Exception):
    """The two databases are not such that one can become the other; nothing was changed."""


def copy_embedded(var_dir: Path, target_dsn: str, progress: Progress | None = None) -> int:
    """From the embedded database under `var_dir`, which must not run; how many rows. Raises CannotCopy, EmbeddedError,
    supervisor.Failed when `manage.py up` runs there, and psycopg.Error when the target refuses."""
    if not (var_dir / "postgres").exists():
        raise CannotCopy(f"there is no embedded database in {var_dir}: CACHE_VAR_DIR names the directory")
    with (
        only_run(var_dir / "up.lock"),
        Server(var_dir) as server,
        psycopg.connect(server.dsn()) as source,
        psycopg.connect(target_dsn) as target,
    ):
        source.execute("set transaction isolation level repeatable read, read only")
        return _copy(source, target, progress)


def _copy(source: Connection, target: Connection, progress: Progress | None) -> int:
    if source.execute(MIGRATIONS).fetchall() != target.execute(MIGRATIONS).fetchall():
        raise CannotCopy(
            "the databases have not the same migrations: start the embedded one once with this version (make run), and "
            "run 'manage.py migrate' for the other"
        )
    if target.execute("select 1 from tenant limit 1").fetchone():
        raise CannotCopy("the database of DATABASE_URL has tenants already: give an empty one")
    for (day,) in source.execute(DETACHED_DAYS):
        make = SQL("create table {} (like receipt including defaults, primary key (tenant_id, id))")
        target.execute(make.format(Identifier(str(day))))
    tables = _in_order(source)
    # What its migrations put there, such as plans and prices, comes from the source. Tables that are never deleted from
    # are empty still, and their owner has no right to: so nothing is asked of them.
    for table in reversed(tables):
        if target.execute(SQL("select 1 from {} limit 1").format(Identifier(table))).fetchone():
            target.execute(SQL("delete from {}").format(Identifier(table)))
    total = 0
    for table in tables:
        count = _copy_table(source, target, table)
        total += count
        if progress is not None:
            progress(table, count)
    for of_table, column, sequence in target.execute(SEQUENCES).fetchall():
        highest = SQL("select setval(%s, coalesce(max({}), 0) + 1, false) from {}")
        target.execute(highest.format(Identifier(str(column)), Identifier(str(of_table))), [sequence])
    return total


def _in_order(source: Connection) -> list[str]:
    """Each table after those that it refers to."""
    after: dict[str, set[str]] = {str(name): set() for (name,) in source.execute(TABLES) if name not in NOT_COPIED}
    for table, referred in source.execute(FOREIGN_KEYS):
        after[str(table)].add(str(referred))
    return list(TopologicalSorter(after).static_order())


def _copy_table(source: Connection, target: Connection, table: str) -> int:
    columns = SQL(", ").join(Identifier(str(name)) for (name,) in source.execute(COLUMNS, [table]))
    name = Identifier(table)
    with (
        source.cursor().copy(SQL("copy (select {} from {}) to stdout").format(columns, name)) as rows,
        (into := target.cursor()).copy(SQL("copy {} ({}) from stdin").format(name, columns)) as copy,
    ):
        for block in rows:
            copy.write(block)
    return into.rowcount
