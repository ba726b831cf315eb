"""The people of the console's tests, and how they come in: with a session of their own, over HTTP or in a browser."""

import re
import secrets
import time
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import httpx
import pyotp
from allauth.account.internal.flows.login import record_authentication
from allauth.account.models import EmailAddress
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.hashers import make_password
from django.http import HttpRequest

from accounts import tokens
from accounts.models import Membership, Tenant, User
from accounts.policy import Role
from accounts.sessions import SessionKey, SessionStore
from tests.cast import new_tenant
from tests.client import NO_TLS
from tests.processes import HOST, RunningServer

PASSWORD = "correct horse battery"
TOTP_SECONDS, LEAST_SECONDS = 30, 8


@dataclass(frozen=True)
class Person:
    """A user who is a member of a tenant."""

    user: User
    tenant: Tenant
    role: str
    session: str = field(repr=False)  # the token, as their cookie has it

    @property
    def code(self) -> str:
        """The tenant in URLs."""
        return tokens.encode_id(self.tenant.id)

    def path(self, page: str = "") -> str:
        return f"/console/t/{self.code}/{page}"


@cache
def _hashed_password() -> str:
    """Made once a run: hashing takes a third of a second, as it should."""
    return make_password(PASSWORD)


def new_user(email: str | None = None) -> User:
    """One whose e-mail address is verified, with PASSWORD."""
    user = User.objects.create(email=email or f"user-{secrets.token_hex(6)}@example.com", password=_hashed_password())
    EmailAddress.objects.create(user=user, email=user.email, verified=True, primary=True)
    return user


def new_person(role: str = Role.OWNER, tenant: Tenant | None = None, user: User | None = None) -> Person:
    tenant, user = tenant or new_tenant(), user or new_user()
    Membership.objects.create(tenant=tenant, user=user, role=role)
    return Person(user, tenant, role, new_session(user))


def new_session(user: User) -> str:
    """The token of a session in which the user has just signed in with their password, so may do what asks for it."""
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = settings.AUTHENTICATION_BACKENDS[0]
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    request = HttpRequest()
    request.session = store
    record_authentication(request, user, "password", reauthenticated=True)
    store.create()
    assert isinstance(store.session_key, SessionKey)
    return store.session_key.token


def session_of(token: str) -> SessionStore:
    """As the database has it."""
    return SessionStore(SessionKey.of(token))


def forget_authentication(token: str) -> None:
    """As though it had been an hour ago: what is guarded asks again."""
    session = session_of(token)
    for record in session["account_authentication_methods"]:
        record["at"] -= 3600
    session.save()


def code_of(secret: str) -> str:
    """What an authenticator app shows: one that is good for some seconds more, since the server takes no other."""
    left = TOTP_SECONDS - time.time() % TOTP_SECONDS
    if left < LEAST_SECONDS:
        time.sleep(left)
    return pyotp.TOTP(secret).now()


class Visitor:
    """A browser without a screen: keeps cookies, and sends the CSRF token of the page it looked at last."""

    def __init__(self, server: RunningServer, session: str | None = None) -> None:
        self.cookies = httpx.Cookies()
        self._url = server.url
        self._token = ""
        if session:
            self.cookies.set(settings.SESSION_COOKIE_NAME, session, domain=HOST)

    def get(self, path: str, **arguments: Any) -> httpx.Response:
        return self._send("GET", path, **arguments)

    def post(self, path: str, data: dict[str, Any] | None = None, **arguments: Any) -> httpx.Response:
        if not self._token:
            self.get("/console/account/login/", follow_redirects=True)
        return self._send("POST", path, data={"csrfmiddlewaretoken": self._token, **(data or {})}, **arguments)

    def _send(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        with httpx.Client(base_url=self._url, cookies=self.cookies, timeout=30, verify=NO_TLS) as client:
            response = client.request(method, path, **arguments)
            self.cookies = client.cookies
        return self._keep(response)

    def _keep(self, response: httpx.Response) -> httpx.Response:
        found = re.search(r'name="csrf-token" content="(\w+)"', response.text)
        self._token = found.group(1) if found else self._token
        return response


def visitor(server: RunningServer, person: Person) -> Visitor:
    return Visitor(server, person.session)


def mails_to(server: RunningServer, address: str) -> list[str]:
    """What the server has sent there, oldest first, as it printed it; subject and text."""
    log = server.log_path.read_text(errors="replace")
    mails = re.split(r"^Content-Type: text/plain", log, flags=re.MULTILINE)[1:]
    return [mail.partition("-" * 79)[0] for mail in mails if f"\nTo: {address}\n" in mail]


def link_in(mail: str) -> str:
    """The path of the first link to the console's account pages."""
    found = re.search(r"https?://[^/\s]+(/console/account/\S+)", mail)
    assert found, mail
    return found.group(1)
