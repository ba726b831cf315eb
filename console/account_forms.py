"""allauth's forms, as far as ours differ."""

from typing import Any

from allauth.account import forms as account_forms
from allauth.account.models import EmailAddress
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.mfa.adapter import get_adapter
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn_forms
from django import forms
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.shortcuts import redirect

from accounts.models import User
from console import first_key, invitations, tenancy

LABELS = {
    "email": "E-mail address",
    "login": "E-mail address",
    "oldpassword": "Current password",
    "password2": "New password, again",
}


class Worded:
    """A form whose fields are called as everywhere in the console."""

    fields: dict[str, forms.Field]

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        for name, field in self.fields.items():
            field.widget.attrs.pop("placeholder", None)
            field.label = LABELS.get(name, field.label)
        if "password1" in self.fields:
            self.fields["password1"].label = "New password" if "password2" in self.fields else "Password"
            self.fields["password1"].help_text = "Ten characters or more; none that everybody uses."


class LoginForm(Worded, account_forms.LoginForm):
    pass


class AddEmailForm(Worded, account_forms.AddEmailForm):
    pass


class ChangePasswordForm(Worded, account_forms.ChangePasswordForm):
    pass


class SetPasswordForm(Worded, account_forms.SetPasswordForm):
    pass


class ResetPasswordForm(Worded, account_forms.ResetPasswordForm):
    pass


class ResetPasswordKeyForm(Worded, account_forms.ResetPasswordKeyForm):
    pass


class SignupForm(Worded, account_forms.SignupForm):
    """E-mail address and password. The user, their tenant and its first API key are made together, or not at all.

    Who signs up for an invitation gets no tenant: they are about to join one.
    """

    def save(self, request: HttpRequest) -> User:
        try:
            with transaction.atomic():
                user: User = super().save(request)
                made = None if invitations.awaits(request.session, user) else tenancy.found(user)
        except IntegrityError:  # the same address signed up twice at once: the first one has it
            raise ImmediateHttpResponse(redirect("account_login")) from None
        if made is not None:
            first_key.keep(request.session, *made)
        return user


class VerifiedFirst:
    """A second factor takes a verified address: else somebody could lock its owner out of it.

    allauth's own rule also forbids those with a second factor to change their address, so it is off.
    """

    user: User

    def clean(self) -> Any:
        if not EmailAddress.objects.filter(user_id=self.user.pk, verified=True).exists():
            raise get_adapter().validation_error("unverified_email")
        return super().clean()  # type: ignore[misc]  # of the form beside this


class ActivateTOTPForm(VerifiedFirst, totp_forms.ActivateTOTPForm):
    pass


class AddWebAuthnForm(VerifiedFirst, webauthn_forms.AddWebAuthnForm):
    name = forms.CharField(required=False, max_length=100, help_text="To tell it from others: the device, say.")
    passwordless = forms.BooleanField(
        required=False,
        initial=True,
        label="Sign in with it alone",
        help_text="A passkey: it asks for your finger, face or PIN. Without this it is asked for after the password.",
    )
