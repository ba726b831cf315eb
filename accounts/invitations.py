"""Invitations to become a member of a tenant: to an e-mail address, with a role, by a link that only the mail holds.

The link is signed and names the invitation; it works for LIFETIME after it was sent, as long as the invitation is open,
and for whoever has proved that the address is theirs. Everything raises Refused, which says what to do instead.
"""

from datetime import datetime, timedelta

from allauth.account.models import EmailAddress
from django.core.signing import BadSignature, TimestampSigner
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts import audit, tokens
from accounts.models import Invitation, Membership, User
from accounts.policy import Role
from accounts.team import AdminKey, NotAllowed, Refused, Team

LIFETIME = timedelta(days=7)
MOST_OPEN = 50  # of a tenant at a time
MOST_A_DAY = 100  # of a tenant, so that inviting and withdrawing by turns fills nobody's mailbox
SEND_AGAIN_AFTER = timedelta(minutes=5)


def of(tenant_id: int) -> QuerySet[Invitation]:
    """The open ones, newest first; those that have expired too, for they can be sent again."""
    found = Invitation.objects.filter(tenant_id=tenant_id, accepted_at=None, withdrawn_at=None)
    return found.select_related("invited_by").order_by("-created_at")


def signed(invitation: Invitation) -> str:
    """What its link holds."""
    return _signer().sign(tokens.encode_id(invitation.id))


def find(text: str) -> Invitation | None:
    """The open invitation that a link names; None where it is forged, too old, used or withdrawn."""
    try:
        id = tokens.decode_id(_signer().unsign(text, max_age=LIFETIME))
    except (BadSignature, ValueError):
        return None
    found = Invitation.objects.select_related("tenant", "invited_by").filter(id=id).first()
    return found if found is not None and is_open(found) else None


def is_open(invitation: Invitation) -> bool:
    answered = invitation.accepted_at is not None or invitation.withdrawn_at is not None
    return not answered and timezone.now() < invitation.expires_at


def sent_at(invitation: Invitation) -> datetime:
    return invitation.expires_at - LIFETIME


@transaction.atomic
def invite(acting: Membership | AdminKey, email: str, role: str) -> Invitation:
    """The invitation, to be sent once this is committed."""
    team, email, now = Team(acting), email.strip().lower(), timezone.now()
    team.require_manageable(role)
    _require_verified(acting)
    if role == Role.OWNER:
        raise Refused(
            "Nobody is invited as an owner: invite them as an admin, and make them an owner once they are in."
        )
    if any(each.user.email == email for each in team.members.values()):
        raise Refused(f"{email} is a member already: change their role instead.")
    open_ones = of(acting.tenant_id)
    if open_ones.filter(email=email).exists():
        raise Refused(f"{email} has been invited already: send that invitation again, or withdraw it first.")
    if open_ones.count() >= MOST_OPEN:
        raise Refused(f"{MOST_OPEN} invitations are open, which is the most there may be: withdraw some first.")
    made = Invitation.objects.filter(tenant_id=acting.tenant_id)
    if made.filter(created_at__gt=now - timedelta(days=1)).count() >= MOST_A_DAY:
        raise Refused(f"{MOST_A_DAY} invitations were made within a day, which is the most: go on tomorrow.")
    invitation = Invitation.objects.create(
        tenant_id=acting.tenant_id,
        email=email,
        role=role,
        invited_by=None if isinstance(acting, AdminKey) else acting.user,
        expires_at=now + LIFETIME,
    )
    team.record("invitation.create", email, role=role)
    return invitation


@transaction.atomic
def renew(acting: Membership | AdminKey, id: int) -> Invitation:
    """The invitation with a new term, to be sent again once this is committed."""
    team, invitation = Team(acting), _locked(acting.tenant_id, id)
    team.require_manageable(invitation.role)
    _require_verified(acting)
    if timezone.now() < sent_at(invitation) + SEND_AGAIN_AFTER:
        minutes = SEND_AGAIN_AFTER.seconds // 60
        raise Refused(f"It was sent to {invitation.email} just now: wait {minutes} minutes before you send it again.")
    invitation.expires_at = timezone.now() + LIFETIME
    invitation.save(update_fields=["expires_at"])
    team.record("invitation.send_again", invitation.email, role=invitation.role)
    return invitation


@transaction.atomic
def withdraw(acting: Membership | AdminKey, id: int) -> Invitation:
    team, invitation = Team(acting), _locked(acting.tenant_id, id)
    team.require_manageable(invitation.role)
    invitation.withdrawn_at = timezone.now()
    invitation.save(update_fields=["withdrawn_at"])
    team.record("invitation.withdraw", invitation.email, role=invitation.role)
    return invitation


def is_for(invitation: Invitation, user: User) -> bool:
    """Whether it was sent to an address of theirs. They may have yet to prove that it is theirs: `has_proved`."""
    return user.email == invitation.email or has_proved(invitation, user)


def has_proved(invitation: Invitation, user: User) -> bool:
    """Whether the user has verified the invited address."""
    theirs = EmailAddress.objects.filter(user=user, verified=True).values_list("email", flat=True)
    return invitation.email in {email.lower() for email in theirs}


@transaction.atomic
def accept(invitation: Invitation, user: User) -> Membership:
    """The user's new membership."""
    invitation = _locked(invitation.tenant_id, invitation.id)
    if not is_open(invitation) or not has_proved(invitation, user):
        raise Refused("This invitation is not for you, or no longer valid: ask for a new one.")
    invitation.accepted_at = timezone.now()
    invitation.save(update_fields=["accepted_at"])
    fields = {"tenant_id": invitation.tenant_id, "user": user}
    membership, joined = Membership.objects.get_or_create(**fields, defaults={"role": invitation.role})
    if joined:
        audit.record(invitation.tenant_id, user.email, "invitation.accept", invitation.email, role=invitation.role)
    return membership


def _require_verified(acting: Membership | AdminKey) -> None:
    """Nobody sends mails to strangers from here before it is known who they are."""
    if isinstance(acting, AdminKey):
        if not acting.verified:
            raise NotAllowed("First an owner of the tenant has to verify their e-mail address, then invite others.")
    elif not EmailAddress.objects.filter(user_id=acting.user_id, verified=True).exists():
        raise NotAllowed(
            "First verify your own e-mail address: open the link in the mail that you got, then invite others."
        )


def _signer() -> TimestampSigner:
    """Made when it is needed: commands that want no secrets import this too."""
    return TimestampSigner(salt="accounts.invitations", sep=".")


def _locked(tenant_id: int, id: int) -> Invitation:
    """An open invitation of the tenant, expired or not, to be changed."""
    found = of(tenant_id).select_related(None).select_for_update().filter(id=id).first()
    if found is None:
        raise Refused("This invitation is no longer open: it was accepted or withdrawn.")
    return found
