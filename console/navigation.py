"""What every page of the console shows around itself."""

from typing import Any, NamedTuple

from django.http import HttpRequest
from django.urls import reverse

from accounts import policy, tokens
from accounts.models import Membership
from accounts.policy import Permission


class Entry(NamedTuple):
    """A line of the navigation."""

    label: str
    icon: str  # of `console/icons.svg`
    view: str
    permission: Permission


NAVIGATION = (
    Entry("Overview", "overview", "overview", Permission.SEE_OVERVIEW),
    Entry("Entries", "entries", "entries", Permission.LIST_ENTRIES),
    Entry("API keys", "key", "api-keys", Permission.SEE_API_KEYS),
    Entry("Usage", "usage", "usage", Permission.SEE_USAGE),
    Entry("Gateway", "bolt", "gateway", Permission.SEE_GATEWAY),
    Entry("Billing", "billing", "billing", Permission.SEE_BILLING),
    Entry("Team", "team", "team", Permission.SEE_TEAM),
    Entry("Audit log", "audit", "audit", Permission.SEE_AUDIT),
    Entry("Settings", "settings", "settings", Permission.SEE_SETTINGS),
)


def context(request: HttpRequest) -> dict[str, Any]:
    """For templates: `tenant_code`, the tenant's id in URLs; `navigation`; `may`, the member's permissions."""
    member: Membership | None = getattr(request, "member", None)
    if member is None:
        return {}
    code = tokens.encode_id(member.tenant_id)
    here = request.resolver_match.view_name if request.resolver_match else ""
    lines = [
        {
            "label": entry.label,
            "icon": entry.icon,
            "url": reverse(f"console:{entry.view}", kwargs={"tenant": code}),
            "current": here == f"console:{entry.view}" or here.startswith(f"console:{entry.view}-"),
        }
        for entry in NAVIGATION
        if policy.allows(member.role, entry.permission)
    ]
    return {
        "member": member,
        "tenant": member.tenant,
        "tenant_code": code,
        "navigation": lines,
        "may": {permission.value: True for permission in policy.PERMISSIONS[member.role]},
    }
