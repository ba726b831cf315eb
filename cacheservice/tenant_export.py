"""Everything that the service has of a tenant, as files of JSON Lines: what it may take along, and what it may ask for.

Secrets are left out: of API keys, of providers, of the webhook; so is what only the service itself needs. All of it is
as it was at one instant. Rows come through cursors of the server's, so memory does not grow with their number; the
transaction lasts as long as the export.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
from django.db import models, transaction

from accounts import audit, tokens
from accounts.models import APIKey, AuditEvent, Invitation, Membership, Tenant
from billing.models import Account, Invoice, LedgerEntry, Receipt, TagUsage, UsageRollup
from billing.reconciliation import snapshot
from cacheservice.entries.export import Entries
from cacheservice.entries.models import Space
from console.models import Alert, AlertSettings
from gateway.models import Budget, BudgetDay, ModelPrice, Provider, SpendDay, SpendEvent

PAGE = 500
# What is secret, and what only rollups need. Which tenant it is, no row says.
LEFT_OUT: dict[type[models.Model], set[str]] = {
    APIKey: {"digest", "previous_digest"},
    Receipt: {"versions", "folded", "day"},
}

Progress = Callable[[str, int], None]

# Each file's rows. What a receipt says that is in no rollup yet is usage too.
PARTS: dict[str, type[models.Model]] = {
    "account": Account,
    "members": Membership,
    "invitations": Invitation,
    "api_keys": APIKey,
    "usage": UsageRollup,
    "usage_not_rolled_up": Receipt,
    "tag_usage": TagUsage,
    "credit_ledger": LedgerEntry,
    "invoices": Invoice,
    "alert_settings": AlertSettings,
    "alerts": Alert,
    "audit_log": AuditEvent,
    "providers": Provider,
    "model_prices": ModelPrice,
    "budgets": Budget,
    "budget_days": BudgetDay,
    "spend_events": SpendEvent,
    "spend_days": SpendDay,
}


def export_tenant(
    tenant: Tenant, directory: Path, actor: str, *, values: bool, progress: Progress | None = None
) -> tuple[int, int]:
    """Write it into files of a new directory that nobody else can read; how many entries are in them, and how many are
    left out because their value does not open. Without `values` entries are told of, and not what is in them.

    Raises OSError where it cannot be written: the directory must not exist, or be empty. In the audit log it stands
    beforehand, so that no export goes without.
    """
    directory.mkdir(mode=0o700, parents=False, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError(17, "it is not empty", str(directory))
    directory.chmod(0o700)
    with transaction.atomic():
        audit.record(tenant.id, actor, "tenant.export", tenant.name, values=values)
    written = unopenable = 0
    with snapshot():
        tenant.refresh_from_db()
        _write(directory / "tenant.jsonl", iter([_encoded(_row(tenant, "name", "created_at", "deletion_at"))]), None)
        for name, model in PARTS.items():
            _write(directory / f"{name}.jsonl", _rows(model, tenant.id), progress)
        for name, space in (("entries", Space.TENANT), ("gateway_answers", Space.GATEWAY)):
            found = Entries(tenant, space, values=values)
            written += _write(directory / f"{name}.jsonl", iter(found), progress)
            unopenable += found.unopenable
    return written, unopenable


def _write(path: Path, lines: Iterator[bytes], progress: Progress | None) -> int:
    count = 0
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        for count, line in enumerate(lines, start=1):
            file.write(line + b"\n")
            if progress is not None and count % PAGE == 0:
                progress(path.name, count)
    return count


def _rows(model: type[models.Model], tenant_id: int) -> Iterator[bytes]:
    rows = model._default_manager.filter(tenant_id=tenant_id)
    if model is Receipt:
        rows = rows.filter(folded=False)
    names = [field.attname for field in model._meta.local_concrete_fields]
    wanted = [name for name in names if name not in {"tenant_id"} | LEFT_OUT.get(model, set())]
    if model is Membership:
        wanted.append("user__email")
    for row in rows.values(*wanted).iterator(chunk_size=PAGE):
        yield _encoded(row)


def _row(tenant: Tenant, *names: str) -> dict[str, Any]:
    return {name: getattr(tenant, name) for name in names}


def _encoded(row: dict[str, Any]) -> bytes:
    """Ids as the API has them, decimals as strings, times in UTC."""
    shown = {
        name: tokens.encode_id(content) if isinstance(content, int) and name.rpartition("_")[2] == "id" else content
        for name, content in row.items()
    }
    return msgspec.json.encode(shown)
