"""Signing in through an OpenID Connect provider, where the settings name one."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.socialaccount.models import SocialAccount

from accounts.models import APIKey, Membership, User
from billing.models import Account
from tests.conftest import server_environment
from tests.console_cast import (
    PASSWORD,
    Person,
    Visitor,
    forget_authentication,
    link_in,
    mails_to,
    new_person,
    new_user,
    visitor,
)
from tests.oidc_provider import Provider, running_provider
from tests.processes import RunningServer, running_server
from tests.signing_in_cast import is_signed_in, signed_up
from tests.test_settings import assert_refused, read

pytestmark = pytest.mark.usefixtures("unthrottled")
LOGIN = "/console/account/oidc/oidc/login/"
CONFIRM = "/console/you/confirm"
RESET = "/console/account/password/reset/"


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
    return someone, there_and_back(server, someone, LOGIN)


def there_and_back(server: RunningServer, someone: Visitor, path: str, **fields: str) -> httpx.Response:
    """By the form at `path` to the provider, which signs its person in; what the console answers then."""
    someone.get("/console/account/login/", follow_redirects=True)  # for the token: signing up or in changes it
    asked = someone.post(path, fields)
    assert asked.status_code == 302, asked.text
    back = httpx.get(asked.headers["location"]).headers["location"]
    return someone.get(back.removeprefix(server.url))


def without_password(provider: Provider) -> Person:
    """The owner of a tenant who only comes in through the provider, where they are signed in. Their session is an hour
    old."""
    user = new_user()
    user.set_unusable_password()
    user.save()
    provider.person = {"sub": secrets.token_hex(8), "email": user.email, "email_verified": True}
    SocialAccount.objects.create(user=user, provider="oidc", uid=provider.person["sub"])
    person = new_person(user=user)
    forget_authentication(person.session)
    return person


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


# Confirming who one is, without a password here.


def test_api_key_takes_a_fresh_sign_in_at_the_provider(provider: Provider, server: RunningServer) -> None:
    person = without_password(provider)
    owner = visitor(server, person)
    fields = {"name": "by an hour-old session", "scopes": "read"}
    asked = owner.post(person.path("keys/create"), fields).headers["location"]
    assert asked.startswith(f"{CONFIRM}?next=")
    assert not APIKey.objects.filter(tenant=person.tenant, name=fields["name"]).exists()

    assert "Sign in with Example login again" in owner.get(asked).text
    sent = owner.post(CONFIRM, {"next": person.path("keys/create")}).headers["location"]
    query = parse_qs(urlsplit(sent).query)
    assert (query["prompt"], query["max_age"]) == (["login"], ["300"])
    back = httpx.get(sent).headers["location"]
    shown = owner.get(back.removeprefix(server.url))
    assert "ck_live_" in shown.text, "what was sent goes on from there"
    assert APIKey.objects.filter(tenant=person.tenant, name=fields["name"]).count() == 1
    assert "ck_live_" in owner.post(person.path("keys/create"), {**fields, "name": "another"}).text, "for five minutes"


def test_tenant_is_deleted_by_no_old_session(provider: Provider, server: RunningServer) -> None:
    person = without_password(provider)
    asked = visitor(server, person).post(person.path("settings/delete"), {"name": person.tenant.name})
    assert asked.headers["location"].startswith(CONFIRM)
    person.tenant.refresh_from_db()
    assert person.tenant.deletion_at is None


@pytest.mark.parametrize("path", ["password/set/", "2fa/totp/activate/", "2fa/webauthn/add/"])
def test_old_session_sets_up_nothing_to_confirm_with(provider: Provider, server: RunningServer, path: str) -> None:
    person = without_password(provider)
    owner = visitor(server, person)
    fields = {"password1": PASSWORD, "password2": PASSWORD}
    for answer in (owner.get(f"/console/account/{path}"), owner.post(f"/console/account/{path}", fields)):
        assert answer.status_code == 302, answer.text
        assert CONFIRM in owner.get(answer.headers["location"], follow_redirects=True).url.path
    person.user.refresh_from_db()
    assert not person.user.has_usable_password()
    there_and_back(server, owner, CONFIRM, next=f"/console/account/{path}")
    assert owner.get(f"/console/account/{path}").status_code == 200


def test_sign_in_there_counts_only_when_it_was_just_now_and_theirs(provider: Provider, server: RunningServer) -> None:
    person = without_password(provider)
    theirs = provider.person
    owner = visitor(server, person)
    others = {"sub": secrets.token_hex(8), "email": "other@example.com", "email_verified": True}
    for who in ({**theirs, "auth_time": time.time() - 3600}, {**theirs, "auth_time": "now"}, others):
        provider.person = who
        assert there_and_back(server, owner, CONFIRM, next="/console/you").headers["location"].startswith(CONFIRM)
        assert "did not sign you in anew" in owner.get(CONFIRM).text
    provider.person = {**theirs, "auth_time": time.time() - 5}
    assert there_and_back(server, owner, CONFIRM, next="/console/you").headers["location"] == "/console/you"


def test_plain_sign_in_through_the_provider_confirms_nothing(provider: Provider, server: RunningServer) -> None:
    """The provider may have asked for nothing: it does not when somebody is signed in there."""
    person = without_password(provider)
    someone = Visitor(server)
    assert there_and_back(server, someone, LOGIN).status_code == 302
    assert is_signed_in(someone)
    for path in (f"{LOGIN}?process=redirect&next=/console/you", f"{LOGIN}?data=confirms&process=redirect"):
        there_and_back(server, someone, path)
        asked = someone.post(person.path("keys/create"), {"name": "x", "scopes": "read"})
        assert asked.headers["location"].startswith(CONFIRM)


def test_who_has_a_password_confirms_with_that(server: RunningServer) -> None:
    someone = visitor(server, new_person())
    assert someone.get(CONFIRM).headers["location"] == "/console/account/reauthenticate/?next=%2Fconsole%2F"


def test_who_has_nothing_to_confirm_with_is_told_how(provider: Provider, server: RunningServer) -> None:
    person = without_password(provider)
    SocialAccount.objects.filter(user=person.user).delete()
    owner = visitor(server, person)
    page = owner.post(person.path("keys/create"), {"name": "x", "scopes": "read"}, follow_redirects=True)
    assert "You have no password here to confirm with" in page.text
    owner.post(RESET, {"email": person.user.email})
    assert "/password/reset/key/" in link_in(mails_to(server, person.user.email)[-1])


# Connecting.


def test_connecting_takes_a_verified_address(provider: Provider, server: RunningServer) -> None:
    email = f"victim.{secrets.token_hex(6)}@example.com"
    provider.person = {"sub": secrets.token_hex(8), "email": "mallory@example.com", "email_verified": True}
    attacker = signed_up(server, email)
    answer = there_and_back(server, attacker, f"{LOGIN}?process=connect")
    assert "First verify your e-mail address" in attacker.get(answer.headers["location"]).text
    assert not SocialAccount.objects.filter(uid=provider.person["sub"]).exists()

    EmailAddress.objects.filter(email=email).update(verified=True)
    there_and_back(server, attacker, f"{LOGIN}?process=connect")
    assert SocialAccount.objects.get(uid=provider.person["sub"]).user.email == email


def test_connecting_asks_for_the_password_again(provider: Provider, server: RunningServer) -> None:
    person = new_person()
    owner = visitor(server, person)
    forget_authentication(person.session)
    provider.person = {"sub": secrets.token_hex(8), "email": "mallory@example.com", "email_verified": True}
    asked = there_and_back(server, owner, f"{LOGIN}?process=connect").headers["location"]
    assert asked == "/console/account/reauthenticate/"
    assert not SocialAccount.objects.filter(user=person.user).exists()
    owner.post(asked, {"password": PASSWORD})
    assert SocialAccount.objects.filter(user=person.user).exists()


@pytest.mark.parametrize("verified", [True, False])
def test_who_resets_the_password_of_a_planted_account_has_it_alone(
    provider: Provider, server: RunningServer, verified: bool
) -> None:
    """Whoever signed up through the provider, with an address that is not theirs, does not come back by it."""
    email = f"victim.{secrets.token_hex(6)}@example.com"
    attacker, _ = through(provider, server, email=email, verified=verified)
    mallory = dict(provider.person)
    victim = Visitor(server)
    victim.post(RESET, {"email": email})
    form = victim.get(link_in(mails_to(server, email)[-1]), follow_redirects=True)
    victim.post(form.url.path, {"password1": PASSWORD, "password2": PASSWORD})
    assert not is_signed_in(attacker)
    provider.person = mallory
    there_and_back(server, attacker, LOGIN)
    assert is_signed_in(attacker) is verified, "what the provider verified is its person's"


@pytest.mark.parametrize("missing", ["CACHE_OIDC_CLIENT_ID", "CACHE_OIDC_CLIENT_SECRET"])
def test_issuer_takes_the_rest(missing: str) -> None:
    given = {
        "CACHE_OIDC_ISSUER": "https://login.example.com",
        "CACHE_OIDC_CLIENT_ID": "id",
        "CACHE_OIDC_CLIENT_SECRET": "s",
    }
    assert_refused(read({**given, missing: None}), missing)
