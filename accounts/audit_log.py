"""Reading a tenant's audit log: newest first, by whom, about what and when, and what happened in words."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.models import Q, QuerySet

from accounts.models import AuditEvent

# What an action is about, by how its name begins. Whatever else there is counts as settings.
_PREFIXES = {
    "sign_ins": ("user.",),
    "team": ("member.", "invitation.", "tenant.transfer_ownership"),
    "api_keys": ("api_key.",),
    "entries": ("entry.", "entries."),
    "billing": ("credits.", "invoice.", "credit_note.", "tenant.change_plan"),
}
SETTINGS = "settings"
GROUPS = (*_PREFIXES, SETTINGS)

WORDS = {
    "api_key.create": "created an API key",
    "api_key.revoke": "revoked an API key",
    "api_key.rotate": "gave an API key a new secret",
    "api_key.set_limits": "changed an API key's limits",
    "api_key.update": "changed an API key",
    "budget.create": "set a budget",
    "budget.delete": "removed a budget",
    "budget.update": "changed a budget",
    "credit_note.issue": "issued a credit note",
    "credits.grant": "granted credits",
    "data_key.rotate": "made a new data key",
    "entries.delete": "deleted entries in bulk",
    "entry.delete": "deleted an entry",
    "entry.open": "opened an entry",
    "entry.update": "changed an entry",
    "invitation.accept": "accepted an invitation",
    "invitation.create": "invited somebody",
    "invitation.send_again": "sent an invitation again",
    "invitation.withdraw": "withdrew an invitation",
    "invoice.issue": "issued an invoice",
    "master_key.rotate": "changed the master key",
    "member.change_role": "changed a member's role",
    "member.leave": "left the tenant",
    "member.remove": "removed a member",
    "price.delete": "removed a model's price",
    "price.set": "set a model's price",
    "provider.create": "created a provider",
    "provider.delete": "deleted a provider",
    "provider.update": "changed a provider",
    "tenant.cancel_deletion": "took the deletion of the tenant back",
    "tenant.change_plan": "changed the plan",
    "tenant.create": "created the tenant",
    "tenant.delete": "deleted the tenant",
    "tenant.export": "exported the tenant's data",
    "tenant.rename": "renamed the tenant",
    "tenant.request_deletion": "asked for the deletion of the tenant",
    "tenant.set_alerts": "changed the alerts",
    "tenant.set_limits": "changed the tenant's limits",
    "tenant.set_ttls": "changed the default or the maximum TTL",
    "tenant.transfer_ownership": "handed the ownership over",
    "user.add_second_factor": "added a second factor",
    "user.change_email": "changed their e-mail address",
    "user.change_password": "changed their password",
    "user.fail_second_factor": "sent a wrong second factor",
    "user.fail_sign_in": "failed to sign in",
    "user.remove_second_factor": "removed a second factor",
    "user.renew_recovery_codes": "made new recovery codes",
    "user.reset_password": "reset their password",
    "user.sign_in": "signed in",
    "user.sign_out": "signed out",
    "webhook.remove": "removed the webhook",
    "webhook.rotate_secret": "gave the webhook a new secret",
    "webhook.set": "set the webhook",
}


class Filter(NamedTuple):
    """Which events: all that are left out do not matter."""

    actor: str = ""  # a part of their name
    group: str = ""  # one of GROUPS
    start: datetime | None = None
    end: datetime | None = None  # and not this moment itself


def words(action: str) -> str:
    """What was done, to be read after who did it."""
    return WORDS.get(action) or action.replace("_", " ").replace(".", ": ")


def read(tenant_id: int, wanted: Filter, before: AuditEvent | None, limit: int) -> Sequence[AuditEvent]:
    """Newest first: those behind `before`, which is the last one of the page before."""
    found = _matching(AuditEvent.objects.filter(tenant_id=tenant_id), wanted)
    if before is not None:
        # The first condition says nothing new, but lets the index on the time begin there.
        found = found.filter(Q(at__lte=before.at), Q(at__lt=before.at) | Q(id__lt=before.id))
    return list(found.order_by("-at", "-id")[:limit])


def event(tenant_id: int, id: int) -> AuditEvent | None:
    found: AuditEvent | None = AuditEvent.objects.filter(tenant_id=tenant_id, id=id).first()
    return found


def _matching(found: QuerySet[AuditEvent], wanted: Filter) -> QuerySet[AuditEvent]:
    if wanted.actor:
        found = found.filter(actor__icontains=wanted.actor)
    if wanted.group == SETTINGS:
        found = found.exclude(_begins(prefix for prefixes in _PREFIXES.values() for prefix in prefixes))
    elif wanted.group:
        found = found.filter(_begins(_PREFIXES[wanted.group]))
    if wanted.start is not None:
        found = found.filter(at__gte=wanted.start)
    return found if wanted.end is None else found.filter(at__lt=wanted.end)


def _begins(prefixes: Iterable[str]) -> Q:
    condition = Q()
    for prefix in prefixes:
        condition |= Q(action__startswith=prefix)
    return condition
