"""A tenant's members: changing their roles, removing them, leaving, handing the ownership over.

Each change locks all of the tenant's memberships first, so that changes come one after the other: whoever makes one is
judged by the role they have then, and of two last owners who leave at the same moment one cannot. Everything
raises Refused, which says what to do instead, and then changes nothing.

Who acts is a member, or an API key with the scope `admin`, which may what an admin may: never what only owners may.
"""

from typing import NamedTuple

from allauth.mfa.models import Authenticator
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet

from accounts import audit, policy
from accounts.models import Membership
from accounts.policy import Permission, Role

_SECOND_FACTORS = (Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN)
_LAST_OWNER = "A tenant needs an owner, and this is the last one: make somebody else an owner first."


class Refused(ValueError):
    """The change is not allowed. The message is for who asked for it."""


class NotAllowed(Refused):
    """Not to who asked for it; somebody else may."""


class AdminKey(NamedTuple):
    """An API key with the scope `admin`, as who acts."""

    tenant_id: int
    name: str  # as the audit log has it
    verified: bool  # whether an owner of the tenant is known by a verified address, or the operator made the tenant


class Team:
    """A tenant's members, locked until the transaction ends, and the one who acts."""

    def __init__(self, acting: Membership | AdminKey) -> None:
        """Raises Refused where the one who acts is no member any more."""
        self.tenant_id = acting.tenant_id
        locked = Membership.objects.filter(tenant_id=acting.tenant_id).order_by("id").select_for_update(of=("self",))
        self.members = {each.id: each for each in locked.select_related("user")}
        if isinstance(acting, AdminKey):
            self.role, self.actor = Role.ADMIN, acting.name
        elif acting.id in self.members:
            self.role, self.actor = Role(self.members[acting.id].role), self.members[acting.id].user.email
        else:
            raise Refused("You are no longer a member of this tenant.")

    def member(self, id: int) -> Membership:
        if id not in self.members:
            raise Refused("They are no longer a member of this tenant.")
        return self.members[id]

    def require(self, permission: Permission) -> None:
        if not policy.allows(self.role, permission):
            raise NotAllowed(f"Your role, {self.role.label}, may not {permission.label}.")

    def require_manageable(self, role: str) -> None:
        """Whether the one who acts may give the role, or take it away."""
        self.require(Permission.MANAGE_TEAM)
        if role not in policy.manageable(self.role):
            raise NotAllowed("Only an owner may make, change or remove owners: ask one of them.")

    def require_another_owner(self, than: Membership) -> None:
        if than.role == Role.OWNER and not any(
            each.role == Role.OWNER for each in self.members.values() if each.id != than.id
        ):
            raise Refused(_LAST_OWNER)

    def record(self, action: str, target: str, **details: str) -> None:
        audit.record(self.tenant_id, self.actor, action, target, **details)


def members(tenant_id: int) -> QuerySet[Membership]:
    """In the order in which they joined. `two_factor`: whether they sign in with a second factor."""
    factors = Authenticator.objects.filter(user=OuterRef("user"), type__in=_SECOND_FACTORS)
    found = Membership.objects.filter(tenant_id=tenant_id).annotate(two_factor=Exists(factors))
    return found.select_related("user").order_by("joined_at", "id")


@transaction.atomic
def change_role(acting: Membership | AdminKey, member_id: int, role: str) -> Membership:
    team = Team(acting)
    member, former = team.member(member_id), team.member(member_id).role
    team.require_manageable(former)
    team.require_manageable(role)
    if role != former:
        if role != Role.OWNER:
            team.require_another_owner(than=member)
        _set_role(member, role)
        team.record("member.change_role", member.user.email, role=role, former=former)
    return member


@transaction.atomic
def remove(acting: Membership | AdminKey, member_id: int) -> Membership:
    """The member as they were; they have no access from the commit on, for every page asks for the membership."""
    team = Team(acting)
    member = team.member(member_id)
    team.require_manageable(member.role)
    team.require_another_owner(than=member)
    _delete(member)
    team.record("member.remove", member.user.email, role=member.role)
    return member


@transaction.atomic
def leave(acting: Membership) -> None:
    team = Team(acting)
    leaving = team.member(acting.id)
    team.require_another_owner(than=leaving)
    _delete(leaving)
    team.record("member.leave", leaving.user.email, role=leaving.role)


@transaction.atomic
def transfer_ownership(acting: Membership, member_id: int) -> Membership:
    """The member becomes an owner, and the one who acts an admin."""
    team = Team(acting)
    team.require(Permission.OWN)
    member, former = team.member(member_id), team.member(member_id).role
    if member.id == acting.id or former == Role.OWNER:
        raise Refused("They are an owner already: choose another member.")
    _set_role(member, Role.OWNER)
    _set_role(team.member(acting.id), Role.ADMIN)
    team.record("tenant.transfer_ownership", member.user.email, former=former)
    return member


def _set_role(member: Membership, role: str) -> None:
    member.role = role
    member.save(update_fields=["role"])


def _delete(member: Membership) -> None:
    """Keeps the object as it was."""
    Membership.objects.filter(id=member.id).delete()
