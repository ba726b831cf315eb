"""What the console's forms do to API keys. The services check, lock and write the audit log."""

from typing import Any

from django.db import transaction

from accounts import keys
from accounts.models import APIKey, Tenant
from billing.limits import set_api_key_limits
from billing.models import Account
from billing.plans import plan_of
from console.api_key_forms import APIKeyForm, CreateForm, Defaults
from console.templatetags.console import size

LIMITS = ("requests_per_minute", "storage_quota", "credit_limit")


@transaction.atomic
def create(tenant: Tenant, form: CreateForm, actor: str) -> tuple[APIKey, str]:
    """The new key and its token, which is shown once. Raises ValueError."""
    values = form.values()
    limits = {name: values[name] for name in LIMITS if values[name] is not None}
    key, token = keys.create_api_key(
        tenant,
        name=values["name"],
        scopes=form.cleaned_data["scopes"],
        actor=actor,
        expires_at=form.cleaned_data["expires_at"],
        allowed_networks=values["allowed_networks"],
    )
    if limits:
        key = set_api_key_limits(key, **limits, actor=actor, by_tenant=True)
    return key, token


@transaction.atomic
def change(key: APIKey, form: APIKeyForm, actor: str) -> APIKey:
    """The key with what differs in the form, which alone the audit log names. Raises ValueError."""
    changed: dict[str, Any] = {name: value for name, value in form.values().items() if value != getattr(key, name)}
    limits = {name: changed.pop(name) for name in LIMITS if name in changed}
    if limits:  # first, for they lock the account before the key
        key = set_api_key_limits(key, **limits, actor=actor, by_tenant=True)
    return keys.update_api_key(key, **changed, actor=actor)


def defaults(tenant: Tenant) -> Defaults:
    """The limits of the tenant's keys that have none of their own."""
    account = Account.objects.get(tenant=tenant)
    plan = plan_of(account)
    requests = account.requests_per_minute or plan.requests_per_minute
    storage = account.api_key_storage_quota or plan.api_key_storage_quota
    return Defaults(
        requests=f"{requests:,}, as for every key" if requests else "no limit",
        storage=f"{size(storage)}, as for every key" if storage else "no quota of its own",
    )
