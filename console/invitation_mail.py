"""The mail that an invitation is: its link is nowhere else."""

from collections.abc import Mapping
from smtplib import SMTPException

from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string
from django.urls import reverse

from accounts import invitations
from accounts.models import Invitation, User


def send(invitation: Invitation, inviter: User | str) -> bool:
    """Whether the mail server took it; where it did not the invitation stays open, to be sent again.

    `inviter`: who invites, a member or by the name that is shown.
    """
    link = settings.PUBLIC_URL + reverse("console:invitation", kwargs={"signed": invitations.signed(invitation)})
    who: User | Mapping[str, str] = {"get_full_name": inviter} if isinstance(inviter, str) else inviter
    tenant, days = invitation.tenant, invitations.LIFETIME.days
    context = {"invitation": invitation, "inviter": who, "tenant": tenant, "link": link, "days": days}
    subject = f"{settings.ACCOUNT_EMAIL_SUBJECT_PREFIX}Join {' '.join(tenant.name.split())}"
    try:
        send_mail(subject, render_to_string("console/invitation_mail.txt", context), None, [invitation.email])
    except (OSError, SMTPException):
        return False
    return True
