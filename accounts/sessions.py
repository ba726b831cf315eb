"""The console's sessions. The database has SHA-256 digests of them, so who reads it can take over none.

A session's key is the digest, here and wherever Django and allauth speak of it; the token that it is made of stands in
the browser's cookie, and nowhere else.
"""

import base64
import hashlib
import secrets

from django.conf import settings
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.middleware import SessionMiddleware as DjangoMiddleware
from django.http import HttpRequest, HttpResponse

TOKEN_BYTES = 32
KEY_BYTES = 30  # of the digest: 40 characters in base 64, which is what the column takes


class SessionKey(str):
    """The key, as all handle it who load a session anew; it knows its token."""

    token: str

    @classmethod
    def of(cls, token: str) -> "SessionKey":
        """Of the session that a cookie with this value is for."""
        digest = hashlib.sha256(token.encode(errors="replace")).digest()
        key = cls(base64.urlsafe_b64encode(digest[:KEY_BYTES]).decode())
        key.token = token
        return key


class SessionStore(DatabaseStore):
    """A session by its key."""

    def _get_new_session_key(self) -> str:
        return SessionKey.of(secrets.token_urlsafe(TOKEN_BYTES))


class SessionMiddleware(DjangoMiddleware):
    """Django's, between the token in the cookie and the key in the database."""

    def process_request(self, request: HttpRequest) -> None:
        token = request.COOKIES.get(settings.SESSION_COOKIE_NAME)
        request.session = SessionStore(SessionKey.of(token) if token else None)

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        response = super().process_response(request, response)
        cookie, key = response.cookies.get(settings.SESSION_COOKIE_NAME), request.session.session_key
        if cookie is not None and cookie.value:  # else the browser shall forget it
            assert isinstance(key, SessionKey)  # noqa: S101  else a session was made elsewhere: a defect
            cookie.set(cookie.key, key.token, key.token)
        return response
