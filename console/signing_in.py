"""Signing up and in, on django-allauth: its adapters, which say what is ours about it."""

import time
from typing import Any
from urllib.parse import urlsplit

import structlog
from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.models import EmailConfirmation
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialLogin
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.db import transaction
from django.http import HttpRequest
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from accounts import second_factors
from accounts.models import User
from cacheservice import addresses
from console import first_key, invitations, tenancy

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
        """Who signed in just now has authenticated just now; allauth would ask them again."""
        records = get_authentication_records(self.request, self.request.user)
        recent = time.time() - app_settings.REAUTHENTICATION_TIMEOUT
        if any(record["at"] > recent for record in records):
            return False
        return bool(super().is_reauthentication_required(app=app, **arguments))

    # Links in e-mails lead to the public URL, whatever the request's Host header says.

    def get_email_confirmation_url(self, request: HttpRequest, emailconfirmation: EmailConfirmation) -> str:
        return public(reverse("account_confirm_email", args=[emailconfirmation.key]))

    def get_reset_password_from_key_url(self, key: str) -> str:
        return public(urlsplit(super().get_reset_password_from_key_url(key)).path)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail server that is down costs the e-mail, not what it goes with: signing up is done by then."""
        links = {"signup_url": "account_signup", "reset_url": "account_reset_password", "console_url": "console:home"}
        ours = {name: public(reverse(view)) for name, view in links.items()}
        try:
            super().send_mail(template_prefix, email, {**context, **ours})
        except OSError as error:  # of which smtplib's are
            log.error("email_not_sent", template=template_prefix, reason=type(error).__name__)


class SocialAccountAdapter(DefaultSocialAccountAdapter):
    """Signing up through the OIDC provider gives the same as signing up with an e-mail address."""

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
