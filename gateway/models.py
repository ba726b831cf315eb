"""The tables of the gateway. `tenant_id` leads every primary key. The hot ones are written through `sql.py` only."""

from typing import Any

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.models import random_id


def _usd(*, null: bool = False) -> "models.DecimalField[Any, Any]":
    return models.DecimalField(max_digits=18, decimal_places=9, null=null)


class Kind(models.TextChoices):
    """Whose wire format a provider speaks: how credentials are sent, errors look, and prices are found."""

    OPENAI = "openai", "OpenAI"
    ANTHROPIC = "anthropic", "Anthropic"
    OTHER = "other", "Other"


class Provider(models.Model):
    """An upstream of a tenant. Its credential is a `TenantSecret`: see providers.py."""

    pk = models.CompositePrimaryKey("tenant_id", "name")
    tenant_id = models.BigIntegerField()
    name = models.TextField()
    kind = models.TextField(choices=Kind.choices)
    base_url = models.TextField()
    # The header that takes the credential: `authorization` (as `Bearer …`) or another one (as it is).
    credential_header = models.TextField()
    policy = models.JSONField(default=dict)  # policy.Policy without its defaults
    fallbacks = ArrayField(models.TextField(), default=list)  # names of providers to try, in this order
    created_at = models.DateTimeField(default=timezone.now)
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "gateway_provider"

    def __str__(self) -> str:
        return f"provider {self.name} of tenant {self.tenant_id}"


class ModelPrice(models.Model):
    """What a tenant says a model costs in USD; it goes before the public price list. Null: not priced by that."""

    pk = models.CompositePrimaryKey("tenant_id", "provider", "model")
    tenant_id = models.BigIntegerField()
    provider = models.TextField()
    model = models.TextField()
    input_per_million = _usd(null=True)
    cached_input_per_million = _usd(null=True)  # null: as input
    output_per_million = _usd(null=True)
    per_call = _usd(null=True)
    per_image = _usd(null=True)
    per_second = _usd(null=True)  # of the upstream's time
    updated_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "gateway_price"

    def __str__(self) -> str:
        return f"price of {self.model} at {self.provider} of tenant {self.tenant_id}"


class Budget(models.Model):
    """A hard limit on what a tenant spends in a UTC day: of one API key or all (null), of one model or all ('')."""

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.BigIntegerField()
    id = models.BigIntegerField(default=random_id)
    api_key_id = models.BigIntegerField(null=True)
    model = models.TextField(default="", blank=True)
    usd_per_day = _usd()
    alert_percent = models.SmallIntegerField(default=80)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "gateway_budget"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant_id", "api_key_id", "model"], name="gateway_budget_once", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"budget {self.id} of tenant {self.tenant_id}"


class BudgetDay(models.Model):
    """What counts against a budget in a UTC day: settled costs and the worst cases of calls under way."""

    pk = models.CompositePrimaryKey("tenant_id", "budget_id", "day")
    tenant_id = models.BigIntegerField()
    budget_id = models.BigIntegerField()
    day = models.DateField()
    used = _usd()

    class Meta:
        db_table = "gateway_budget_day"

    def __str__(self) -> str:
        return f"{self.day} of budget {self.budget_id} of tenant {self.tenant_id}"


class CacheStatus(models.IntegerChoices):
    """What the cache did for a request: `X-Cache`."""

    HIT = 1, "HIT"
    MISS = 2, "MISS"
    BYPASS = 3, "BYPASS"
    COALESCED = 4, "COALESCED"
    REFRESH = 5, "REFRESH"


class SpendState(models.IntegerChoices):
    """What is known of a request's cost."""

    RESERVED = 1, "under way"  # cost is the worst case
    SETTLED = 2, "settled"
    UNKNOWN = 3, "unknown"  # how it ended nobody knows: cost is the worst case, and counts as spent


class SpendEvent(models.Model):
    """One request to the gateway, and what it cost and saved in USD. Null: its price is not known."""

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.BigIntegerField()
    id = models.BigIntegerField()
    at = models.DateTimeField()
    provider = models.TextField()
    model = models.TextField()
    user = models.TextField()
    api_key_id = models.BigIntegerField()
    cache = models.SmallIntegerField(choices=CacheStatus.choices)
    state = models.SmallIntegerField(choices=SpendState.choices)
    status = models.SmallIntegerField()  # of the HTTP answer; 0: none yet
    input_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()  # of the input: those the provider had in a cache of its own
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()  # of the output
    cost = _usd(null=True)
    saved = _usd(null=True)
    fingerprint = models.BinaryField()  # SHA-256 of the request; empty where it has none
    prompt = models.TextField(null=True)  # noqa: DJ001  null: the policy does not keep it
    request_id = models.TextField()

    class Meta:
        db_table = "gateway_spend_event"
        indexes = [
            models.Index(fields=["tenant_id", "at"], name="gateway_spend_event_at"),
            models.Index(fields=["at"], condition=models.Q(state=SpendState.RESERVED), name="gateway_spend_event_open"),
        ]

    def __str__(self) -> str:
        return f"spend event {self.id} of tenant {self.tenant_id}"


class SpendDay(models.Model):
    """The events of a UTC day summed up, which outlive them."""

    pk = models.CompositePrimaryKey("tenant_id", "day", "provider", "model", "user", "api_key_id", "cache")
    tenant_id = models.BigIntegerField()
    day = models.DateField()
    provider = models.TextField()
    model = models.TextField()
    user = models.TextField()
    api_key_id = models.BigIntegerField()
    cache = models.SmallIntegerField(choices=CacheStatus.choices)
    requests = models.BigIntegerField()
    unpriced = models.BigIntegerField()  # of them: those whose cost or saving is not known
    input_tokens = models.BigIntegerField()
    cached_tokens = models.BigIntegerField()
    output_tokens = models.BigIntegerField()
    reasoning_tokens = models.BigIntegerField()
    cost = models.DecimalField(max_digits=24, decimal_places=9)
    saved = models.DecimalField(max_digits=24, decimal_places=9)

    class Meta:
        db_table = "gateway_spend_day"

    def __str__(self) -> str:
        return f"{self.day} of tenant {self.tenant_id}"
