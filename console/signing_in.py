"""Signing up and in, on django-allauth: its adapters, which say what is ours about it."""

from typing import Any
from urllib.parse import urlsplit

import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.reauthentication import get_reauthentication_flows
from allauth.account.models import EmailAddress, EmailConfirmation
from allauth.core.exceptions import ImmediateHttpResponse, ReauthenticationRequired
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.auth.views import redirect_to_login
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import second_factors
from accounts.models import User
from cacheservice import addresses
from console import email_addresses, first_key, invitations, reauthentication, tenancy

log = structlog.get_logger(__name__)


class AccountAdapter(DefaultAccountAdapter):
    """Users are known by e-mail address."""

    def get_client_ip(self, request: HttpRequest) -> str:
        return addresses.client_address(request.scope)  # type: ignore[attr-defined]  # an ASGIRequest

    def _get_login_attempts_cache_key(self, request: HttpRequest, **credentials: Any) -> str:
        """Wrong passwords are counted by address alone: allauth adds the Host header, which callers choose."""
        return str(credentials.get("email", "")).lower()

    def is_safe_url(self, url: str) -> bool:
        """Only to this very origin: allauth's own would follow `next` to each of ALLOWED_HOSTS, on any port."""
        request = self.request
        return url_has_allowed_host_and_scheme(url, {request.get_host()}, require_https=request.is_secure())

    def get_signup_redirect_url(self, request: HttpRequest) -> str:
        tenant = request.session.get(first_key.TENANT)
        return reverse("console:start", kwargs={"tenant": tenant}) if tenant else reverse("console:home")

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("console:account")

    def is_reauthentication_required(self, *, app: str, **arguments: Any) -> bool:
        """Who signed in just now has authenticated just now; allauth would ask them again.

        Raises ReauthenticationRequired for who has neither a password nor a second factor: allauth never asks them.
        """
        if reauthentication.is_recent(self.request):
            return False
        required = bool(super().is_reauthentication_required(app=app, **arguments))
        if required and not get_reauthentication_flows(self.request.user):
            raise ReauthenticationRequired
        return required

    def get_reauthentication_methods(self, user: AbstractBaseUser) -> list[dict[str, str]]:
        """At least one for every user who is signed in."""
        ways: list[dict[str, str]] = super().get_reauthentication_methods(user)
        if user.is_authenticated and not ways:
            ways.append({"id": "provider", "description": "Sign in again", "url": reverse("console:confirm")})
        return ways

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """By who is signed in to the account. Whoever else opens the link is sent to sign in first: they may have got a
        mail that a stranger asked for, and would give the stranger's account their address.
        """
        if request.user.pk != email_address.user_id:
            messages.info(request, "Sign in to the account that the address is for, then verify it.")
            raise ImmediateHttpResponse(redirect_to_login(request.path))
        try:
            with transaction.atomic():
                if email_addresses.claim(email_address):
                    return bool(super().confirm_email(request, email_address))
        except IntegrityError:  # another account verified it at the same moment
            pass
        context = {"email": email_address.email}
        self.add_message(request, messages.ERROR, "account/messages/email_confirmation_failed.txt", context)
        return False

    # Links in e-mails lead to the public URL, whatever the request's Host header says.

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: EmailConfirmation) -> str:
        return public(reverse("account_confirm_email", args=[emailconfirmation.key]))

    def get_reset_password_from_key_url(self, key: str) -> str:
        return public(urlsplit(super().get_reset_password_from_key_url(key)).path)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """Once what it tells of is committed, so that a slow mail server holds up no lock. One that is down costs the
        e-mail, not what it goes with.
        """
        links = {"signup_url": "account_signup", "reset_url": "account_reset_password", "console_url": "console:home"}
        ours = {name: public(reverse(view)) for name, view in links.items()}
        send = super().send_mail

        def attempt() -> None:
            try:
                send(template_prefix, email, {**context, **ours})
            except OSError as error:  # of which smtplib's are
                log.error("email_not_sent", template=template_prefix, reason=type(error).__name__)

        transaction.on_commit(attempt)


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Signing up through the OIDC provider gives the same as signing up with an e-mail address."""

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """What somebody who comes back from the provider came for, as far as it is not signing in or up."""
        if reauthentication.is_confirmation(sociallogin):
            raise ImmediateHttpResponse(reauthentication.confirmed(request, sociallogin))
        process, user = sociallogin.state.get("process"), request.user
        if process == AuthProcess.CONNECT and user.is_authenticated and not email_addresses.has_verified(user):
            # Else whoever signs up with another's address could still come in once its owner has the account.
            messages.error(request, "First verify your e-mail address, then connect an account of another service.")
            raise ImmediateHttpResponse(redirect("socialaccount_connections"))
        if process == AuthProcess.LOGIN and not sociallogin.is_existing:
            for address in sociallogin.email_addresses:
                email_addresses.drop_changes_to(address.email)

    def save_user(self, request: HttpRequest, sociallogin: SocialLogin, form: Any = None) -> AbstractBaseUser:
        with transaction.atomic():
            user: User = super().save_user(request, sociallogin, form)
            if not invitations.awaits(request.session, user):
                first_key.keep(request.session, *tenancy.found(user))
        return user


class MFAAdapter(DefaultMFAAdapter):
    """Second factors: their secrets lie sealed in the database."""

    def encrypt(self, text: str) -> str:
        return second_factors.seal(text)

    def decrypt(self, encrypted_text: str) -> str:
        return second_factors.unseal(encrypted_text)

    def generate_authenticator_name(self, user: AbstractBaseUser, type: Authenticator.Type) -> str:
        count = Authenticator.objects.filter(user_id=user.pk, type=type).count()
        return f"Passkey {count + 1}" if count else "Passkey"

    def get_public_key_credential_rp_entity(self) -> dict[str, str]:
        return {**super().get_public_key_credential_rp_entity(), "name": "cacheservice"}


def public(path: str) -> str:
    return f"{settings.PUBLIC_URL}{path}"
