"""Whose an e-mail address is: who has verified it. An account that only named it gives it up to them.

A new address is always a new row, never the old one with another address: the link in a mail names the row, and must
not verify an address that it was not sent to.
"""

from typing import Any

from allauth.account.models import EmailAddress
from allauth.account.signals import email_changed
from allauth.socialaccount.models import SocialAccount
from django.db import IntegrityError, transaction

from accounts.models import User


class Taken(Exception):
    """Another account has the address."""


def has_verified(user: User) -> bool:
    """Whether the user has proved that an address is theirs."""
    return bool(EmailAddress.objects.filter(user=user, verified=True).exists())


def is_taken(email: str, user: User) -> bool:
    return User.objects.filter(email=email).exclude(pk=user.pk).exists()


def replace_unverified(user: User, email: str) -> EmailAddress:
    """The address of an account that never verified one, from now on. Raises Taken."""
    try:
        with transaction.atomic():
            EmailAddress.objects.filter(user=user, verified=False).delete()
            address: EmailAddress = EmailAddress.objects.create(user=user, email=email, primary=True)
            _set(user, email)
    except IntegrityError:  # somebody was faster
        raise Taken from None
    return address


def claim(address: EmailAddress) -> bool:
    """In the transaction that verifies the address: who named it before without verifying it has it no more.

    An account cannot be without an address, so theirs becomes one that nobody has. False where the change to the
    address was called off meanwhile. Raises IntegrityError where another account verifies the address at the same time.
    """
    if EmailAddress.objects.select_for_update().filter(pk=address.pk, verified=False).first() is None:
        return False
    EmailAddress.objects.filter(email=address.email, verified=False).exclude(user_id=address.user_id).delete()
    holders = User.objects.filter(email=address.email).exclude(pk=address.user_id)
    for holder in holders.exclude(emailaddress__verified=True):
        _set(holder, f"released-{holder.pk}@address.invalid")
    return True


def drop_change(user: User) -> None:
    """The user's present address stays: the one that they were about to change to, if any, is forgotten."""
    EmailAddress.objects.filter(user=user, verified=False).exclude(email=user.email).delete()


def drop_changes_to(email: str) -> None:
    """Of any account: who only asked to change to an address keeps nobody from signing up with it."""
    EmailAddress.objects.filter(email=email.lower(), verified=False).exclude(user__email=email.lower()).delete()


def on_new_password(sender: Any, user: User, **arguments: Any) -> None:
    """allauth's signals. Whoever asked for the change may have been why there is a new password."""
    drop_change(user)


def on_password_reset(sender: Any, user: User, **arguments: Any) -> None:
    """allauth's signal. Who resets the password reads the mails to the address. Where it was never verified, who signed
    up with it need not be the same, and must not come back by the OIDC provider. Second factors they cannot have.
    """
    drop_change(user)
    if not has_verified(user):
        SocialAccount.objects.filter(user=user).delete()


def _set(user: User, email: str) -> None:
    """The address that the user is known by; the audit log is told by allauth's signal."""
    former, user.email = user.email, email
    user.save(update_fields=["email"])
    email_changed.send(
        sender=EmailAddress,
        request=None,
        user=user,
        from_email_address=EmailAddress(user=user, email=former) if former else None,
        to_email_address=EmailAddress(user=user, email=email),
    )
