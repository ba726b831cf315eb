"""What the settings page changes. Each stands in the audit log, in the same transaction."""

from collections.abc import Sequence
from typing import Any

from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Tenant, TenantSecret
from console import webhooks
from console.models import AlertSettings


def rename(tenant: Tenant, name: str, actor: str) -> None:
    """Raises ValueError where another tenant has the name."""
    former = tenant.name
    if name == former:
        return
    try:
        with transaction.atomic():
            Tenant.objects.filter(pk=tenant.pk).update(name=name)
            audit.record(tenant.id, actor, "tenant.rename", name, former=former)
    except IntegrityError:
        raise ValueError("name: another tenant has it already; choose another one.") from None
    tenant.name = name


@transaction.atomic
def set_alerts(
    tenant: Tenant,
    *,
    storage_percent: int,
    low_balance: int | None,  # units; None: not told
    month_credits: int | None,  # likewise
    emails: Sequence[str],
    actor: str,
) -> None:
    values: dict[str, Any] = {
        "storage_percent": storage_percent,
        "low_balance": low_balance,
        "month_credits": month_credits,
        "emails": list(emails),
    }
    AlertSettings.objects.update_or_create(tenant=tenant, defaults=values)
    audit.record(tenant.id, actor, "tenant.set_alerts", tenant.name, **values)


@transaction.atomic
def set_webhook(tenant: Tenant, url: str, actor: str) -> str | None:
    """Its signing secret where it is new, to be shown now; another URL keeps the secret. No URL: no webhook."""
    AlertSettings.objects.update_or_create(tenant=tenant, defaults={"webhook_url": url})
    secrets = TenantSecret.objects.filter(tenant=tenant, name=webhooks.SECRET_NAME)
    audit.record(tenant.id, actor, "webhook.set" if url else "webhook.remove", _without_query(url) or tenant.name)
    if not url:
        secrets.delete()
    return webhooks.new_secret(tenant.id) if url and not secrets.exists() else None


@transaction.atomic
def rotate_webhook_secret(tenant: Tenant, actor: str) -> str:
    """A new signing secret, to be shown now; the former one signs nothing from the commit on."""
    secret = webhooks.new_secret(tenant.id)
    audit.record(tenant.id, actor, "webhook.rotate_secret", tenant.name)
    return secret


def _without_query(url: str) -> str:
    """For the audit log: a query may hold a token of the receiver's."""
    return url.partition("?")[0][:200]
