"""Who acts, as the audit log names them, and whom they act on, as commands name them."""

import getpass

from django.core.management.base import CommandError

from accounts import tokens
from accounts.models import APIKey, Tenant


def operator() -> str:
    """The person at the command line."""
    try:
        return f"operator {getpass.getuser()}"
    except (KeyError, OSError):  # a container's user without a name
        return "operator"


def tenant_named(name: str) -> Tenant:
    """Raises CommandError with the names there are."""
    try:
        return Tenant.objects.get(name=name)
    except Tenant.DoesNotExist:
        names = ", ".join(Tenant.objects.order_by("name").values_list("name", flat=True)[:20]) or "none yet"
        raise CommandError(f"tenant: there is no '{name}'. Tenants: {names}.") from None


def api_key_with_id(text: str) -> APIKey:
    """Raises CommandError for an id that no key has."""
    try:
        return APIKey.objects.select_related("tenant").get(id=tokens.decode_id(text), internal=False)
    except (ValueError, APIKey.DoesNotExist):
        raise CommandError(f"id: no API key has the id '{text}'; 'manage.py list_api_keys' shows them.") from None
