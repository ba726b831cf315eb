"""The views of providers: parse, change, answer. What a change does, `providers.py` says."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.http import HttpResponse
from rest_framework.request import Request

from accounts.policy import Permission, scope_for
from cacheservice.authentication import actor_of, caller_of
from cacheservice.entries import requests
from cacheservice.errors import InvalidRequest, NotFound
from cacheservice.views import APIView, content_type, query_string, to_django
from gateway import provider_answers, provider_requests, provider_schema, providers
from gateway.models import Provider


class ProvidersView(APIView):
    """The tenant's providers."""

    scopes = {"GET": scope_for(Permission.MANAGE_GATEWAY)}
    http_method_names = ["get"]

    @provider_schema.list_providers
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        tenant_id = caller_of(request).tenant_id
        found, with_credential = providers.list_providers(tenant_id), providers.with_credential(tenant_id)
        return to_django(provider_answers.all_of(found, with_credential))


class ProviderView(APIView):
    """One of them."""

    scopes = dict.fromkeys(("GET", "PUT", "DELETE"), scope_for(Permission.MANAGE_GATEWAY))
    http_method_names = ["get", "put", "delete"]

    @provider_schema.get_provider
    def get(self, request: Request, name: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        found = providers.find_provider(caller_of(request).tenant_id, name)
        if found is None:
            raise NotFound(f"There is no provider '{requests.shown(name)}'; GET /api/v1/providers lists them.")
        return _answer(200, found)

    @provider_schema.put_provider
    def put(self, request: Request, name: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        wanted = provider_requests.parse_put(content_type(request), request._request.body)
        with _refusals():
            provider, new = providers.put_provider(caller_of(request).tenant_id, name, wanted, actor_of(request))
        return _answer(201 if new else 200, provider)

    @provider_schema.delete_provider
    def delete(self, request: Request, name: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        with _refusals():
            was_there = providers.delete_provider(caller_of(request).tenant_id, name, actor_of(request))
        return to_django(provider_answers.deleted(name, was_there=was_there))


def _answer(status: int, provider: Provider) -> HttpResponse:
    has_credential = provider.name in providers.with_credential(provider.tenant_id)
    return to_django(provider_answers.one(status, provider, has_credential=has_credential))


@contextmanager
def _refusals() -> Iterator[None]:
    """What the services refuse, as InvalidRequest."""
    try:
        yield
    except ValueError as error:
        raise InvalidRequest(f"{str(error).rstrip('.')}.") from None
