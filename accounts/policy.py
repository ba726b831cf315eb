"""Who may do what in a tenant: the roles of its members and the scopes of its API keys, both in terms of permissions.

The console asks `allows(role, permission)`, the API `scope_for(permission)`; nothing else decides.
"""

from django.db import models


class Role(models.TextChoices):
    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    DEVELOPER = "developer", "Developer"
    BILLING = "billing", "Billing"
    VIEWER = "viewer", "Viewer"


class Permission(models.TextChoices):
    SEE_OVERVIEW = "see_overview", "see the overview"
    SEE_USAGE = "see_usage", "see what was used"
    SEE_GATEWAY = "see_gateway", "see what AI calls cost"
    MANAGE_GATEWAY = "manage_gateway", "set up providers, budgets and prices"
    LIST_ENTRIES = "list_entries", "list entries"
    READ_VALUES = "read_values", "open entries"
    CHANGE_ENTRIES = "change_entries", "change entries"
    DELETE_ENTRIES = "delete_entries", "delete entries"
    SEE_API_KEYS = "see_api_keys", "see API keys"
    MANAGE_API_KEYS = "manage_api_keys", "create, change and revoke API keys"
    SEE_BILLING = "see_billing", "see the bill"
    MANAGE_BILLING = "manage_billing", "ask for credits"
    SEE_TEAM = "see_team", "see the team"
    MANAGE_TEAM = "manage_team", "invite, change and remove members"
    SEE_AUDIT = "see_audit", "read the audit log"
    SEE_SETTINGS = "see_settings", "see the settings"
    MANAGE_SETTINGS = "manage_settings", "change the settings"
    OWN = "own", "transfer the ownership and delete the tenant"


_P = Permission
_EVERYONE = frozenset({_P.SEE_OVERVIEW, _P.SEE_USAGE, _P.SEE_GATEWAY, _P.SEE_TEAM})
_VIEWER = _EVERYONE | {_P.LIST_ENTRIES, _P.SEE_API_KEYS}
_DEVELOPER = _VIEWER | {_P.READ_VALUES, _P.CHANGE_ENTRIES, _P.DELETE_ENTRIES, _P.MANAGE_API_KEYS, _P.SEE_SETTINGS}
_BILLING = _EVERYONE | {_P.SEE_BILLING, _P.MANAGE_BILLING}
_ADMIN = frozenset(Permission) - {_P.OWN}

PERMISSIONS: dict[str, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: _ADMIN,
    Role.DEVELOPER: _DEVELOPER,
    Role.BILLING: _BILLING,
    Role.VIEWER: _VIEWER,
}

# The scope of an API key that gives the same over the API. What is not here takes `admin`.
_SCOPES = {
    _P.SEE_OVERVIEW: "read",
    _P.SEE_USAGE: "read",
    _P.SEE_GATEWAY: "read",
    _P.LIST_ENTRIES: "read",
    _P.READ_VALUES: "read",
    _P.CHANGE_ENTRIES: "write",
    _P.DELETE_ENTRIES: "delete",
}


def allows(role: str, permission: str) -> bool:
    return permission in PERMISSIONS.get(role, frozenset())


def manageable(role: str) -> tuple[Role, ...]:
    """The roles that a member with this one may give to others and take from them. Only owners make owners."""
    if not allows(role, _P.MANAGE_TEAM):
        return ()
    return tuple(each for each in Role if each != Role.OWNER or allows(role, _P.OWN))


def scope_for(permission: Permission) -> str:
    """The scope an API key needs for it."""
    return _SCOPES.get(permission, "admin")


def may_grant(role: str, scope: str) -> bool:
    """Whether a member with this role may have the token of an API key with that scope: not if the key may do what the
    role may not. (What only owners may do, no key may.)"""
    granted = {each for each in Permission if each != _P.OWN and scope_for(each) == scope}
    return granted <= PERMISSIONS.get(role, frozenset())
