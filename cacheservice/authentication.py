"""API keys for Django REST framework: the same callers and the same checks as the lane's."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from asgiref.sync import async_to_sync
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import tokens
from cacheservice.entries import callers, store
from cacheservice.entries.operations import Caller
from cacheservice.errors import AddressNeeded
from cacheservice.http import Scope

if TYPE_CHECKING:
    from cacheservice.views import APIView

Outcome = TypeVar("Outcome")


def caller_of(request: Request) -> Caller:
    """The principal that APIKeyAuthentication found."""
    caller = request.user
    assert isinstance(caller, Caller), "the view has no authentication"  # noqa: S101  a defect, not an input
    return caller


def actor_of(request: Request) -> str:
    """As the audit log names the API key that asks."""
    return f"API key {tokens.encode_id(caller_of(request).api_key_id)}"


def with_address(request: Request, ask: Callable[[Caller], Outcome]) -> Outcome:
    """What the store answers the request's caller; asked again, with its address, where its API key turns out to have
    an allow-list."""
    try:
        return ask(caller_of(request))
    except AddressNeeded:
        request.user = _look_up(request)  # type: ignore[assignment]  # the principal here is no person
        return ask(caller_of(request))


def _look_up(request: Request) -> Caller:
    scope: Scope = request._request.scope  # type: ignore[attr-defined]  # an ASGIRequest
    return async_to_sync(callers.caller_of)(store.current(), scope, dict(scope["headers"]))


class APIKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to the Caller. Raises InvalidAPIKey; there is no anonymous request."""

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        return _look_up(request), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="cacheservice"'


class HasScope(BasePermission):
    """The caller's API key holds now, and has the scope that the view names for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        api_view: APIView = view
        method = request.method or ""
        if method in api_view.scopes:  # else the method is not allowed, which the view will say
            authorise(request, api_view.scopes[method], api_view.requests)
        return True


def authorise(request: Request, scope: str | None, requests: int) -> None:
    """Count the requests against the caller's rate limit. Raises APIError for whoever may not ask."""
    ask = async_to_sync(store.current().authorise)
    with_address(request, lambda caller: ask(caller, scope, requests=requests))
