"""The tables of entries. Everything on them but their migrations goes through `sql.py`."""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.db.models import Q


class Space(models.IntegerChoices):
    """Whose keys: the tenant's own, or those that the gateway makes, which no API key can write to."""

    TENANT = 0
    GATEWAY = 1


class Entry(models.Model):
    """A cached value, sealed."""

    pk = models.CompositePrimaryKey("tenant_id", "space", "key")
    tenant_id = models.BigIntegerField()
    space = models.SmallIntegerField(choices=Space.choices)
    key = models.TextField(db_collation="C")  # bytes in order: keyset pages and prefixes are index ranges
    value = models.BinaryField()  # sealed; STORAGE EXTERNAL, for it is compressed and encrypted already
    data_key_version = models.IntegerField()
    size = models.IntegerField()  # of the value as sent, in bytes: what quota and billing count
    content_type = models.TextField(null=True)  # noqa: DJ001  null is JSON, which most are
    tags = ArrayField(models.TextField(), default=list)
    cost = models.DecimalField(max_digits=18, decimal_places=9, null=True)  # USD that producing the value took
    version = models.BigIntegerField()  # random 64 bits: the ETag
    api_key_id = models.BigIntegerField()  # who wrote it
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()

    class Meta:
        db_table = "entry"
        indexes = [
            models.Index(fields=["tenant_id", "expires_at"], name="entry_expires_at"),
            models.Index(fields=["tenant_id", "version"], name="entry_version"),  # receipts name entries by it
            # Entries without tags stay out of it, so that writing them does not pay for it.
            GinIndex(fields=["tenant_id", "tags"], name="entry_tags", condition=~Q(tags=[])),
        ]

    def __str__(self) -> str:
        return f"{self.key} of tenant {self.tenant_id}"


class Lease(models.Model):
    """Who may fill a missing entry, until when. Unlogged (see the migration): what a crash loses is only the turn.

    A lease that was given up or voided has token 0; the row stays while somebody may wait.
    """

    pk = models.CompositePrimaryKey("tenant_id", "space", "key")
    tenant_id = models.BigIntegerField()
    space = models.SmallIntegerField(choices=Space.choices)
    key = models.TextField(db_collation="C")
    token = models.BigIntegerField()
    expires_at = models.DateTimeField()
    waited = models.BooleanField(default=False)  # somebody waits for its end, and is to be notified

    class Meta:
        db_table = "lease"

    def __str__(self) -> str:
        return f"lease of {self.key}"


class EntryStats(models.Model):
    """How often a version of an entry was hit, and what that saved; made when its first hit is folded."""

    pk = models.CompositePrimaryKey("tenant_id", "version")
    tenant_id = models.BigIntegerField()
    version = models.BigIntegerField()
    hits = models.BigIntegerField()
    last_hit_at = models.DateTimeField()
    saved = models.DecimalField(max_digits=38, decimal_places=9, db_default=0)  # USD: the entry's cost, each hit

    class Meta:
        db_table = "entry_stats"
        indexes = [  # for the most hit entries, and those that saved most
            models.Index(fields=["tenant_id", "-hits", "version"], name="entry_stats_hits", condition=Q(hits__gt=0)),
            models.Index(fields=["tenant_id", "-saved", "version"], name="entry_stats_saved", condition=Q(saved__gt=0)),
        ]

    def __str__(self) -> str:
        return f"hits of version {self.version}"


class Tombstone(models.Model):
    """The tags of a version that is gone, until every hit on it is folded: those hits count to its tags."""

    pk = models.CompositePrimaryKey("tenant_id", "version")
    tenant_id = models.BigIntegerField()
    version = models.BigIntegerField()
    tags = ArrayField(models.TextField())
    cost = models.DecimalField(max_digits=18, decimal_places=9, null=True)
    at = models.DateTimeField()

    class Meta:
        db_table = "entry_tombstone"

    def __str__(self) -> str:
        return f"tombstone of version {self.version}"


class UnopenableEntry(models.Model):
    """A version of an entry whose value did not open. Forgotten once the version is gone."""

    pk = models.CompositePrimaryKey("tenant_id", "version")
    tenant_id = models.BigIntegerField()
    version = models.BigIntegerField()
    at = models.DateTimeField()  # when that was first noticed

    class Meta:
        db_table = "unopenable_entry"

    def __str__(self) -> str:
        return f"version {self.version} of tenant {self.tenant_id}"
