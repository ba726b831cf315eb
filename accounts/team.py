"""A tenant's members: changing their roles, removing them, leaving, handing the ownership over.

Each change locks all of the tenant's memberships first, so that changes come one after the other: whoever makes one is
judged by the role they have then, and of two last owners who leave at the same moment one cannot. Everything
raises Refused, which says what to do instead, and then changes nothing.
"""

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


class Team:
    """A tenant's members, locked until the transaction ends, and the one who acts."""

    def __init__(self, acting: Membership) -> None:
        """Raises Refused where the one who acts is no member any more."""
        locked = Membership.objects.filter(tenant_id=acting.tenant_id).order_by("id").select_for_update(of=("self",))
        self.members = {each.id: each for each in locked.select_related("user")}
        if acting.id not in self.members:
            raise Refused("You are no longer a member of this tenant.")
        self.acting = self.members[acting.id]

    def member(self, id: int) -> Membership:
        if id not in self.members:
            raise Refused("They are no longer a member of this tenant.")
        return self.members[id]

    def require(self, permission: Permission) -> None:
        if not policy.allows(self.acting.role, permission):
            raise Refused(f"Your role, {self.acting.get_role_display()}, may not {permission.label}.")

    def require_manageable(self, role: str) -> None:
        """Whether the one who acts may give the role, or take it away."""
        self.require(Permission.MANAGE_TEAM)
        if role not in policy.manageable(self.acting.role):
            raise Refused("Only an owner may make, change or remove owners: ask one of them.")

    def require_another_owner(self, than: Membership) -> None:
        if than.role == Role.OWNER and not any(
            each.role == Role.OWNER for each in self.members.values() if each.id != than.id
        ):
            raise Refused(_LAST_OWNER)

    def record(self, action: str, target: str, **details: str) -> None:
        audit.record(self.acting.tenant_id, self.acting.user.email, action, target, **details)


def members(tenant_id: int) -> QuerySet[Membership]:
    """In the order in which they joined. `two_factor`: whether they sign in with a second factor."""
    factors = Authenticator.objects.filter(user=OuterRef("user"), type__in=_SECOND_FACTORS)
    found = Membership.objects.filter(tenant_id=tenant_id).annotate(two_factor=Exists(factors))
    return found.select_related("user").order_by("joined_at", "id")


@transaction.atomic
def change_role(acting: Membership, member_id: int, role: str) -> Membership:
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
def remove(acting: Membership, member_id: int) -> Membership:
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
    team.require_another_owner(than=team.acting)
    _delete(team.acting)
    team.record("member.leave", team.acting.user.email, role=team.acting.role)


@transaction.atomic
def transfer_ownership(acting: Membership, member_id: int) -> Membership:
    """The member becomes an owner, and the one who acts an admin."""
    team = Team(acting)
    team.require(Permission.OWN)
    member, former = team.member(member_id), team.member(member_id).role
    if member.id == team.acting.id or former == Role.OWNER:
        raise Refused("They are an owner already: choose another member.")
    _set_role(member, Role.OWNER)
    _set_role(team.acting, Role.ADMIN)
    team.record("tenant.transfer_ownership", member.user.email, former=former)
    return member


def _set_role(member: Membership, role: str) -> None:
    member.role = role
    member.save(update_fields=["role"])


def _delete(member: Membership) -> None:
    """Keeps the object as it was."""
    Membership.objects.filter(id=member.id).delete()
