"""Secrets of tenants that the service needs in clear, such as the one that signs webhooks: sealed at rest."""

from django.utils import timezone

from accounts import keyring
from accounts.keyring import MasterKeys, WrappedKey
from accounts.models import TenantSecret


def put(tenant_id: int, name: str, secret: bytes) -> None:
    """Keep it, in place of a former one of that name. Raises keyring.MasterKeyUnavailable."""
    key = keyring.load().seal_secret(secret, tenant_id, name)
    TenantSecret.objects.update_or_create(
        tenant_id=tenant_id,
        name=name,
        defaults={"sealed": key.wrapped, "master_key_id": key.master_key_id, "created_at": timezone.now()},
    )


def get(tenant_id: int, name: str) -> bytes | None:
    """The secret in clear, or None. Raises keyring.CannotUnwrap, keyring.MasterKeyUnavailable, and ImproperlyConfigured
    without master keys."""
    row = TenantSecret.objects.filter(tenant_id=tenant_id, name=name).first()
    return None if row is None else keyring.load().open_secret(_wrapped(row), tenant_id, name)


def reseal(master_keys: MasterKeys) -> int:
    """Seal every secret with the newest master key; returns how many it was new to. Safe to stop and repeat."""
    count = 0
    for row in TenantSecret.objects.exclude(master_key_id=master_keys.current).iterator():
        key = master_keys.seal_secret(
            master_keys.open_secret(_wrapped(row), row.tenant_id, row.name), row.tenant_id, row.name
        )
        # One conditional UPDATE: a secret that was replaced meanwhile stays.
        former = TenantSecret.objects.filter(
            tenant_id=row.tenant_id, name=row.name, master_key_id=row.master_key_id, created_at=row.created_at
        )
        count += former.update(sealed=key.wrapped, master_key_id=key.master_key_id)
    return count


def _wrapped(row: TenantSecret) -> WrappedKey:
    return WrappedKey(bytes(row.sealed), row.master_key_id)
