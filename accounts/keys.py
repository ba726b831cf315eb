"""Creating, rotating and revoking tenants' keys. Each change stands in the audit log, in the same transaction."""

import re
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from accounts import audit, keyring, networks, sealed, second_factors, tokens
from accounts.models import SCOPE_BITS, APIKey, DataKey, Tenant
from accounts.unchanged import UNCHANGED, Unchanged

LONGEST_NAME = 100  # characters of an API key's name
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")


@transaction.atomic
def add_tenant(name: str, actor: str) -> Tenant:
    """A tenant with its first data key; it needs an account too, which `billing.tenants.create_tenant` gives it.

    Raises IntegrityError when the name is taken.
    """
    tenant = Tenant.objects.create(name=name)
    _new_data_key(tenant.pk, tenant.data_key_version).save(force_insert=True)
    audit.record(tenant.id, actor, "tenant.create", name)
    return tenant


@transaction.atomic
def create_api_key(
    tenant: Tenant,
    *,
    name: str,
    scopes: list[str],
    actor: str,
    expires_at: datetime | None = None,
    allowed_networks: Sequence[str] | None = None,  # None: it may be used from everywhere
) -> tuple[APIKey, str]:
    """The new API key and its token, which is shown once.

    Raises ValueError, naming the field, for a name, scope or network that is not allowed, or a past expiry.
    """
    if expires_at is not None and expires_at <= timezone.now():
        raise ValueError("expires_at must be in the future")
    allowed = networks.checked(allowed_networks)
    api_key = APIKey(
        tenant=tenant,
        name=_checked_name(name),
        scopes=scope_mask(scopes),
        expires_at=expires_at,
        allowed_networks=allowed,
    )
    token = tokens.new_token(api_key.id)
    api_key.digest = tokens.digest(token.encode())
    api_key.save(force_insert=True)
    details: dict[str, Any] = {"name": name, "scopes": scopes}
    if allowed is not None:
        details["allowed_networks"] = allowed
    audit.record(tenant.id, actor, "api_key.create", tokens.encode_id(api_key.id), **details)
    return api_key, token


def internal_api_key(tenant: Tenant) -> APIKey:
    """The tenant's API key that nobody has a secret of: what its members do in the console is booked on it. Made when
    it is first asked for; whoever asks at the same time waits, and gets the same."""
    found: APIKey | None = APIKey.objects.filter(tenant=tenant, internal=True).first()
    return found or _make_internal_api_key(tenant)


@transaction.atomic
def _make_internal_api_key(tenant: Tenant) -> APIKey:
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant.pk)
    scopes = ["read", "write", "delete"]
    api_key, made = APIKey.objects.get_or_create(
        tenant=tenant,
        internal=True,
        # A digest that was drawn, not computed: of no secret.
        defaults={"name": "Console", "scopes": scope_mask(scopes), "digest": secrets.token_bytes(32)},
    )
    if made:
        key_id = tokens.encode_id(api_key.id)
        audit.record(tenant.id, "service", "api_key.create", key_id, name="Console", scopes=scopes)
    return api_key


@transaction.atomic
def update_api_key(
    api_key: APIKey,
    *,
    actor: str,
    name: str | None = None,  # None: as it is
    allowed_networks: Sequence[str] | Unchanged | None = UNCHANGED,  # None: it may be used from everywhere
) -> APIKey:
    """The API key with another name or allow-list, which holds everywhere from the commit on: statements read it.

    Raises ValueError, naming the field, for what is not allowed, and for a key that is revoked.
    """
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = _checked_name(name)
    if not isinstance(allowed_networks, Unchanged):
        changes["allowed_networks"] = networks.checked(allowed_networks)
    api_key = _locked(api_key)
    for field, value in changes.items():
        setattr(api_key, field, value)
    if changes:
        api_key.save(update_fields=list(changes))
        audit.record(api_key.tenant_id, actor, "api_key.update", tokens.encode_id(api_key.id), **changes)
    return api_key


@transaction.atomic
def rotate_api_key(api_key: APIKey, *, overlap: timedelta, actor: str) -> str:
    """A second secret for the same key; the former one works until the overlap ends. Returns the new token.

    Raises ValueError for a key that is revoked or has expired, for which no secret works.
    """
    api_key = _locked(api_key)
    if api_key.expires_at is not None and api_key.expires_at <= timezone.now():
        raise ValueError("this API key has expired; create a new one")
    token = tokens.new_token(api_key.id)
    api_key.previous_digest, api_key.previous_expires_at = api_key.digest, timezone.now() + overlap
    api_key.digest = tokens.digest(token.encode())
    api_key.save(update_fields=["digest", "previous_digest", "previous_expires_at"])
    key_id, seconds = tokens.encode_id(api_key.id), int(overlap.total_seconds())
    audit.record(api_key.tenant_id, actor, "api_key.rotate", key_id, overlap_seconds=seconds)
    return token


@transaction.atomic
def revoke_api_key(api_key: APIKey, actor: str) -> bool:
    """Refused everywhere from the commit on: every statement joins the key's row. False when it was revoked before."""
    revoked = APIKey.objects.filter(tenant_id=api_key.tenant_id, id=api_key.id, revoked_at=None).update(
        revoked_at=timezone.now()
    )
    if revoked:
        audit.record(api_key.tenant_id, actor, "api_key.revoke", tokens.encode_id(api_key.id))
    return bool(revoked)


def rotate_data_key(tenant: Tenant, actor: str) -> int:
    """New values are sealed with a new data key from the commit on; returns its version.

    Writers check the version under the tenant row's lock, which this takes too: once this commits, no write under
    the former version can. `entries.reseal` then re-seals the older values while both versions read. Wrapping may take
    seconds, for which no lock is held: the next version is guessed, and checked under the lock.
    """
    while True:
        version = Tenant.objects.values_list("data_key_version", flat=True).get(pk=tenant.pk) + 1
        key = _new_data_key(tenant.pk, version)
        with transaction.atomic():
            current = Tenant.objects.select_for_update().get(pk=tenant.pk)
            if current.data_key_version + 1 != version:  # rotated meanwhile
                continue
            current.data_key_version = version
            key.save(force_insert=True)
            current.save(update_fields=["data_key_version"])
            audit.record(current.pk, actor, "data_key.rotate", str(version))
            return version


def rotate_worn_data_keys(max_uses: int) -> int:
    """Rotate the data keys that have sealed `max_uses` values or more; returns how many tenants that concerned."""
    worn = Tenant.objects.filter(data_keys__version=F("data_key_version"), data_keys__uses__gte=max_uses)
    for tenant in worn:
        rotate_data_key(tenant, "service")
    return len(worn)


def rewrap_data_keys(actor: str) -> int:
    """Wrap every data key and all other secrets with the newest master key; returns how many it was new to.

    Safe to stop and repeat. Raises MasterKeyUnavailable where a key service stops answering; what is done is done.
    """
    master_keys = keyring.load()
    count = 0
    while stale := list(DataKey.objects.exclude(master_key_id=master_keys.current)[:500]):
        for data_key in stale:
            _rewrap(data_key, master_keys)
        count += len(stale)
    count += sealed.reseal(master_keys) + second_factors.reseal(master_keys)
    audit.record(audit.SERVICE, actor, "master_key.rotate", master_keys.current, rewrapped=count)
    return count


def scope_mask(scopes: list[str]) -> int:
    """The scopes as bits. Raises ValueError naming an unknown one, or when there is none."""
    unknown = [scope for scope in scopes if scope not in SCOPE_BITS]
    if unknown or not scopes:
        problem = f"unknown scope '{unknown[0]}'" if unknown else "no scope"
        raise ValueError(f"scopes: {problem}; choose from {', '.join(SCOPE_BITS)}")
    return sum(SCOPE_BITS[scope] for scope in set(scopes))


def _locked(api_key: APIKey) -> APIKey:
    """The row, to be changed. Raises ValueError when the key is revoked."""
    api_key = APIKey.objects.select_for_update(no_key=True).get(tenant_id=api_key.tenant_id, id=api_key.id)
    if api_key.revoked_at is not None:
        raise ValueError("this API key is revoked; create a new one")
    return api_key


def _checked_name(name: str) -> str:
    if not 1 <= len(name) <= LONGEST_NAME or _CONTROL.search(name):
        raise ValueError(f"name: give 1 to {LONGEST_NAME} characters, no control characters among them")
    return name


def _new_data_key(tenant_id: int, version: int) -> DataKey:
    """Not saved yet. Raises MasterKeyUnavailable."""
    key = keyring.load().wrap(keyring.new_data_key(), tenant_id, version)
    return DataKey(tenant_id=tenant_id, version=version, wrapped=key.wrapped, master_key_id=key.master_key_id)


def _rewrap(data_key: DataKey, master_keys: keyring.MasterKeys) -> None:
    """One conditional UPDATE, so that two rotations at once cannot overwrite each other."""
    tenant_id, version = data_key.tenant_id, data_key.version
    old = keyring.WrappedKey(bytes(data_key.wrapped), data_key.master_key_id)
    new = master_keys.wrap(master_keys.unwrap(old, tenant_id, version), tenant_id, version)
    DataKey.objects.filter(tenant_id=tenant_id, version=version, master_key_id=old.master_key_id).update(
        wrapped=new.wrapped, master_key_id=new.master_key_id
    )
