"""What a tenant is told of by itself: when, where to, what stands now, and what was sent.

Credits are in units of 0.01.
"""

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from accounts import tokens
from accounts.models import Tenant, random_id

DEFAULT_STORAGE_PERCENT = 80
DEFAULT_LOW_BALANCE = 10_00  # units
MOST_EMAILS = 10


class AlertSettings(models.Model):
    """When and where to a tenant is told. A tenant without a row has the defaults."""

    tenant = models.OneToOneField(Tenant, models.CASCADE, primary_key=True, related_name="alert_settings")
    storage_percent = models.SmallIntegerField(
        default=DEFAULT_STORAGE_PERCENT, validators=[MinValueValidator(1), MaxValueValidator(100)]
    )  # of a storage quota
    low_balance = models.BigIntegerField(null=True, default=DEFAULT_LOW_BALANCE)  # units; null: not told
    month_credits = models.BigIntegerField(null=True)  # units charged in a UTC month; null: not told
    emails = ArrayField(models.EmailField(), default=list)  # none: the tenant's owners
    webhook_url = models.CharField(max_length=2000, default="")  # its secret: `accounts/sealed.py`

    class Meta:
        db_table = "alert_settings"

    def __str__(self) -> str:
        return f"alert settings of tenant {self.tenant_id}"


class Alert(models.Model):
    """Something that a tenant should look at, from when it was noticed until it is gone."""

    class Kind(models.TextChoices):
        STORAGE = "storage", "Storage"
        API_KEY_STORAGE = "api_key_storage", "Storage of an API key"
        LOW_BALANCE = "low_balance", "Low balance"
        MONTH_CREDITS = "month_credits", "Credits of the month"
        BUDGET = "budget", "Budget of the gateway"
        ENTRY = "entry", "An entry that does not open"

    class Level(models.TextChoices):
        WARN = "warn", "Warning"
        BAD = "bad", "Problem"

    id = models.BigIntegerField(primary_key=True, default=random_id)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="alerts", db_index=False)
    kind = models.CharField(max_length=16, choices=Kind)
    subject = models.CharField(max_length=40, default="")  # which API key or version; none: the tenant
    level = models.CharField(max_length=4, choices=Level)
    title = models.CharField(max_length=200)
    text = models.TextField()
    opened_at = models.DateTimeField(default=timezone.now)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "alert"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "kind", "subject"], condition=Q(closed_at=None), name="alert_open_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.title} (tenant {self.tenant_id})"

    @property
    def url(self) -> str:
        """The page of the console, without the host, that shows what this is about."""
        return reverse(f"console:{_PAGES[self.kind]}", kwargs={"tenant": tokens.encode_id(self.tenant_id)})


_PAGES: dict[str, str] = {
    Alert.Kind.STORAGE: "entries",
    Alert.Kind.API_KEY_STORAGE: "api-keys",
    Alert.Kind.LOW_BALANCE: "billing",
    Alert.Kind.MONTH_CREDITS: "usage",
    Alert.Kind.BUDGET: "gateway",
    Alert.Kind.ENTRY: "entries",
}


class Delivery(models.Model):
    """One message to one place, tried until it arrives or a day is over. Its id tells a receiver of repetitions."""

    class Channel(models.TextChoices):
        EMAIL = "email", "E-mail"
        WEBHOOK = "webhook", "Webhook"

    id = models.BigIntegerField(primary_key=True, default=random_id)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="deliveries", db_index=False)
    channel = models.CharField(max_length=7, choices=Channel)
    address = models.CharField(max_length=2000)  # an e-mail address, or the URL that was tried last
    event = models.CharField(max_length=40)  # alert.opened, …
    content = models.JSONField()  # an e-mail's `subject` and `text`; a webhook's `data`
    created_at = models.DateTimeField(default=timezone.now)
    attempts = models.SmallIntegerField(default=0)
    next_attempt_at = models.DateTimeField(null=True, default=timezone.now)  # null: it is over
    delivered_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=200, default="")  # of the latest attempt, for the tenant to read

    class Meta:
        db_table = "alert_delivery"
        indexes = [
            models.Index(fields=["next_attempt_at"], name="alert_delivery_due", condition=~Q(next_attempt_at=None)),
            models.Index(fields=["tenant", "-created_at"], name="alert_delivery_latest"),
        ]

    def __str__(self) -> str:
        return f"{self.event} to {self.channel} of tenant {self.tenant_id}"

    @property
    def state(self) -> str:
        if self.delivered_at is not None:
            return "delivered"
        return "failed" if self.next_attempt_at is None else "waiting" if self.attempts == 0 else "will be tried again"


from console.staff_models import AuditRecord, Grant, PlanTerms, PriceTerms  # noqa: E402, F401  # for Django to find
