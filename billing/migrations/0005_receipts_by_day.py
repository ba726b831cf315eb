"""The receipts' table becomes one of partitions, a UTC day each. Its rows stay where they are.

The table of before is attached as one partition, of receipts without a day: nothing is copied. What reads it from end
to end (building an index is not needed, validating a constraint is) lets others read and write meanwhile; what keeps
them out is done with catalogues only and waits for its lock for a fifth of a second at a time. Each step may be
repeated where it was stopped.

Programs of the version before go on: what they insert has no day, and lands where the rows of before are.
"""

import datetime
import time

import psycopg
from django.db import OperationalError, migrations, models, transaction

from billing import receipt_days

ATTEMPTS, PAUSE_SECONDS = 300, 0.5

IS_PARTITIONED = "select relkind = 'p' from pg_class where oid = 'receipt'::regclass"

ADD_DAY = "alter table receipt add column if not exists id_day date not null default '1970-01-01'"
HAS_CHECK = "select exists (select from pg_constraint where conname = 'receipt_undated_day')"
ADD_CHECK = "alter table receipt add constraint receipt_undated_day check (id_day = '1970-01-01') not valid"
VALIDATE = "alter table receipt validate constraint receipt_undated_day"

# The check says what the partition's bounds ask, so that attaching need not look at the rows.
SWAP = (
    "alter table receipt rename to receipt_undated",
    "alter index receipt_pkey rename to receipt_undated_pkey",
    "alter index receipt_not_folded rename to receipt_undated_not_folded",
    "create table receipt (like receipt_undated including defaults) partition by range (id_day)",
    "create index receipt_not_folded on receipt (tenant_id) where not folded",
    "alter table receipt attach partition receipt_undated for values from ('1970-01-01') to ('1970-01-02')",
    "create table receipt_other partition of receipt (primary key (tenant_id, id)) default",
    "create index receipt_other_day on receipt_other (id_day)",
)

# Back: all that is attached is copied, and nobody can use it meanwhile. Detached days stay as they are.
SWAP_BACK = (
    "lock table receipt in access exclusive mode",
    "create table receipt_plain (like receipt including defaults)",
    "insert into receipt_plain select * from receipt",
    "drop table receipt",
    "alter table receipt_plain drop column id_day",
    "alter table receipt_plain add constraint receipt_pkey primary key (tenant_id, id)",
    "alter table receipt_plain rename to receipt",
    "create index receipt_not_folded on receipt (tenant_id) where not folded",
)


def _execute(schema_editor, *statements, lock_timeout="200ms"):
    """In a transaction; again where it had to wait for a lock for too long."""
    connection = schema_editor.connection
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
                cursor.execute("select set_config('lock_timeout', %s, true)", [lock_timeout])
                for statement in statements:
                    cursor.execute(statement)
            return
        except OperationalError as error:
            if attempt == ATTEMPTS - 1 or not isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                raise
            time.sleep(PAUSE_SECONDS)


def _is(schema_editor, question):
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(question)
        return cursor.fetchone()[0]


def partition(apps, schema_editor):
    if not _is(schema_editor, IS_PARTITIONED):
        _execute(schema_editor, ADD_DAY)
        if not _is(schema_editor, HAS_CHECK):
            _execute(schema_editor, ADD_CHECK)
        _execute(schema_editor, VALIDATE)
        _execute(schema_editor, *SWAP)
    receipt_days.make_ahead()


def join(apps, schema_editor):
    if _is(schema_editor, IS_PARTITIONED):
        _execute(schema_editor, *SWAP_BACK, lock_timeout="60s")


class Migration(migrations.Migration):
    atomic = False
    old_code = "what it inserts has no day, and lands in the partition of the rows of before"
    dependencies = [("billing", "0004_unverified")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AddField(
                    model_name="receipt",
                    name="id_day",
                    field=models.DateField(db_default=datetime.date(1970, 1, 1)),
                )
            ],
            database_operations=[migrations.RunPython(partition, join)],
        )
    ]
