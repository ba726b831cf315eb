"""The views of API keys: parse, change, answer. What a change does, `keys.py` and `billing/limits.py` say."""

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.request import Request

from accounts import key_answers, key_requests, key_schema, keys, networks, tokens
from accounts.models import APIKey, Tenant
from accounts.policy import Permission, scope_for
from billing.limits import set_api_key_limits
from cacheservice.addresses import client_address
from cacheservice.authentication import actor_of, caller_of
from cacheservice.entries import requests
from cacheservice.errors import InvalidRequest, NotFound
from cacheservice.views import APIView, asgi_scope, content_type, query_string, to_django

MOST, DEFAULT = 1000, 100  # keys on a page


class APIKeysView(APIView):
    """The tenant's API keys."""

    scopes = {"GET": scope_for(Permission.SEE_API_KEYS), "POST": scope_for(Permission.MANAGE_API_KEYS)}
    http_method_names = ["get", "post"]

    @key_schema.list_keys
    def get(self, request: Request) -> HttpResponse:
        parameters = requests.parse_query(query_string(request), ("limit", "cursor"))
        limit = requests.parse_limit(parameters, MOST, DEFAULT)
        found = list(_behind(_keys(request), parameters)[: limit + 1])
        cursor = tokens.encode_id(found[limit - 1].id) if len(found) > limit else None
        return to_django(key_answers.page(found[:limit], cursor, timezone.now()))

    @key_schema.create_key
    def post(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        wanted = key_requests.parse_create(content_type(request), request._request.body)
        fields, actor = key_requests.given(wanted), actor_of(request)
        limits = {name: value for name, value in key_requests.limits(fields).items() if value is not None}
        expires_at = key_requests.expiry(wanted, timezone.now())
        with _refusals(), transaction.atomic():
            key, token = keys.create_api_key(
                _tenant(request),
                name=wanted.name,
                scopes=sorted(set(wanted.scopes)),
                actor=actor,
                expires_at=expires_at,
                allowed_networks=wanted.allowed_networks,
            )
            if limits:
                key = set_api_key_limits(key, **limits, actor=actor, by_tenant=True)
        return to_django(key_answers.new(201, key, token, timezone.now()))


class APIKeyView(APIView):
    """One of them."""

    scopes = {
        "GET": scope_for(Permission.SEE_API_KEYS),
        **dict.fromkeys(("PATCH", "DELETE"), scope_for(Permission.MANAGE_API_KEYS)),
    }
    http_method_names = ["get", "patch", "delete"]

    @key_schema.get_key
    def get(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        return to_django(key_answers.one(_key(request, id), timezone.now()))

    @key_schema.update_key
    def patch(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        fields = key_requests.given(key_requests.parse_update(content_type(request), request._request.body))
        key, actor, limits = _key(request, id), actor_of(request), key_requests.limits(fields)
        with _refusals(), transaction.atomic():
            if limits:  # first, for they lock the account before the key
                set_api_key_limits(key, **limits, actor=actor, by_tenant=True)
            identity = {name: fields[name] for name in ("name", "allowed_networks") if name in fields}
            key = keys.update_api_key(key, **identity, actor=actor)
            _stay_inside(request, key)
        return to_django(key_answers.one(key, timezone.now()))

    @key_schema.revoke_key
    def delete(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        keys.revoke_api_key(_key(request, id), actor_of(request))
        return to_django(key_answers.one(_key(request, id), timezone.now()))


class APIKeyRotationView(APIView):
    """A new secret for one of them. A key may rotate itself: with an overlap of 0 this answer is its last one."""

    scopes = {"POST": scope_for(Permission.MANAGE_API_KEYS)}
    http_method_names = ["post"]

    @key_schema.rotate_key
    def post(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        overlap = key_requests.parse_rotate(content_type(request), request._request.body)
        key = _key(request, id)
        with _refusals():
            token = keys.rotate_api_key(key, overlap=overlap, actor=actor_of(request))
        return to_django(key_answers.new(200, _key(request, id), token, timezone.now()))


def _keys(request: Request) -> QuerySet[APIKey]:
    """The tenant's, newest first. What the console keeps for itself is nobody's to see or to change."""
    tenant_id = caller_of(request).tenant_id
    return APIKey.objects.filter(tenant_id=tenant_id, internal=False).order_by("-created_at", "-id")


def _key(request: Request, id: str) -> APIKey:
    """Raises NotFound for what is no key of the tenant."""
    key = _keys(request).filter(id=tokens.known_id(id)).first()
    if key is None:
        raise NotFound(f"There is no API key '{requests.shown(id)}'; GET /api/v1/keys lists them.")
    return key


def _behind(found: QuerySet[APIKey], parameters: dict[str, list[str]]) -> QuerySet[APIKey]:
    """Those behind the cursor, which is the last key of the page before. Keys are never deleted."""
    if "cursor" not in parameters:
        return found
    [cursor] = parameters["cursor"]
    last = found.filter(id=tokens.known_id(cursor)).first()
    if last is None:
        raise InvalidRequest("cursor: send 'next_cursor' of the page before, unchanged.")
    return found.filter(Q(created_at__lt=last.created_at) | Q(created_at=last.created_at, id__lt=last.id))


def _tenant(request: Request) -> Tenant:
    return Tenant.objects.get(id=caller_of(request).tenant_id)


def _stay_inside(request: Request, key: APIKey) -> None:
    """A key does not lock itself out: nobody could undo that with it. Raises InvalidRequest, and nothing is changed."""
    address = client_address(asgi_scope(request))
    if key.id == caller_of(request).api_key_id and not networks.holds(key.allowed_networks, address):
        raise InvalidRequest(
            f"allowed_networks: they lack {address}, from where this very API key asks; add it, or use another key."
        )


@contextmanager
def _refusals() -> Iterator[None]:
    """What the services refuse, as InvalidRequest."""
    try:
        yield
    except ValueError as error:
        raise InvalidRequest(f"{str(error).rstrip('.')}.") from None
