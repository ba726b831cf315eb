"""Signing up and in, over HTTP against the real server: the journeys, and what hostile visitors try."""

import re
import secrets
import time
from datetime import timedelta
from typing import Any

import httpx
import pytest
from allauth.account.models import EmailAddress
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import APIKey, AuditEvent, Membership, User
from accounts.sessions import SessionKey
from billing import credits
from billing.models import Account, LedgerEntry
from billing.tenants import change_plan, create_tenant
from console import sessions, tenancy
from tests.console_cast import PASSWORD, Visitor, link_in, mails_to, new_person, new_user, visitor
from tests.processes import HOST, RunningServer
from tests.signing_in_cast import LOGIN, SIGNUP, an_address, is_signed_in, sign_in, signed_up

pytestmark = pytest.mark.usefixtures("unthrottled")

# Signing up.


def test_sign_up_makes_user_tenant_membership_and_key(server: RunningServer) -> None:
    email = an_address()
    someone = Visitor(server)
    answer = someone.post(SIGNUP, {"email": email.upper(), "password1": PASSWORD})
    user = User.objects.get(email=email)
    membership = Membership.objects.select_related("tenant").get(user=user)
    assert (membership.role, membership.tenant.name) == ("owner", email.partition("@")[0])
    key = APIKey.objects.get(tenant=membership.tenant)
    assert key.scope_names == ["read", "write", "delete", "gateway"]
    account = Account.objects.get(tenant=membership.tenant)
    assert (account.plan, account.balance, account.unverified) == ("free", 0, True)
    assert re.fullmatch(r"/console/t/\w+/start", answer.headers["location"])
    assert is_signed_in(someone)
    assert set(AuditEvent.objects.filter(tenant_id=membership.tenant_id).values_list("actor", flat=True)) == {email}


def test_tenant_whose_name_is_taken_gets_another(server: RunningServer) -> None:
    local = f"bob{secrets.token_hex(6)}"
    for domain in ("one.example.com", "two.example.com"):
        signed_up(server, f"{local}@{domain}")
    names = Membership.objects.filter(user__email__startswith=local).values_list("tenant__name", flat=True)
    assert sorted(name[: len(local)] for name in names) == [local, local]
    assert len(set(names)) == 2


@pytest.mark.parametrize(
    ("field", "value"),
    [("password1", "short"), ("password1", "1234567890123"), ("password1", "password1234"), ("email", "no address")],
)
def test_sign_up_refused_makes_nothing(server: RunningServer, field: str, value: str) -> None:
    email = an_address()
    answer = Visitor(server).post(SIGNUP, {"email": email, "password1": PASSWORD, field: value})
    assert 'class="errorlist"' in answer.text
    assert not User.objects.filter(email=email).exists()


def test_sign_up_is_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    user = new_user()

    def fail(*args: Any, **arguments: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("accounts.keys.create_api_key", fail)
    with pytest.raises(RuntimeError):
        tenancy.found(user)
    assert not Membership.objects.filter(user=user).exists()


def test_sign_up_with_an_address_that_has_an_account(server: RunningServer) -> None:
    user = new_user()
    answer = Visitor(server).post(SIGNUP, {"email": user.email, "password1": PASSWORD})
    assert answer.status_code == 200
    assert "already registered" in answer.text
    assert not Membership.objects.filter(user=user).exists()


# The month's credits, once the address is verified.


def test_credits_come_with_the_verified_address_once(server: RunningServer) -> None:
    email = an_address()
    someone = signed_up(server, email)
    tenant = Membership.objects.get(user__email=email).tenant
    credits.grant_month(tenant.id)  # the task does; it changes nothing yet
    assert Account.objects.get(tenant=tenant).balance == 0

    link = link_in(mails_to(server, email)[0])
    assert "verify it" in someone.get(link).text
    assert not EmailAddress.objects.get(email=email).verified, "a link that is only fetched verifies nothing"
    assert someone.post(link).status_code == 302
    credits.grant_month(tenant.id)
    assert someone.post(link).status_code in (200, 302, 404)  # again
    assert Account.objects.get(tenant=tenant).balance == 100_00
    assert LedgerEntry.objects.filter(tenant_id=tenant.id).count() == 1


def test_later_tenants_of_a_verified_owner_get_credits_at_once(server: RunningServer) -> None:
    person = new_person()
    name = f"later {secrets.token_hex(4)}"
    answer = visitor(server, person).post("/console/tenants/new", {"name": name})
    assert answer.status_code == 302
    assert Account.objects.get(tenant__name=name).balance == 100_00
    again = visitor(server, person).post("/console/tenants/new", {"name": name})
    assert (again.status_code, "has this name already" in again.text) == (422, True)


def test_nobody_owns_more_tenants_than_they_may(monkeypatch: pytest.MonkeyPatch) -> None:
    user = new_user()
    monkeypatch.setattr(tenancy, "MOST_OWNED", 1)
    tenancy.create(f"only {secrets.token_hex(4)}", user)
    with pytest.raises(tenancy.Refused, match="You own 1 tenants already"):
        tenancy.create(f"more {secrets.token_hex(4)}", user)


def test_operators_tenants_get_credits_at_once() -> None:
    tenant = create_tenant(f"made {secrets.token_hex(4)}", "operator")
    assert Account.objects.get(tenant=tenant).balance == 100_00


def test_unverified_tenant_gets_nothing_from_another_plan_either() -> None:
    tenant = create_tenant(f"made {secrets.token_hex(4)}", "operator", verified=False)
    change_plan(tenant, "pro", "operator")
    change_plan(tenant, "free", "operator")
    assert Account.objects.get(tenant=tenant).balance == 0


# Signing in and out.


def test_sign_in_and_out(server: RunningServer) -> None:
    person = new_person()
    someone, answer = sign_in(server, person.user)
    assert (answer.status_code, answer.headers["location"]) == (302, "/console/")
    assert someone.get("/console/").headers["location"] == person.path()
    assert "Are you sure" not in someone.get("/console/account/logout/").text
    assert is_signed_in(someone), "only a POST signs out"
    assert someone.post("/console/account/logout/").status_code == 302
    assert not is_signed_in(someone)


def test_session_changes_its_key_with_signing_in(server: RunningServer) -> None:
    user = new_user()
    someone = Visitor(server)
    planted = secrets.token_hex(16)
    someone.cookies.set(settings.SESSION_COOKIE_NAME, planted, domain=HOST)
    someone.post(LOGIN, {"login": user.email, "password": PASSWORD})
    keys = {
        SessionKey.of(cookie.value or "")
        for cookie in someone.cookies.jar
        if cookie.name == settings.SESSION_COOKIE_NAME
    }
    assert not Session.objects.filter(session_key__in=(planted, SessionKey.of(planted))).exists()
    assert UserSession.objects.get(user=user).session_key in keys - {SessionKey.of(planted)}


def test_session_cannot_be_taken_over_with_what_the_database_has(server: RunningServer) -> None:
    someone, _ = sign_in(server, new_user())
    [token] = [cookie.value for cookie in someone.cookies.jar if cookie.name == settings.SESSION_COOKIE_NAME]
    assert token is not None
    session = Session.objects.get(session_key=SessionKey.of(token))
    assert token not in session.session_data
    assert not UserSession.objects.filter(session_key=token).exists()
    thief = Visitor(server)
    thief.cookies.set(settings.SESSION_COOKIE_NAME, session.session_key, domain=HOST)
    assert not is_signed_in(thief)
    assert is_signed_in(someone)


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example/", r"\\evil.example", "http:evil", "javascript:alert(1)",
               "http://localhost:1/console/", "/\t/evil.example/"]
)  # fmt: skip
def test_next_leads_nowhere_else(server: RunningServer, target: str) -> None:
    _, answer = sign_in(server, new_user(), next=target)
    assert (answer.status_code, answer.headers["location"]) == (302, "/console/")


def test_next_leads_to_a_page_of_the_console(server: RunningServer) -> None:
    _, answer = sign_in(server, new_user(), next="/console/you?x=1")
    assert answer.headers["location"] == "/console/you?x=1"


def test_signing_in_is_throttled_over_all_processes(server: RunningServer, server_without_lane: RunningServer) -> None:
    user = new_user()
    wrong = [sign_in(server, user, "wrong horse battery")[1].text for _ in range(5)]
    assert all("not correct" in text for text in wrong)
    for where in (server, server_without_lane):
        _, right = sign_in(where, user)
        assert (right.status_code, "Too many failed" in right.text) == (200, True)
    assert not UserSession.objects.filter(user=user).exists()


def test_throttle_does_not_follow_the_host_header(server: RunningServer) -> None:
    user = new_user()
    for port in range(1, 6):
        someone = Visitor(server)
        someone.get(LOGIN)
        fields = {"login": user.email, "password": "wrong horse battery"}
        assert "not correct" in someone.post(LOGIN, fields, headers={"host": f"localhost:{port}"}).text
    assert "Too many failed" in sign_in(server, user)[1].text


def test_answers_do_not_tell_whether_an_address_has_an_account(server: RunningServer) -> None:
    known, unknown = new_user().email, an_address()

    def answers(path: str, **fields: str) -> list[tuple[int, str]]:
        given = []
        for email in (known, unknown):
            answer = Visitor(server).post(path, {name: value or email for name, value in fields.items()})
            text = re.sub(r'(value|content)="\w{64}"', "", answer.text).replace(email, "")
            given.append((answer.status_code, answer.headers.get("location", "") + text))
        return given

    for_login = answers(LOGIN, login="", password="wrong horse battery")
    assert for_login[0] == for_login[1]
    for_reset = answers("/console/account/password/reset/", email="")
    assert for_reset[0] == for_reset[1]
    assert "no account" not in for_reset[0][1].lower()


@pytest.mark.parametrize("path", [LOGIN, SIGNUP, "/console/account/logout/", "/console/account/password/reset/"])
def test_forms_take_the_csrf_token(server: RunningServer, path: str) -> None:
    answer = httpx.post(f"{server.url}{path}", data={"email": "a@example.com", "login": "a@example.com"})
    assert answer.status_code == 403
    assert "The form could not be accepted" in answer.text
    assert "content-security-policy" in answer.headers


def test_too_many_sign_ups_from_one_address(server: RunningServer) -> None:
    for _ in range(10):
        Visitor(server).post(SIGNUP, {"email": "no address", "password1": ""})
    answer = Visitor(server).post(SIGNUP, {"email": an_address(), "password1": PASSWORD})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "60")
    assert "That was too often" in answer.text


# Passwords and addresses.


def test_reset_the_password(server: RunningServer) -> None:
    person = new_person()
    elsewhere = visitor(server, person)
    assert is_signed_in(elsewhere)
    someone = Visitor(server)
    assert someone.post("/console/account/password/reset/", {"email": person.user.email}).status_code == 302
    mail = mails_to(server, person.user.email)[-1]
    assert f"{settings.PUBLIC_URL}/console/account/password/reset/key/" in mail
    form = someone.get(link_in(mail), follow_redirects=True)
    fresh = "another horse battery"
    someone.post(form.url.path, {"password1": fresh, "password2": fresh})
    assert not is_signed_in(elsewhere), "other sessions end"
    assert sign_in(server, person.user)[1].status_code == 200
    assert sign_in(server, person.user, fresh)[1].status_code == 302
    assert "This link does not work" in Visitor(server).get(link_in(mail), follow_redirects=True).text


def test_expired_sessions_are_dropped() -> None:
    person = new_person()
    Session.objects.filter(session_key=SessionKey.of(person.session)).update(
        expire_date=timezone.now() - timedelta(seconds=1)
    )
    sessions.drop_expired()
    assert not Session.objects.filter(session_key=SessionKey.of(person.session)).exists()


def test_links_in_mails_do_not_follow_the_host_header(server: RunningServer) -> None:
    user = new_user()
    someone = Visitor(server)
    someone.get("/console/account/password/reset/")
    someone.post("/console/account/password/reset/", {"email": user.email}, headers={"host": "localhost:666"})
    assert ":666" not in mails_to(server, user.email)[-1]


def test_change_the_address(server: RunningServer) -> None:
    person, fresh = new_person(), an_address()
    someone = visitor(server, person)
    former = person.user.email
    assert someone.post("/console/account/email/", {"email": fresh, "action_add": ""}).status_code == 302
    assert User.objects.get(pk=person.user.pk).email == former, "not before it is verified"
    someone.post(link_in(mails_to(server, fresh)[0]))
    person.user.refresh_from_db()
    assert person.user.email == fresh
    assert list(EmailAddress.objects.filter(user=person.user).values_list("email", "verified")) == [(fresh, True)]
    assert "changed" in mails_to(server, former)[-1].lower(), "the former address is told"


def test_change_the_password_ends_other_sessions(server: RunningServer) -> None:
    person = new_person()
    elsewhere, _ = sign_in(server, person.user)
    here = visitor(server, person)
    fresh = "another horse battery"
    fields = {"oldpassword": PASSWORD, "password1": fresh, "password2": fresh}
    assert here.post("/console/account/password/change/", fields).headers["location"] == "/console/you"
    assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)


# Sessions and re-authentication.


def test_sessions_are_listed_and_ended(server: RunningServer) -> None:
    person = new_person()
    elsewhere, _ = sign_in(server, person.user)
    here = visitor(server, person)
    assert "this one" in here.get("/console/account/sessions/").text
    other = UserSession.objects.exclude(session_key=SessionKey.of(person.session)).get(user=person.user)
    stranger = visitor(server, new_person())
    assert stranger.post(f"/console/you/sessions/{other.pk}/end").status_code == 404
    assert is_signed_in(elsewhere)
    assert here.post(f"/console/you/sessions/{other.pk}/end").status_code == 302
    assert (is_signed_in(here), is_signed_in(elsewhere)) == (True, False)

    another, _ = sign_in(server, person.user)
    assert here.post("/console/account/sessions/").status_code == 302
    assert (is_signed_in(here), is_signed_in(another)) == (True, False)


def test_fresh_sign_in_counts_as_authentication_and_an_old_one_does_not(server: RunningServer) -> None:
    person = new_person()
    someone, _ = sign_in(server, person.user)
    assert someone.get("/console/account/2fa/totp/activate/").status_code == 200
    row = Session.objects.get(session_key=UserSession.objects.get(user=person.user).session_key)
    data = row.get_decoded()
    for record in data["account_authentication_methods"]:
        record["at"] = time.time() - 301
    row.session_data = Session.objects.encode(data)
    row.save()
    answer = someone.get("/console/account/2fa/totp/activate/")
    assert answer.headers["location"].startswith("/console/account/reauthenticate/?next=")
    wrong = someone.post(answer.headers["location"], {"password": "wrong horse battery"})
    assert "Incorrect password" in wrong.text
    answer = someone.post(answer.headers["location"], {"password": PASSWORD})
    assert answer.headers["location"] == "/console/account/2fa/totp/activate/"


# Problems.


def test_pages_that_are_not_there(server: RunningServer) -> None:
    page = visitor(server, new_person()).get("/console/nothing")
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "There is no such page" in page.text
    api = httpx.get(f"{server.url}/api/v1/nothing")
    assert (api.status_code, api.headers["content-type"]) == (404, "application/json")


def test_oidc_is_offered_only_where_it_is_set(server: RunningServer) -> None:
    assert "Continue with" not in Visitor(server).get(LOGIN).text
