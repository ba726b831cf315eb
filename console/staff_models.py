"""Tables as Django's admin can show them, which wants a primary key of one column.

Nothing is written through these: what operators may change goes through the same functions as everywhere.
"""

from django.db import models

from accounts.models import Tenant


class AuditRecord(models.Model):
    """The audit log. Ids are random, and so are each one event's."""

    id = models.BigIntegerField(primary_key=True)
    tenant_id = models.BigIntegerField()
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    address = models.CharField(max_length=45)
    action = models.CharField(max_length=50)
    target = models.CharField(max_length=200)
    details = models.JSONField()

    class Meta:
        managed = False
        db_table = "audit_event"
        verbose_name = "audit event"

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.target}"


class Grant(models.Model):
    """The credit ledger. Ids are random, as above."""

    id = models.BigIntegerField(primary_key=True)
    tenant = models.ForeignKey(Tenant, models.DO_NOTHING, related_name="+")
    kind = models.CharField(max_length=12)
    units = models.BigIntegerField()
    idempotency_key = models.CharField(max_length=100)
    at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    note = models.CharField(max_length=200)

    class Meta:
        managed = False
        db_table = "credit_ledger"
        verbose_name = "ledger entry"
        verbose_name_plural = "credit ledger"

    def __str__(self) -> str:
        return f"{self.kind} of {self.units / 100:,.2f} credits"


class PlanTerms(models.Model):
    """The view `staff_plan`: plans, with code and day in one column."""

    id = models.CharField(max_length=40, primary_key=True)
    code = models.CharField(max_length=20)
    valid_from = models.DateField()
    prepaid = models.BooleanField()
    monthly_grant = models.BigIntegerField()
    requests_per_minute = models.IntegerField(null=True)
    storage_quota = models.BigIntegerField(null=True)
    api_key_storage_quota = models.BigIntegerField(null=True)
    free_storage = models.BigIntegerField()

    class Meta:
        managed = False
        db_table = "staff_plan"
        verbose_name = "plan"

    def __str__(self) -> str:
        return f"{self.code} from {self.valid_from}"


class PriceTerms(models.Model):
    """The view `staff_price`: prices, likewise."""

    id = models.CharField(max_length=40, primary_key=True)
    code = models.CharField(max_length=20)
    valid_from = models.DateField()
    amount = models.DecimalField(max_digits=20, decimal_places=10)

    class Meta:
        managed = False
        db_table = "staff_price"
        verbose_name = "price"

    def __str__(self) -> str:
        return f"{self.code} from {self.valid_from}"
