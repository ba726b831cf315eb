"""Providers as the API shows them: without their credentials. The structs are the OpenAPI document's schemas too."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from cacheservice.entries.collection import wire
from cacheservice.entries.schema import Time
from cacheservice.http import JSON, Answer
from gateway.models import Provider
from gateway.policy import Policy
from gateway.provider_requests import URL, HeaderName, KindName, Name
from gateway.providers import policy_of


class ShownProvider(msgspec.Struct, kw_only=True):
    """A provider of the tenant, with all of its policy."""

    name: Name
    kind: KindName
    base_url: URL
    credential_header: HeaderName
    has_credential: Annotated[
        bool, msgspec.Meta(description="Without one, each request brings its own as X-Upstream-Authorization.")
    ]
    policy: Policy
    fallbacks: list[Name]
    created_at: Time
    updated_at: Time


class Providers(msgspec.Struct):
    """All of the tenant's, by name."""

    providers: list[ShownProvider]


class DeletedProvider(msgspec.Struct):
    """Whether there was such a provider."""

    name: str
    deleted: bool


def all_of(providers: Iterable[Provider], with_credential: set[str]) -> Answer:
    return _json(200, {"providers": [_fields(each, each.name in with_credential) for each in providers]})


def one(status: int, provider: Provider, *, has_credential: bool) -> Answer:
    return _json(status, _fields(provider, has_credential))


def deleted(name: str, *, was_there: bool) -> Answer:
    return _json(200, {"name": name, "deleted": was_there})


def _fields(provider: Provider, has_credential: bool) -> dict[str, Any]:
    return {
        "name": provider.name,
        "kind": provider.kind,
        "base_url": provider.base_url,
        "credential_header": provider.credential_header,
        "has_credential": has_credential,
        "policy": msgspec.structs.asdict(policy_of(provider.policy)),  # with its defaults, which its JSON leaves out
        "fallbacks": provider.fallbacks,
        "created_at": wire(provider.created_at),
        "updated_at": wire(provider.updated_at),
    }


def _json(status: int, content: dict[str, Any]) -> Answer:
    return Answer(status, (JSON,), msgspec.json.encode(content))
