"""Confirming who one is where the account here has neither a password nor a second factor: the OIDC provider is asked
to sign them in anew.

Signing in through the provider does not count as confirmed: it may have asked for nothing.
"""

import time
from typing import Any
from urllib.parse import urlencode

from allauth.account import app_settings
from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.account.internal.flows.reauthentication import resume_request
from allauth.account.utils import get_next_redirect_url
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.urls import path, reverse

CONFIRMS = "confirms"  # in what the session keeps of a way to the provider and back, where no request can put it


@login_required
def confirm(request: HttpRequest) -> HttpResponse:
    """Where `access.recently_authenticated` leads who can only come in through the provider."""
    next_url = get_next_redirect_url(request) or reverse("console:home")
    [way, *_] = get_adapter().get_reauthentication_methods(request.user)
    if way["url"] != request.path:  # they have a password or a second factor by now
        return redirect(f"{way['url']}?{urlencode({'next': next_url})}")
    provider = _provider(request)
    if request.method == "POST" and provider is not None:
        asked = {**provider.get_auth_params(), "prompt": "login", "max_age": app_settings.REAUTHENTICATION_TIMEOUT}
        answer: HttpResponse = provider.redirect(
            request, AuthProcess.REDIRECT, next_url=next_url, data=CONFIRMS, auth_params=asked
        )
        return answer
    return render(request, "account/reauthenticate_by_provider.html", {"provider": provider, "next": next_url})


def is_confirmation(sociallogin: SocialLogin) -> bool:
    return bool(sociallogin.state.get("data") == CONFIRMS)


def confirmed(request: HttpRequest, sociallogin: SocialLogin) -> HttpResponse:
    """Back from the provider: what was begun goes on, if it was this very user who signed in there, and just now."""
    next_url = sociallogin.state.get("next") or reverse("console:home")
    if request.user.is_authenticated and sociallogin.user == request.user and _is_fresh(sociallogin):
        account = sociallogin.account
        record_authentication(
            request, request.user, "socialaccount", provider=account.provider, uid=account.uid, reauthenticated=True
        )
        request.GET = QueryDict(urlencode({"next": next_url}))  # where allauth looks for it
        return resume_request(request) or redirect(next_url)
    messages.error(request, f"{sociallogin.provider} did not sign you in anew with the account that is connected here.")
    return redirect(f"{reverse('console:confirm')}?{urlencode({'next': next_url})}")


def is_recent(request: HttpRequest) -> bool:
    """Whether the user authenticated within the last five minutes, in a way that counts."""
    recent = time.time() - app_settings.REAUTHENTICATION_TIMEOUT
    return any(
        record["at"] > recent and (record["method"] != "socialaccount" or record.get("reauthenticated"))
        for record in get_authentication_records(request, request.user)
    )


def _is_fresh(sociallogin: SocialLogin) -> bool:
    """A provider that knows `max_age` says when it asked for the credentials; of another its word is taken."""
    at = sociallogin.account.extra_data.get("id_token", {}).get("auth_time")
    if at is None:
        return True
    return isinstance(at, int | float) and at > time.time() - app_settings.REAUTHENTICATION_TIMEOUT


def _provider(request: HttpRequest) -> Any:
    """The one that the user signs in through; None where there is none, or none any more."""
    account = SocialAccount.objects.filter(user_id=request.user.pk).first()
    try:
        return account and account.get_provider(request)
    except SocialApp.DoesNotExist:
        return None


urls = [path("you/confirm", confirm, name="confirm")]
