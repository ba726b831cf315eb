"""A tenant that a user creates is theirs: they are its owner."""

import secrets
from typing import Any

from allauth.account.models import EmailAddress
from django.db import IntegrityError, transaction

from accounts import keys
from accounts.models import Membership, Tenant, User
from accounts.policy import Role
from billing.tenants import create_tenant, verify_tenant

FIRST_KEY_SCOPES = ["read", "write", "delete", "gateway"]
_LONGEST_BASE = 80  # characters, so that a suffix has room in a tenant's name


MOST_OWNED = 20  # tenants of one user: each on the free plan is granted credits every month


class Refused(Exception):
    """A tenant cannot be created; the text says why, and what to do."""


class NameTaken(Refused):
    """Another tenant has the name."""


def create(name: str, owner: User) -> Tenant:
    """A tenant on the free plan, with its owner; its credits come once one of their e-mail addresses is verified.

    Raises Refused: NameTaken, or when the owner has MOST_OWNED already.
    """
    if Membership.objects.filter(user=owner, role=Role.OWNER).count() >= MOST_OWNED:
        raise Refused(f"You own {MOST_OWNED} tenants already; delete one that you do not need, or ask the operator.")
    verified = EmailAddress.objects.filter(user=owner, verified=True).exists()
    try:
        with transaction.atomic():
            tenant = create_tenant(name, owner.email, verified=verified)
            Membership.objects.create(tenant=tenant, user=owner, role=Role.OWNER)
    except IntegrityError:
        raise NameTaken("Another tenant has this name already; choose another one.") from None
    return tenant


@transaction.atomic
def found(owner: User) -> tuple[Tenant, str]:
    """What somebody gets who signs up: a tenant named after their e-mail address, and its first API key's token."""
    local = owner.email.partition("@")[0].partition("+")[0]
    base = "".join(filter(str.isprintable, local))[:_LONGEST_BASE] or "tenant"
    try:
        tenant = create(base, owner)
    except NameTaken:
        tenant = create(f"{base}-{secrets.token_hex(4)}", owner)
    _, token = keys.create_api_key(tenant, name="First key", scopes=FIRST_KEY_SCOPES, actor=owner.email)
    return tenant, token


def on_email_confirmed(sender: Any, email_address: EmailAddress, **arguments: Any) -> None:
    """allauth's signal. Tenants that waited for the address get the running month's credits."""
    owned = Membership.objects.filter(user_id=email_address.user_id, role=Role.OWNER)
    for tenant_id in owned.values_list("tenant_id", flat=True):
        verify_tenant(tenant_id)


def on_new_owner(owner: Membership) -> None:
    """A tenant that waited for its first owner's address need not, once another one's is verified."""
    if EmailAddress.objects.filter(user_id=owner.user_id, verified=True).exists():
        verify_tenant(owner.tenant_id)


@transaction.atomic
def add_owner(tenant: Tenant, email: str, password: str) -> User:
    """A user whose address counts as verified, as the tenant's owner."""
    owner = User.objects.create_user(email, password)
    EmailAddress.objects.create(user=owner, email=owner.email, verified=True, primary=True)
    Membership.objects.create(tenant=tenant, user=owner, role=Role.OWNER)
    return owner
