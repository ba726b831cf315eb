"""What tenants used and owe.

Money: 1 unit is 0.01 credit, and units are integers; USD are decimals. Where integrals are taken, time is microseconds
since 1970, so that byte-seconds are exact. The gathered statements (`entries/sql.py`) write what happened as receipts;
`entries/rollup.py` folds those into `UsageRollup`.
"""

from datetime import date
from typing import Final

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from accounts.append_only import AppendOnlyModel
from accounts.models import Tenant, random_id

UNDATED: Final = date(1970, 1, 1)  # the day of receipts whose writer knew of no days


class Plan(models.Model):
    """The terms of a plan from the UTC day `valid_from` on, until the next row of its code. Null: no limit."""

    pk = models.CompositePrimaryKey("code", "valid_from")
    code = models.CharField(max_length=20)
    valid_from = models.DateField()
    prepaid = models.BooleanField()
    monthly_grant = models.BigIntegerField()  # units
    requests_per_minute = models.IntegerField(null=True)  # of each API key
    storage_quota = models.BigIntegerField(null=True)  # bytes, of the tenant
    api_key_storage_quota = models.BigIntegerField(null=True)  # bytes, of each API key
    free_storage = models.BigIntegerField()  # bytes that an invoice takes off the tenant's month

    class Meta:
        db_table = "plan"

    def __str__(self) -> str:
        return f"{self.code} from {self.valid_from}"


class Price(models.Model):
    """What something costs from the UTC day `valid_from` on, until the next row of its code."""

    CACHE_HIT = "cache_hit"  # units a hit, a whole number
    CREDIT = "credit"  # USD a credit
    STORAGE = "storage"  # USD a GB-month

    pk = models.CompositePrimaryKey("code", "valid_from")
    code = models.CharField(max_length=20)
    valid_from = models.DateField()
    amount = models.DecimalField(max_digits=20, decimal_places=10)

    class Meta:
        db_table = "price"

    def __str__(self) -> str:
        return f"{self.code} {self.amount.normalize()} from {self.valid_from}"


class Account(models.Model):
    """A tenant's plan, limits of its own (null: the plan's), and credit balance.

    The balance is Σ ledger − Σ charges at any time; below zero is what a postpaid tenant owes.
    """

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True)
    plan = models.CharField(max_length=20)
    balance = models.BigIntegerField(db_default=0)  # units
    requests_per_minute = models.IntegerField(null=True)  # of each API key
    storage_quota = models.BigIntegerField(null=True)  # bytes
    api_key_storage_quota = models.BigIntegerField(null=True)  # bytes
    # Seconds; null: 604,800 and 31,536,000. The default is never above the maximum.
    default_ttl = models.IntegerField(null=True)
    max_ttl = models.IntegerField(null=True)
    # Signed up for by somebody whose e-mail address is not verified yet: until then its plan grants nothing.
    unverified = models.BooleanField(default=False, db_default=False)

    class Meta:
        db_table = "account"

    def __str__(self) -> str:
        return f"account of tenant {self.tenant_id}"


class LedgerEntry(AppendOnlyModel):
    """Credits given or taken otherwise than by use. The idempotency key makes a repeated grant one grant."""

    class Kind(models.TextChoices):
        PURCHASE = "purchase"
        MONTHLY = "monthly"
        PROMOTIONAL = "promotional"
        CORRECTION = "correction"
        INVOICE = "invoice"  # what a postpaid tenant owed, and an invoice now asks for

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.BigIntegerField()
    id = models.BigIntegerField(default=random_id)
    kind = models.CharField(max_length=12, choices=Kind)
    units = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=100)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=200)
    note = models.CharField(max_length=200, default="")

    class Meta:
        db_table = "credit_ledger"
        constraints = [models.UniqueConstraint(fields=["tenant_id", "idempotency_key"], name="credit_ledger_once")]

    def __str__(self) -> str:
        return f"{self.kind} of {self.units} units to tenant {self.tenant_id}"


class Counts(models.Model):
    """What receipts count and rollups add up.

    Storage is a sum of events, each of `delta` bytes at `t` microseconds since 1970: `storage_delta` is Σ delta,
    `storage_moment` Σ delta · t. The integral of the bytes until T is then storage_delta · T − storage_moment, whatever
    the order in which the events were booked.
    """

    hits = models.BigIntegerField(db_default=0)
    misses = models.BigIntegerField(db_default=0)
    writes = models.BigIntegerField(db_default=0)  # values stored
    duplicates = models.BigIntegerField(db_default=0)  # of these, over a live entry
    deletes = models.BigIntegerField(db_default=0)  # live entries deleted
    units = models.BigIntegerField(db_default=0)  # charged
    saved = models.DecimalField(max_digits=38, decimal_places=9, db_default=0)  # USD: the cost of what was hit
    storage_delta = models.BigIntegerField(db_default=0)
    storage_moment = models.DecimalField(max_digits=40, decimal_places=0, db_default=0)

    class Meta:
        abstract = True


class Receipt(Counts):
    """What one round trip did for one API key: append-only, its id made by the server process.

    A refund is a receipt of negative counts; one of no counts keeps a lost round trip from committing later. `id_day`
    is the id's, by which the table is partitioned (receipt_days.py); `at` is when what it counts happened.
    """

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.BigIntegerField()
    id = models.BigIntegerField()
    api_key_id = models.BigIntegerField()
    at = models.DateTimeField()
    versions = ArrayField(models.BigIntegerField(), null=True)  # of the entries hit, one for each hit
    folded = models.BooleanField(db_default=False)  # added to the rollups
    id_day = models.DateField(db_default=UNDATED)

    class Meta:
        db_table = "receipt"
        indexes = [
            models.Index(fields=["tenant_id"], name="receipt_not_folded", condition=Q(folded=False)),
        ]

    def __str__(self) -> str:
        return f"receipt {self.id} of tenant {self.tenant_id}"


class UsageRollup(Counts):
    """The receipts of an API key added up over a UTC hour, day or month that starts at `start`."""

    class Period(models.IntegerChoices):
        HOUR = 0
        DAY = 1
        MONTH = 2

    pk = models.CompositePrimaryKey("tenant_id", "period", "api_key_id", "start")
    tenant_id = models.BigIntegerField()
    period = models.SmallIntegerField(choices=Period)
    api_key_id = models.BigIntegerField()
    start = models.DateTimeField()

    class Meta:
        db_table = "usage_rollup"

    def __str__(self) -> str:
        return f"usage of API key {self.api_key_id} from {self.start}"


class TagUsage(models.Model):
    """Hits of entries with a tag over a UTC day, and what they saved. A hit counts to each tag of its entry."""

    pk = models.CompositePrimaryKey("tenant_id", "day", "tag")
    tenant_id = models.BigIntegerField()
    day = models.DateField()
    tag = models.TextField(db_collation="C")
    hits = models.BigIntegerField()
    saved = models.DecimalField(max_digits=38, decimal_places=9)

    class Meta:
        db_table = "tag_usage"

    def __str__(self) -> str:
        return f"tag {self.tag} on {self.day}"


class RateWindow(models.Model):
    """How many requests an API key has made in its latest minute. Only keys with a rate limit have one."""

    pk = models.CompositePrimaryKey("tenant_id", "api_key_id")
    tenant_id = models.BigIntegerField()
    api_key_id = models.BigIntegerField()
    minute = models.IntegerField()  # since 1970
    used = models.IntegerField()

    class Meta:
        db_table = "rate_window"

    def __str__(self) -> str:
        return f"rate window of API key {self.api_key_id}"


class CreditWindow(models.Model):
    """What an API key was charged in its latest UTC month. Every key with a credit limit has one."""

    pk = models.CompositePrimaryKey("tenant_id", "api_key_id")
    tenant_id = models.BigIntegerField()
    api_key_id = models.BigIntegerField()
    month = models.IntegerField()  # since 1970
    units = models.BigIntegerField()

    class Meta:
        db_table = "credit_window"

    def __str__(self) -> str:
        return f"credit window of API key {self.api_key_id}"


class StorageMeter(models.Model):
    """The bytes that an API key's entries hold, and their moment (see Counts); API key 0 is the whole tenant.

    Written under the tenant's lock only. An expired entry counts until it is booked, which the purge does.
    """

    pk = models.CompositePrimaryKey("tenant_id", "api_key_id")
    tenant_id = models.BigIntegerField()
    api_key_id = models.BigIntegerField()
    bytes = models.BigIntegerField()
    moment = models.DecimalField(max_digits=40, decimal_places=0)

    class Meta:
        db_table = "storage_meter"

    def __str__(self) -> str:
        return f"{self.bytes} bytes of API key {self.api_key_id}"


class Invoice(AppendOnlyModel):
    """What a tenant owes for a UTC month, or a credit note that takes some of it back. Never changed.

    `document` holds its lines and names as `billing/invoices.py` made them, so that it reads the same for ever.
    """

    class Kind(models.TextChoices):
        INVOICE = "invoice"
        CREDIT_NOTE = "credit_note"

    pk = models.CompositePrimaryKey("tenant_id", "number")
    tenant_id = models.BigIntegerField()
    number = models.IntegerField()  # 1, 2, … a tenant, without gaps
    kind = models.CharField(max_length=12, choices=Kind)
    month = models.DateField()  # its first day
    corrects = models.IntegerField(null=True)  # a credit note's invoice
    issued_at = models.DateTimeField(default=timezone.now)
    plan = models.CharField(max_length=20)
    document = models.JSONField()
    total = models.DecimalField(max_digits=14, decimal_places=2)  # USD

    class Meta:
        db_table = "invoice"
        constraints = [
            models.UniqueConstraint(fields=["tenant_id", "month"], condition=Q(kind="invoice"), name="invoice_once")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.number} of tenant {self.tenant_id}"
