"""API keys for Django REST framework: the same callers and the same checks as the lane's."""

from typing import TYPE_CHECKING, Any

from asgiref.sync import async_to_sync
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts import tokens
from cacheservice.entries import store
from cacheservice.entries.operations import Caller

if TYPE_CHECKING:
    from cacheservice.views import APIView


def caller_of(request: Request) -> Caller:
    """The principal that APIKeyAuthentication found."""
    caller = request.user
    assert isinstance(caller, Caller), "the view has no authentication"  # noqa: S101  a defect, not an input
    return caller


class APIKeyAuthentication(BaseAuthentication):
    """Sets `request.user` to the Caller. Raises InvalidAPIKey; there is no anonymous request."""

    def authenticate(self, request: Request) -> tuple[Caller, None]:
        headers = dict(request._request.scope["headers"])  # type: ignore[attr-defined]  # an ASGIRequest
        return async_to_sync(store.current().caller)(tokens.from_headers(headers)), None

    def authenticate_header(self, request: Request) -> str:
        return 'Bearer realm="cacheservice"'


class HasScope(BasePermission):
    """The caller's API key holds now, and has the scope that the view names for the method."""

    def has_permission(self, request: Request, view: Any) -> bool:
        api_view: APIView = view
        method = request.method or ""
        if method in api_view.scopes:  # else the method is not allowed, which dispatch will say
            async_to_sync(store.current().authorise)(
                caller_of(request), api_view.scopes[method], requests=api_view.requests
            )
        return True
