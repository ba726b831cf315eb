"""Signing in through an OpenID Connect provider, where the settings name one."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount

from accounts.models import Membership, User
from billing.models import Account
from tests.conftest import server_environment
from tests.console_cast import Visitor, new_user
from tests.oidc_provider import Provider, running_provider
from tests.processes import RunningServer, running_server
from tests.test_settings import assert_refused, read

pytestmark = pytest.mark.usefixtures("unthrottled")
LOGIN = "/console/account/oidc/oidc/login/"


@pytest.fixture(scope="module")
def provider() -> Iterator[Provider]:
    with running_provider() as running:
        yield running


@pytest.fixture(scope="module")
def server(
    provider: Provider, django_db_setup: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningServer]:
    """One whose settings name the provider."""
    settings = {
        "CACHE_OIDC_NAME": "Example login",
        "CACHE_OIDC_ISSUER": f"{provider.url}/",
        "CACHE_OIDC_CLIENT_ID": provider.client_id,
        "CACHE_OIDC_CLIENT_SECRET": provider.client_secret,
    }
    log_path: Path = tmp_path_factory.mktemp("server") / "server.log"
    with running_server(log_path, {**server_environment(lane="on"), **settings}) as running:
        yield running


def through(provider: Provider, server: RunningServer, *, email: str, verified: bool) -> tuple[Visitor, httpx.Response]:
    """Somebody new there comes in; what the console answers in the end."""
    provider.person = {"sub": secrets.token_hex(8), "email": email, "email_verified": verified}
    someone = Visitor(server)
    asked = someone.post(LOGIN)
    assert asked.status_code == 302, asked.text
    back = httpx.get(asked.headers["location"]).headers["location"]
    return someone, someone.get(back.removeprefix(server.url))


def test_sign_up_through_the_provider(provider: Provider, server: RunningServer) -> None:
    email = f"oidc.{secrets.token_hex(6)}@example.com"
    page = Visitor(server).get("/console/account/login/")
    assert "Continue with Example login" in page.text
    assert f"form-action 'self' {provider.url}" in page.headers["content-security-policy"]
    someone, answer = through(provider, server, email=email, verified=True)
    assert answer.headers["location"].endswith("/start"), answer.text
    assert "ck_live_" in someone.get(answer.headers["location"]).text
    membership = Membership.objects.get(user__email=email)
    assert Account.objects.get(tenant_id=membership.tenant_id).balance == 100_00, "the provider verified the address"


def test_who_comes_again_gets_nothing_new(provider: Provider, server: RunningServer) -> None:
    email = f"oidc.{secrets.token_hex(6)}@example.com"
    through(provider, server, email=email, verified=True)
    person = dict(provider.person)
    someone = Visitor(server)
    provider.person = person
    back = httpx.get(someone.post(LOGIN).headers["location"]).headers["location"]
    assert someone.get(back.removeprefix(server.url)).headers["location"] == "/console/"
    assert Membership.objects.filter(user__email=email).count() == 1


def test_address_that_the_provider_did_not_verify(provider: Provider, server: RunningServer) -> None:
    email = f"oidc.{secrets.token_hex(6)}@example.com"
    through(provider, server, email=email, verified=False)
    assert not EmailAddress.objects.get(email=email).verified
    assert Account.objects.get(tenant__memberships__user__email=email).balance == 0


@pytest.mark.parametrize("verified", [True, False])
def test_provider_opens_nobodys_account_by_its_address(
    provider: Provider, server: RunningServer, verified: bool
) -> None:
    user = new_user()
    someone, answer = through(provider, server, email=user.email, verified=verified)
    assert someone.get("/console/you").status_code == 302, answer.text
    assert not SocialAccount.objects.filter(user=user).exists()
    assert User.objects.filter(email=user.email).count() == 1


def test_answer_of_another_browser_is_refused(provider: Provider, server: RunningServer) -> None:
    provider.person = {"sub": "1", "email": "mallory@example.com", "email_verified": True}
    back = httpx.get(Visitor(server).post(LOGIN).headers["location"]).headers["location"]
    victim = Visitor(server)
    assert "did not sign you in" in victim.get(back.removeprefix(server.url)).text
    assert victim.get("/console/you").status_code == 302


@pytest.mark.parametrize("missing", ["CACHE_OIDC_CLIENT_ID", "CACHE_OIDC_CLIENT_SECRET"])
def test_issuer_takes_the_rest(missing: str) -> None:
    given = {
        "CACHE_OIDC_ISSUER": "https://login.example.com",
        "CACHE_OIDC_CLIENT_ID": "id",
        "CACHE_OIDC_CLIENT_SECRET": "s",
    }
    assert_refused(read({**given, missing: None}), missing)
