"""Sealing older values anew after their tenant's data key was rotated, while both versions read.

A rotation and each write meet at the tenant's row lock, so once the rotation is committed no write under a former
version can be: one pass over the tenant's entries leaves none. Each entry is put in place by one conditional UPDATE:
what was written meanwhile stays. Safe to stop, to repeat and to run twice at once.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.db.models import F
from django.utils import timezone

from accounts import keyring
from accounts.models import DataKey, Tenant
from billing.rows import django_rows
from cacheservice.entries import crypto, sql

log = structlog.get_logger(__name__)

PAGE = 500

Progress = Callable[[int], None]


def reseal_all(seconds: float = math.inf, progress: Progress | None = None) -> int:
    """Re-seal the entries of every tenant that has a former data key still in use, for at most about `seconds`;
    returns how many. What is left, the next call finds."""
    deadline = time.monotonic() + seconds
    former = DataKey.objects.filter(retired_at=None, version__lt=F("tenant__data_key_version"))
    tenants = Tenant.objects.filter(id__in=former.values("tenant_id"))
    return sum(reseal(tenant, progress, deadline) for tenant in tenants if time.monotonic() < deadline)


def reseal(tenant: Tenant, progress: Progress | None = None, deadline: float = math.inf) -> int:
    """Re-seal what is not sealed with the tenant's current data key, then retire the former ones; returns how many.

    An entry that does not open stays as it is, with an alert, and keeps its data key from being retired.
    """
    tenant.refresh_from_db()
    ciphers = ciphers_of(tenant)
    count, space, key = 0, -1, ""
    while time.monotonic() < deadline and (
        rows := _rows(sql.STALE, tenant_id=tenant.id, space=space, key=key, limit=PAGE)
    ):
        for space, key, data_key_version, size, content_type, version in rows:
            identity = crypto.Identity(tenant.id, space, key, data_key_version, version, content_type)
            count += _reseal_one(identity, size, ciphers, tenant.data_key_version)
        if progress is not None:
            progress(count)
    tenant.data_keys.filter(version=tenant.data_key_version).update(uses=F("uses") + count)
    _retire_former(tenant)
    return count


def _reseal_one(identity: crypto.Identity, size: int, ciphers: dict[int, AESGCM], current: int) -> bool:
    place = {
        "tenant_id": identity.tenant_id,
        "space": identity.space,
        "key": identity.key,
        "version": identity.version,
    }
    found = _rows(sql.VALUE, **place)
    if not found:  # written, deleted or purged meanwhile
        return False
    sealed, sealed_with = found[0]
    if sealed_with >= current:  # re-sealed meanwhile, perhaps for a rotation that the next run deals with
        return False
    identity = identity._replace(data_key_version=sealed_with)
    try:
        value = crypto.open_sealed(ciphers[sealed_with], identity, bytes(sealed), size)
    except crypto.CannotOpen as error:
        log.critical("entry_does_not_open", tenant_id=identity.tenant_id, version=identity.version, reason=str(error))
        _rows(sql.NOTE_UNOPENABLE, tenant_id=identity.tenant_id, version=identity.version)
        return False
    fresh = crypto.seal(ciphers[current], identity._replace(data_key_version=current), value)
    return bool(_rows(sql.RESEAL, **place, value=fresh, data_key_version=current))


def ciphers_of(tenant: Tenant) -> dict[int, AESGCM]:
    """All of its data keys by their version."""
    master_keys = keyring.load()
    return {
        data_key.version: AESGCM(
            master_keys.unwrap(
                keyring.WrappedKey(bytes(data_key.wrapped), data_key.master_key_id), tenant.id, data_key.version
            )
        )
        for data_key in tenant.data_keys.all()
    }


def _retire_former(tenant: Tenant) -> None:
    former = DataKey.objects.filter(tenant=tenant, version__lt=tenant.data_key_version, retired_at=None)
    for data_key in former:
        ((in_use,),) = _rows(sql.SEALED_WITH, tenant_id=tenant.id, data_key_version=data_key.version)
        if not in_use:
            former.filter(version=data_key.version).update(retired_at=timezone.now())


def _rows(statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    return django_rows(statement, parameters)
