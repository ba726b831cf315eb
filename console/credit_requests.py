"""A request for credits: a mail to the operator, who grants them in the admin."""

from datetime import timedelta
from decimal import Decimal
from smtplib import SMTPException

import structlog
from django import forms
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.utils import timezone

from accounts import audit, tokens
from accounts.models import AuditEvent, Membership
from billing.limits import MOST
from billing.models import Account
from billing.units import UNITS, credits

MOST_A_DAY = 3  # requests of a tenant within 24 hours
MOST_CREDITS = MOST["credit_limit"] // UNITS
LONGEST_NOTE = 2000  # characters
ACTION = "credits.request"
log = structlog.get_logger(__name__)


class Refused(Exception):
    """No mail was sent; the message says why and what to do."""


class RequestForm(forms.Form):
    """How many credits, and what for."""

    credits = forms.DecimalField(
        label="Credits",
        min_value=Decimal(1) / UNITS,
        max_value=MOST_CREDITS,
        decimal_places=2,
        error_messages={
            "required": "Say how many credits you want.",
            **dict.fromkeys(
                ("invalid", "min_value", "max_value", "max_decimal_places"),
                f"Give 0.01 to {MOST_CREDITS:,} credits, with at most two decimals.",
            ),
        },
    )
    note = forms.CharField(
        label="Note to the operator",
        required=False,
        max_length=LONGEST_NOTE,
        widget=forms.Textarea(attrs={"rows": 4}),
        help_text="What they are for, a purchase order, an address for the invoice.",
        error_messages={"max_length": "These are %(show_value)d characters; give at most %(limit_value)d."},
    )

    def units(self) -> int:
        return int(self.cleaned_data["credits"] * UNITS)


def send(member: Membership, units: int, note: str) -> None:
    """Write the request into the audit log, and to the operator. Raises Refused."""
    _record(member, units, note)
    try:
        _mail(member, units, note).send()
    except (SMTPException, OSError):
        log.exception("credit_request_not_sent", tenant_id=member.tenant_id)
        raise Refused(
            f"The mail could not be sent just now; please write to {settings.OPERATOR_EMAIL} yourself."
        ) from None


@transaction.atomic
def _record(member: Membership, units: int, note: str) -> None:
    """Raises Refused where the tenant has asked often enough."""
    # One request behind another, by rows that are rarely locked: hits wait for the account, writes for the tenant.
    list(Membership.objects.select_for_update().filter(tenant_id=member.tenant_id).order_by("id"))
    since = timezone.now() - timedelta(days=1)
    asked = AuditEvent.objects.filter(tenant_id=member.tenant_id, at__gt=since, action=ACTION).count()
    if asked >= MOST_A_DAY:
        raise Refused(
            f"The tenant has asked {asked} times within 24 hours, and {MOST_A_DAY} are allowed. Wait for the answer, "
            f"or write to {settings.OPERATOR_EMAIL}."
        )
    audit.record(member.tenant_id, member.user.email, ACTION, member.tenant.name, credits=credits(units), note=note)


def _mail(member: Membership, units: int, note: str) -> EmailMessage:
    tenant, user = member.tenant, member.user
    account = Account.objects.get(tenant=tenant)
    name, code = _one_line(tenant.name), tokens.encode_id(tenant.id)
    body = (
        f"{name} (tenant {code}) asks for {credits(units)} credits.\n\n"
        f"Plan: {account.plan}; balance: {credits(account.balance)} credits\n"
        f"Asked by: {_one_line(user.get_full_name())}, {user.email}, {member.get_role_display()}\n\n"
        f"{note or 'There is no note.'}\n\n"
        f"Grant them at {settings.PUBLIC_URL}/staff/. An answer to this mail goes to {user.email}.\n"
    )
    subject = f"[cacheservice] {name} asks for {credits(units)} credits"
    return EmailMessage(subject, body, to=[settings.OPERATOR_EMAIL], reply_to=[user.email])


def _one_line(text: str) -> str:
    return " ".join(text.split())
