"""allauth's forms, as far as ours differ."""

from typing import Any

from allauth.account import forms as account_forms
from allauth.account.adapter import get_adapter as get_account_adapter
from allauth.account.internal.flows.email_verification import send_verification_email_to_address
from allauth.account.internal.flows.login import record_authentication
from allauth.account.internal.flows.reauthentication import raise_if_reauthentication_required
from allauth.account.models import EmailAddress
from allauth.core import context
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from allauth.mfa.adapter import get_adapter
from allauth.mfa.totp import forms as totp_forms
from allauth.mfa.webauthn import forms as webauthn_forms
from django import forms
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse

from accounts.models import User
from console import email_addresses, first_key, invitations, tenancy

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
    """A verified address stays until the new one is verified too, and is told of it. One that never was makes room at
    once, so then the new one must be free, as when signing up.
    """

    user: User

    def clean_email(self) -> str:
        email: str = super().clean_email()
        if not email_addresses.has_verified(self.user) and email_addresses.is_taken(email, self.user):
            raise get_account_adapter().validation_error("email_taken")
        return email

    def save(self, request: HttpRequest) -> EmailAddress:
        email = self.cleaned_data["email"]
        if email_addresses.has_verified(self.user):
            address = super().save(request)
            asked = "account/email/email_change_asked"
            get_account_adapter().send_notification_mail(asked, self.user, {"new_email": email})
            return address
        try:
            address = email_addresses.replace_unverified(self.user, email)
        except email_addresses.Taken:  # since it was looked up
            messages.error(request, f"Another account has {email} already.")
            raise ImmediateHttpResponse(redirect("account_email")) from None
        send_verification_email_to_address(request, address)
        return address


class ChangePasswordForm(Worded, account_forms.ChangePasswordForm):
    pass


class SetPasswordForm(Worded, account_forms.SetPasswordForm):
    """The first password of an account that had none. Who may give it one may confirm everything with it, so they
    confirm first that it is them: before they see the form, for what they typed would lie readable in the session.
    """

    def __init__(self, *args: Any, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        request = context.request
        try:
            raise_if_reauthentication_required(request, app="allauth.account")
        except ReauthenticationRequired:
            way = redirect_to_login(request.path, reverse("account_reauthenticate"))
            raise ImmediateHttpResponse(way) from None


class ResetPasswordForm(Worded, account_forms.ResetPasswordForm):
    """By an account's own address, and not by one that it is about to change to: that may be anybody's."""

    users: list[User]

    def clean_email(self) -> str:
        email: str = super().clean_email()
        self.users = [user for user in self.users if user.email == email.lower()]
        return email


class ResetPasswordKeyForm(Worded, account_forms.ResetPasswordKeyForm):
    pass


class SignupForm(Worded, account_forms.SignupForm):
    """E-mail address and password. The user, their tenant and its first API key are made together, or not at all.

    Who signs up for an invitation gets no tenant: they are about to join one.
    """

    def validate_unique_email(self, value: str) -> str:
        email_addresses.drop_changes_to(value)
        email: str = super().validate_unique_email(value)
        return email

    def save(self, request: HttpRequest) -> User:
        try:
            with transaction.atomic():
                user: User = super().save(request)
                made = None if invitations.awaits(request.session, user) else tenancy.found(user)
        except IntegrityError:  # the same address signed up twice at once: the first one has it
            raise ImmediateHttpResponse(redirect("account_login")) from None
        if made is not None:
            first_key.keep(request.session, *made)
        record_authentication(request, user, "password")  # they know it: a mistyped address is put right at once
        return user


class VerifiedFirst:
    """A second factor takes a verified address: else somebody could lock its owner out of it.

    allauth's own rule also forbids those with a second factor to change their address, so it is off.
    """

    user: User

    def clean(self) -> Any:
        if not email_addresses.has_verified(self.user):
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
