"""The API key made at sign-up, kept in the session from then until its one display.

A session lies in the database, in clear to whoever reads that: the key is sealed with a master key, and goes with the
display or after an hour.
"""

import time
from contextlib import suppress

from django.contrib.sessions.backends.base import SessionBase

from accounts import keyring, tokens
from accounts.models import Tenant

TENANT = "tenant"  # of the session: the tenant looked at last, as in URLs
_NAME = "first_key"
_PURPOSE = "first API key"
_SECONDS = 3600


def keep(session: SessionBase, tenant: Tenant, token: str) -> None:
    session[TENANT] = tokens.encode_id(tenant.id)
    session[_NAME] = {"tenant": tenant.id, "sealed": keyring.load().seal(token, _PURPOSE), "at": time.time()}


def take(session: SessionBase, tenant: Tenant) -> str | None:
    """The tenant's first API key, the first time that this is asked; later None. Raises keyring.MasterKeyUnavailable,
    after which it can still be asked."""
    kept = session.get(_NAME)
    if kept is None or kept["tenant"] != tenant.id:
        return None
    token = None
    if time.time() - kept["at"] <= _SECONDS:
        with suppress(keyring.CannotUnwrap):  # a master key was taken away since
            token = keyring.load().open(kept["sealed"], _PURPOSE)
    del session[_NAME]
    return token
