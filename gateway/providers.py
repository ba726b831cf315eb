"""A tenant's providers: making, changing and deleting them. Each change stands in the audit log, in the same
transaction.

A provider's credential is sealed as the tenant's secret `gateway:<name>` and only the gateway opens it, for the very
host that it was given for: nothing here gives it out again.
"""

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts import audit, sealed
from accounts.models import Tenant, TenantSecret
from cacheservice import egress
from gateway import personal_data, time_sensitive
from gateway.models import Kind, ModelPrice, Provider
from gateway.policy import DEFAULT_POLICY, Policy

MOST_PROVIDERS: Final = 100  # of a tenant
MOST_FALLBACKS: Final = 5
LONGEST_NAME: Final = 32  # so that the name of its secret fits into that column
LONGEST_URL, LONGEST_HEADER, LONGEST_CREDENTIAL = 500, 100, 8000
NAME: Final = rf"^[a-z0-9][a-z0-9-]{{0,{LONGEST_NAME - 1}}}$"
HEADER: Final = rf"^[A-Za-z0-9-]{{1,{LONGEST_HEADER}}}$"

# Where the providers of a kind are, for those who do not say, and which header takes their credential.
BASE_URLS: Final = {Kind.OPENAI: "https://api.openai.com", Kind.ANTHROPIC: "https://api.anthropic.com"}
CREDENTIAL_HEADERS: Final = {
    Kind.OPENAI: "authorization",
    Kind.ANTHROPIC: "x-api-key",
    Kind.OTHER: "authorization",
}

_name = re.compile(NAME)
_header = re.compile(HEADER)
_credential = re.compile(rb"[!-~]([ -~]*[!-~])?")  # what a header can say
_SECRET_PREFIX: Final = "gateway:"  # noqa: S105  of the secret's name
# Those that HTTP itself needs.
_TAKEN_HEADERS: Final = frozenset(
    ("host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding", "accept-encoding",
     "te", "trailer", "upgrade", "expect", "keep-alive", "proxy-authorization", "proxy-connection")
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    """A provider as the gateway calls it. Its repr does not show the credential."""

    tenant_id: int
    name: str
    kind: str
    base_url: str  # without a slash at its end
    credential: bytes | None = field(repr=False)
    credential_header: str  # in lower case; `authorization` takes it as `Bearer …`, any other as it is
    policy: Policy
    fallbacks: tuple[str, ...]
    revision: int  # another one after each change
    unusable: str = ""  # why its credential cannot be opened, for the client; empty: it can, or there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderSettings:
    """What a tenant says of a provider."""

    kind: str
    base_url: str = ""  # "": the kind's
    credential_header: str = ""  # "": the kind's
    policy: Policy = DEFAULT_POLICY
    fallbacks: tuple[str, ...] = ()
    credential: bytes | None = field(default=None, repr=False)  # None: as it is; b"": none any more


def settings_of(provider: Provider) -> ProviderSettings:
    """As they are, to be given back with changes (`dataclasses.replace`)."""
    return ProviderSettings(
        kind=provider.kind,
        base_url=provider.base_url,
        credential_header=provider.credential_header,
        policy=policy_of(provider.policy),
        fallbacks=tuple(provider.fallbacks),
    )


def policy_of(stored: dict[str, Any]) -> Policy:
    """A policy from its row. What a newer version of the service has put there is left out."""
    return msgspec.convert({name: stored[name] for name in Policy.__struct_fields__ if name in stored}, Policy)


@transaction.atomic
def create_provider(tenant_id: int, name: str, wanted: ProviderSettings, actor: str) -> Provider:
    """Raises ValueError, naming the field, for what is not allowed, and for a name that is taken."""
    _lock(tenant_id)
    if find_provider(tenant_id, name) is not None:
        raise ValueError(f"name: there is a provider '{name}' already; choose another name, or change that one")
    return _save(None, tenant_id, name, wanted, actor)


@transaction.atomic
def update_provider(tenant_id: int, name: str, wanted: ProviderSettings, actor: str) -> Provider:
    """Raises ValueError, naming the field, for what is not allowed, and where there is no such provider."""
    _lock(tenant_id)
    provider = find_provider(tenant_id, name)
    if provider is None:
        raise ValueError(f"name: there is no provider '{name}'")
    return _save(provider, tenant_id, name, wanted, actor)


@transaction.atomic
def put_provider(tenant_id: int, name: str, wanted: ProviderSettings, actor: str) -> tuple[Provider, bool]:
    """A new one, or one in place of the former; whether it is new. Raises ValueError, naming the field."""
    _lock(tenant_id)
    provider = find_provider(tenant_id, name)
    return _save(provider, tenant_id, name, wanted, actor), provider is None


@transaction.atomic
def delete_provider(tenant_id: int, name: str, actor: str) -> bool:
    """With its credential and prices. False where there is none.

    Raises ValueError while others fall back on it, and for what is no name.
    """
    _check_name(name)
    _lock(tenant_id)
    provider = find_provider(tenant_id, name)
    if provider is None:
        return False
    if others := _who_fall_back_on(tenant_id, name):
        raise ValueError(f"name: {_listed(others)} would fall back on it; take it off their fallbacks first")
    Provider.objects.filter(tenant_id=tenant_id, name=name).delete()
    TenantSecret.objects.filter(tenant_id=tenant_id, name=secret_name(name)).delete()
    ModelPrice.objects.filter(tenant_id=tenant_id, provider=name).delete()
    audit.record(tenant_id, actor, "provider.delete", name)
    return True


def find_provider(tenant_id: int, name: str) -> Provider | None:
    if not _name.fullmatch(name):  # such as one with a character that PostgreSQL's texts cannot have
        return None
    found: Provider | None = Provider.objects.filter(tenant_id=tenant_id, name=name).first()
    return found


def list_providers(tenant_id: int) -> list[Provider]:
    """By name."""
    return list(Provider.objects.filter(tenant_id=tenant_id).order_by("name"))


def secret_name(provider: str) -> str:
    return _SECRET_PREFIX + provider


def with_credential(tenant_id: int) -> set[str]:
    """The names of the tenant's providers that have a credential."""
    found = TenantSecret.objects.filter(tenant_id=tenant_id, name__startswith=_SECRET_PREFIX)
    return {name.removeprefix(_SECRET_PREFIX) for name in found.values_list("name", flat=True)}


def _lock(tenant_id: int) -> None:
    """Changes of a tenant's providers wait for each other: each depends on which others there are."""
    Tenant.objects.select_for_update(no_key=True).get(pk=tenant_id)


def _save(former: Provider | None, tenant_id: int, name: str, wanted: ProviderSettings, actor: str) -> Provider:
    provider = former or Provider(tenant_id=tenant_id, name=_checked_new_name(tenant_id, name))
    kind = _checked_kind(tenant_id, name, wanted.kind)
    base_url = _checked_url(wanted.base_url or BASE_URLS.get(kind, ""))
    header = _checked_header(wanted.credential_header or CREDENTIAL_HEADERS[kind])
    if former is not None:
        _check_credential_stays_home(former, base_url, wanted)
        # Another revision than before, whatever the clocks of the servers say.
        provider.updated_at = max(timezone.now(), former.updated_at + timedelta(microseconds=1))
    provider.kind, provider.base_url, provider.credential_header = kind.value, base_url, header
    provider.policy = msgspec.to_builtins(_checked_policy(wanted.policy))
    provider.fallbacks = _checked_fallbacks(tenant_id, name, kind, wanted.fallbacks)
    provider.save(force_insert=former is None, force_update=former is not None)
    credential = _set_credential(provider, wanted.credential)
    audit.record(
        tenant_id,
        actor,
        "provider.create" if former is None else "provider.update",
        name,
        kind=provider.kind,
        base_url=base_url,
        credential_header=header,
        policy=provider.policy,
        fallbacks=provider.fallbacks,
        credential=credential,
    )
    return provider


def _set_credential(provider: Provider, credential: bytes | None) -> str:
    """Keeps it sealed; what was done with it, for the audit log."""
    name = secret_name(provider.name)
    if credential is None:
        return "unchanged"
    if not credential:
        TenantSecret.objects.filter(tenant_id=provider.tenant_id, name=name).delete()
        return "none"
    sealed.put(provider.tenant_id, name, _checked_credential(credential, provider.credential_header))
    return "set"


def _check_credential_stays_home(former: Provider, base_url: str, wanted: ProviderSettings) -> None:
    """A credential is not sent elsewhere than where it was given for: else whoever may change the URL could read it."""
    if wanted.credential is not None or _origin(former.base_url) == _origin(base_url):
        return
    if former.name in with_credential(former.tenant_id):
        raise ValueError(
            f"credential: it was given for {_origin(former.base_url)}; give the one for {_origin(base_url)}, or an "
            "empty one for none"
        )


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _check_name(name: str) -> None:
    if not _name.fullmatch(name):
        raise ValueError(
            f"name: give 1 to {LONGEST_NAME} of a to z, 0 to 9 and -, not - first: it is a part of the gateway's URLs"
        )


def _checked_new_name(tenant_id: int, name: str) -> str:
    _check_name(name)
    if Provider.objects.filter(tenant_id=tenant_id).count() >= MOST_PROVIDERS:
        raise ValueError(f"name: there are {MOST_PROVIDERS} providers already, which is the most; delete one first")
    return name


def _checked_kind(tenant_id: int, name: str, kind: str) -> Kind:
    if kind not in Kind.values:
        raise ValueError(f"kind: there is no '{kind[:40]}'; choose from {', '.join(Kind.values)}")
    others = _who_fall_back_on(tenant_id, name).exclude(kind=kind)
    if others:
        raise ValueError(f"kind: {_listed(others)} would fall back on it, which is of another kind")
    return Kind(kind)


def _checked_url(url: str) -> str:
    """The URL without the slash at its end. Where its host leads to is checked at every call."""
    if not url:
        raise ValueError("base_url: give where the provider's API is, such as https://api.example.com")
    if len(url) > LONGEST_URL:
        raise ValueError(f"base_url: it has {len(url)} characters; at most {LONGEST_URL} are taken")
    try:
        parts = egress.checked_url(url, settings.GATEWAY_ALLOW_NETWORKS)
    except egress.Refused as error:
        raise ValueError(f"base_url: {error}") from None
    if parts.query or "?" in url:
        raise ValueError("base_url: leave out the ? and what is behind it: requests bring their own")
    if not url.isascii():
        raise ValueError("base_url: write it in ASCII: the host as punycode (xn--…), the path percent-encoded")
    return url.rstrip("/")


def _checked_header(header: str) -> str:
    name = header.lower()
    if not _header.fullmatch(header) or name in _TAKEN_HEADERS:
        raise ValueError("credential_header: give a header's name such as authorization, x-api-key or api-key")
    return name


def _checked_credential(credential: bytes, header: str) -> bytes:
    if len(credential) > LONGEST_CREDENTIAL or not _credential.fullmatch(credential):
        raise ValueError(
            f"credential: give at most {LONGEST_CREDENTIAL} characters of ASCII, no control characters, no spaces "
            "around it"
        )
    if header == "authorization" and credential.lower().startswith(b"bearer "):
        raise ValueError("credential: leave out 'Bearer', which is put before it")
    return credential


def _checked_policy(policy: Policy) -> Policy:
    time_sensitive.check_words(policy.time_sensitive_words)
    personal_data.check_patterns(policy.personal_patterns)
    return policy


def _checked_fallbacks(tenant_id: int, name: str, kind: Kind, fallbacks: tuple[str, ...]) -> list[str]:
    if len(fallbacks) > MOST_FALLBACKS:
        raise ValueError(f"fallbacks: {len(fallbacks)} are too many; at most {MOST_FALLBACKS} are tried")
    if name in fallbacks:
        raise ValueError(f"fallbacks: '{name}' cannot fall back on itself")
    kinds = {provider.name: provider.kind for provider in list_providers(tenant_id)}
    for fallback in fallbacks:
        if fallback not in kinds:
            raise ValueError(f"fallbacks: there is no provider '{fallback[:80]}'")
        if kinds[fallback] != kind:
            raise ValueError(f"fallbacks: '{fallback}' is of the kind {kinds[fallback]}, and this one {kind.value}")
    return list(dict.fromkeys(fallbacks))


def _who_fall_back_on(tenant_id: int, name: str) -> Any:
    return Provider.objects.filter(tenant_id=tenant_id, fallbacks__contains=[name]).order_by("name")


def _listed(providers: Any) -> str:
    return ", ".join(f"'{provider.name}'" for provider in providers)
