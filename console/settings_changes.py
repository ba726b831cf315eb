"""What the settings page changes. Each stands in the audit log, in the same transaction."""

from collections.abc import Sequence
from typing import Any

from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction

from accounts import audit
from accounts.models import Tenant, TenantSecret, User
from accounts.team import AdminKey, NotAllowed
from console import alert_messages, email_addresses, webhooks
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
    acting: User | AdminKey,
) -> None:
    """Raises NotAllowed where who has no verified address of their own adds one that no member has verified either:
    nobody sends mails to strangers before it is known who they are.
    """
    if _strangers(tenant, emails):
        _require_verified(acting)
    values: dict[str, Any] = {
        "storage_percent": storage_percent,
        "low_balance": low_balance,
        "month_credits": month_credits,
        "emails": list(emails),
    }
    AlertSettings.objects.update_or_create(tenant=tenant, defaults=values)
    actor = acting.name if isinstance(acting, AdminKey) else acting.email
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


def _strangers(tenant: Tenant, emails: Sequence[str]) -> set[str]:
    """Those that are new and no member's."""
    members = EmailAddress.objects.filter(user__memberships__tenant=tenant, verified=True)
    known = [*alert_messages.settings_of(tenant.id).emails, *members.values_list("email", flat=True)]
    return {email.lower() for email in emails} - {email.lower() for email in known}


def _require_verified(acting: User | AdminKey) -> None:
    if isinstance(acting, AdminKey):
        if not acting.verified:
            raise NotAllowed("emails: first an owner has to verify their e-mail address, then add those of others.")
    elif not email_addresses.has_verified(acting):
        raise NotAllowed("emails: first verify your own e-mail address, then add those of others.")


def _without_query(url: str) -> str:
    """For the audit log: a query may hold a token of the receiver's."""
    return url.partition("?")[0][:200]
