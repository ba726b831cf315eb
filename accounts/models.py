"""Tenants, their API keys and data keys, and the audit log.

`tenant_id` leads every primary key, so that the tables can be distributed by tenant.
"""

import secrets

from django.db import models
from django.utils import timezone

from accounts.append_only import AppendOnlyModel

# An API key's scopes, as bits in the order of the contract. The hot statements test the bit.
SCOPES = ("read", "write", "delete", "gateway", "admin")
SCOPE_BITS = {scope: 1 << position for position, scope in enumerate(SCOPES)}


def random_id() -> int:
    """A positive 63-bit id that nobody can enumerate; made by the process that inserts the row."""
    return secrets.randbits(62) + 1


class Tenant(models.Model):
    """A customer. Entries, keys and usage belong to exactly one."""

    id = models.BigIntegerField(primary_key=True, default=random_id)
    name = models.CharField(max_length=100, unique=True)
    # The version of the data key that seals new values. A writer checks it under this row's lock.
    data_key_version = models.IntegerField(default=1)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "tenant"

    def __str__(self) -> str:
        return self.name


class APIKey(models.Model):
    """A tenant's API key: SHA-256 digests of its secrets, never the secrets."""

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="api_keys", db_index=False)
    id = models.BigIntegerField(default=random_id)
    name = models.CharField(max_length=100)
    scopes = models.SmallIntegerField()
    digest = models.BinaryField(max_length=32)
    # After a rotation the former secret works until the overlap ends.
    previous_digest = models.BinaryField(max_length=32, null=True)
    previous_expires_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)
    # Limits of its own; null is the plan's, and for credits none.
    requests_per_minute = models.IntegerField(null=True)
    storage_quota = models.BigIntegerField(null=True)  # bytes
    credit_limit = models.BigIntegerField(null=True)  # units a UTC month

    class Meta:
        db_table = "api_key"
        indexes = [models.Index(fields=["id"], name="api_key_id")]  # a token names its key by id alone

    def __str__(self) -> str:
        return f"{self.name} ({self.id})"

    @property
    def scope_names(self) -> list[str]:
        return [scope for scope, bit in SCOPE_BITS.items() if self.scopes & bit]


class DataKey(models.Model):
    """A version of the key that seals a tenant's values, wrapped by a master key."""

    pk = models.CompositePrimaryKey("tenant_id", "version")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="data_keys", db_index=False)
    version = models.IntegerField()
    wrapped = models.BinaryField(max_length=60)
    master_key_id = models.CharField(max_length=16)
    uses = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    # Set once it was replaced and no entry is sealed with it any more.
    retired_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "data_key"

    def __str__(self) -> str:
        return f"data key {self.version} of tenant {self.tenant_id}"


class AuditEvent(AppendOnlyModel):
    """Who did what to which key, tenant or setting, and when. Never changed, never deleted."""

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.BigIntegerField()  # 0: the service itself
    id = models.BigIntegerField(default=random_id)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=200)
    action = models.CharField(max_length=50)
    target = models.CharField(max_length=200)
    details = models.JSONField(default=dict)

    class Meta:
        db_table = "audit_event"
        indexes = [models.Index(fields=["tenant_id", "at"], name="audit_event_at")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%SZ} {self.actor} {self.action} {self.target}"
