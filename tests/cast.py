"""The fixed cast of the tests: who calls, with which API key.

Tenant A has two keys that may do everything and one key for each scope that it lacks; tenant B is a stranger to it;
the outsider has an API key that nobody issued. Made once a worker, in the committed database, so that servers know it.
"""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from accounts import keys, tokens
from accounts.models import SCOPES, APIKey, Tenant, random_id
from billing.tenants import create_tenant

ACTOR = "the tests"


@dataclass(frozen=True)
class Key:
    """An API key with its token, which the database does not hold."""

    row: APIKey
    token: str = field(repr=False)

    @property
    def id(self) -> str:
        return tokens.encode_id(self.row.id)


@dataclass(frozen=True)
class Cast:
    tenant_a: Tenant
    first: Key  # tenant A's, with all scopes
    second: Key  # another one of tenant A's, with all scopes
    without: dict[str, Key]  # tenant A's by the one scope that each lacks
    expired: Key  # tenant A's, and so the next
    revoked: Key
    tenant_b: Tenant
    stranger: Key  # tenant B's, with all scopes
    outsider: str  # well formed, and unknown


def new_tenant() -> Tenant:
    """One without limits."""
    return create_tenant(f"tenant {secrets.token_hex(8)}", ACTOR, "self-hosted")


def new_key(tenant: Tenant, scopes: list[str] | None = None) -> Key:
    return Key(*keys.create_api_key(tenant, name="test", scopes=scopes or list(SCOPES), actor=ACTOR))


def new_caller() -> Key:
    """A key with all scopes of a tenant that has nothing else."""
    return new_key(new_tenant())


def expire(key: Key) -> Key:
    """Its expiry has passed: an hour before now, which no one can ask for."""
    APIKey.objects.filter(id=key.row.id).update(expires_at=timezone.now() - timedelta(hours=1))
    return key


def revoke(key: Key) -> Key:
    assert keys.revoke_api_key(key.row, ACTOR)
    return key


@pytest.fixture(name="cast", scope="session")
def cast_fixture(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    with django_db_blocker.unblock():
        yield _the_cast()


_made: list[Cast] = []


def _the_cast() -> Cast:
    """Made on the first call: each test file that imports the fixture has its own of it, and all have one cast."""
    if not _made:
        a, b = new_tenant(), new_tenant()
        _made.append(
            Cast(
                tenant_a=a,
                first=new_key(a),
                second=new_key(a),
                without={lacking: new_key(a, [scope for scope in SCOPES if scope != lacking]) for lacking in SCOPES},
                expired=expire(new_key(a)),
                revoked=revoke(new_key(a)),
                tenant_b=b,
                stranger=new_key(b),
                outsider=tokens.new_token(random_id()),
            )
        )
    return _made[0]
