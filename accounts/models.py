"""Tenants, their API keys and data keys, the people who look after them, and the audit log.

`tenant_id` leads every primary key, so that the tables can be distributed by tenant.
"""

import secrets
from typing import Any

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.models import PermissionsMixin
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.append_only import AppendOnlyModel
from accounts.networks import NetworkField
from accounts.policy import Role

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
    # From then on it may be deleted, as its owner asked (`cacheservice/tenant_deletion.py`); until then that can be
    # taken back.
    deletion_at = models.DateTimeField(null=True)

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
    # Nobody has its secret: what the tenant's members do in the console is booked on it. Not listed, not revoked.
    internal = models.BooleanField(default=False, db_default=False)
    # Limits of its own; null is the plan's, and for credits none.
    requests_per_minute = models.IntegerField(null=True)
    storage_quota = models.BigIntegerField(null=True)  # bytes
    credit_limit = models.BigIntegerField(null=True)  # units a UTC month
    # From where it may be used; null: from everywhere. Never empty.
    allowed_networks = ArrayField(NetworkField(), null=True)

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
    wrapped = models.BinaryField()
    master_key_id = models.CharField(max_length=16)
    uses = models.BigIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    # Set once it was replaced and no entry is sealed with it any more.
    retired_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "data_key"

    def __str__(self) -> str:
        return f"data key {self.version} of tenant {self.tenant_id}"


class TenantSecret(models.Model):
    """A secret that the service needs in clear on a tenant's behalf, sealed by a master key: `sealed.py`."""

    pk = models.CompositePrimaryKey("tenant_id", "name")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="secrets", db_index=False)
    name = models.CharField(max_length=40)
    sealed = models.BinaryField()
    master_key_id = models.CharField(max_length=16)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "tenant_secret"

    def __str__(self) -> str:
        return f"secret {self.name} of tenant {self.tenant_id}"


class UserManager(BaseUserManager["User"]):
    """Users by their e-mail address, which is kept in lower case."""

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        user = User(email=email.strip().lower(), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        return self.create_user(email, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """A person who signs in to the console. What they may do there, their memberships say; staff are operators."""

    id = models.BigIntegerField(primary_key=True, default=random_id)
    email = models.EmailField(unique=True)
    name = models.CharField(max_length=100, blank=True)
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField(default=False)
    date_joined = models.DateTimeField(default=timezone.now)

    objects = UserManager()
    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"

    class Meta:
        db_table = "user_account"

    def __str__(self) -> str:
        return self.email

    def get_full_name(self) -> str:
        return self.name or self.email

    def get_short_name(self) -> str:
        return self.name or self.email


class Membership(models.Model):
    """That a user belongs to a tenant, and as what. What a role may do: `policy.py`."""

    id = models.BigIntegerField(primary_key=True, default=random_id)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="memberships")
    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=[(role.value, role.label) for role in Role])
    joined_at = models.DateTimeField(default=timezone.now)

    class Meta:
        db_table = "membership"
        constraints = [models.UniqueConstraint(fields=["tenant", "user"], name="membership_once")]

    def __str__(self) -> str:
        return f"{self.user_id} is {self.role} of {self.tenant_id}"


class Invitation(models.Model):
    """To an e-mail address, to become a member. Its link is signed and expires; accepted or withdrawn, it is over."""

    id = models.BigIntegerField(primary_key=True, default=random_id)
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="invitations")
    email = models.EmailField()
    role = models.CharField(max_length=16, choices=[(role.value, role.label) for role in Role])
    invited_by = models.ForeignKey(User, models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    withdrawn_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "invitation"
        constraints = [
            models.UniqueConstraint(
                fields=["tenant", "email"],
                condition=models.Q(accepted_at=None, withdrawn_at=None),
                name="invitation_open_once",
            )
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.tenant_id} as {self.role}"


class AuditEvent(AppendOnlyModel):
    """Who did what to which key, tenant or setting, and when. Never changed, never deleted."""

    pk = models.CompositePrimaryKey("tenant_id", "id")
    tenant_id = models.BigIntegerField()  # 0: the service itself
    id = models.BigIntegerField(default=random_id)
    at = models.DateTimeField(default=timezone.now)
    actor = models.CharField(max_length=300)  # an e-mail address has 254
    address = models.CharField(max_length=45, default="", db_default="")  # the IP address they came from, if any
    action = models.CharField(max_length=50)
    target = models.CharField(max_length=200)
    details = models.JSONField(default=dict)

    class Meta:
        db_table = "audit_event"
        indexes = [models.Index(fields=["tenant_id", "at"], name="audit_event_at")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%dT%H:%M:%SZ} {self.actor} {self.action} {self.target}"
