"""What all views share: the base view, error answers, readiness."""

import math
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ClassVar, NoReturn

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from rest_framework import exceptions, views
from rest_framework.request import Request

from accounts import keyring
from cacheservice import authentication, draining, errors
from cacheservice.entries import store
from cacheservice.entries.operations import Caller
from cacheservice.entries.replica import Reading
from cacheservice.http import Answer, Scope, error_answer, rate_headers
from cacheservice.middleware import request_id

log = structlog.get_logger(__name__)


class APIView(views.APIView):
    """A view of the API. `scopes` names, for each method it has, the scope that an API key needs."""

    scopes: ClassVar[Mapping[str, str | None]] = {}  # None: any valid key
    requests: ClassVar[int] = 1  # how much one counts against the API key's rate limit
    http_method_names = ["get", "head", "put", "patch", "delete", "post"]

    @property
    def default_response_headers(self) -> dict[str, str]:
        """None: the lane's answers carry no Allow and no Vary either."""
        return {}

    _reading: Reading | None = None

    def reading(self, request: Request) -> Reading:
        """What this answer is read from: a replica, unless the client wants no cached answer."""
        fresh = "no-cache" in request.headers.get("Cache-Control", "").lower()
        self._reading = store.current().reading(fresh=fresh)
        return self._reading

    def http_method_not_allowed(self, request: Any, *args: Any, **kwargs: Any) -> NoReturn:
        """Counted as any request, and told to nobody without a valid key."""
        if isinstance(request.user, Caller):
            authentication.authorise(request, None, 1)
        raise exceptions.MethodNotAllowed(request.method)

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        """Tells an authenticated client of its rate limit, as the lane does."""
        response = super().finalize_response(request, response, *args, **kwargs)
        caller = getattr(request, "_user", None)  # `request.user` would authenticate now
        if isinstance(caller, Caller) and response.status_code != errors.InvalidAPIKey.status:
            for name, value in rate_headers(caller.rate):
                response[name.decode()] = value.decode()
        if self._reading is not None and self._reading.lag is not None:
            response["X-Cache-Replica-Lag"] = str(math.ceil(self._reading.lag))
        return response


def asgi_scope(request: Request) -> Scope:
    """The request as it came, before Django decoded and normalised it."""
    scope: Scope = request._request.scope  # type: ignore[attr-defined]  # an ASGIRequest
    return scope


def query_string(request: Request) -> bytes:
    query: bytes = asgi_scope(request)["query_string"]
    return query


def content_type(request: Request) -> bytes | None:
    return dict(asgi_scope(request)["headers"]).get(b"content-type")


def to_django(answer: Answer) -> HttpResponse:
    """The answer as Django's response, byte for byte."""
    response = HttpResponse(answer.body, status=answer.status)
    del response["Content-Type"]
    for name, value in answer.headers:
        response[name.decode()] = value.decode("latin-1")
    return response


def error_response(error: errors.APIError, request: HttpRequest) -> HttpResponse:
    """The contract's error, which has no page's policy on any route."""
    response = to_django(error_answer(error, request_id(request)))
    response._csp_exempt = True  # type: ignore[attr-defined]  # csp's name
    return response


def handle_exception(error: Exception, context: Mapping[str, Any]) -> HttpResponse:
    """Any exception of a view as the contract's error."""
    request: Request = context["request"]
    view: APIView = context["view"]
    if isinstance(error, exceptions.MethodNotAllowed):
        error = errors.MethodNotAllowed(request.method or "", view.allowed_methods)
    elif isinstance(error, (Http404, exceptions.NotFound)):
        error = errors.NotFound("There is no such resource.")
    elif isinstance(error, (DatabaseError, exceptions.APIException)) or not isinstance(error, errors.APIError):
        log.error("request_failed", request_id=request_id(request._request), exc_info=error)
        error = errors.InternalError("Something went wrong here; the operator has been told.")
    return error_response(error, request._request)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404."""
    error = errors.NotFound(f"There is no route {request.method} {request.path[:200]}; see /docs.")
    return error_response(error, request)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500."""
    log.exception("request_failed", request_id=request_id(request))
    error = errors.InternalError("Something went wrong here; the operator has been told.")
    return error_response(error, request)


View = Callable[[HttpRequest], HttpResponse]


def safe_methods(view: View) -> View:
    """GET and HEAD only; else the contract's 405."""

    @wraps(view)
    def checked(request: HttpRequest) -> HttpResponse:
        if request.method in ("GET", "HEAD"):
            return view(request)
        error = errors.MethodNotAllowed(request.method or "", ["GET", "HEAD"])
        return error_response(error, request)

    return csrf_exempt(checked)  # so that this answers, not the check of forms


@safe_methods
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@safe_methods
def readyz(request: HttpRequest) -> HttpResponse:
    """The process can serve: it is not about to end, its store is connected, the database migrated, the master keys
    readable."""
    found = (_draining_problem(), _store_problem(), _schema_problem(), _keyring_problem())
    problems = [problem for problem in found if problem]
    if problems:
        return JsonResponse({"status": "not ready", "problems": problems}, status=503, headers={"Retry-After": "1"})
    if keyring.load().failed:  # tenants that are unlocked are served; no other server could do more
        return JsonResponse({"status": "ready", "warnings": ["keyring: the key service failed when last used"]})
    return JsonResponse({"status": "ready"})


def _draining_problem() -> str | None:
    return "server: it is about to end" if draining.under_way() else None


def _store_problem() -> str | None:
    try:
        connected = store.current().connected
    except errors.Unavailable as error:
        return error.message
    return None if connected else "database: the store has no connection"


_migrated = False  # once true, it stays: migrations are not undone under a running server


def _schema_problem() -> str | None:
    global _migrated
    if not _migrated:
        try:
            executor = MigrationExecutor(connection)
            _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            return "database: it cannot be reached"
    return None if _migrated else "database: migrations are missing; run 'manage.py migrate'"


def _keyring_problem() -> str | None:
    try:
        keyring.load()
    except ImproperlyConfigured as error:
        log.error("keyring_unusable", reason=str(error))
        return "keyring: the master keys cannot be read"
    return None
