"""What every answer of Django's plane carries, as the lane's do."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from cacheservice.http import COMMON_HEADERS, Header

# What the middleware of pages tells browsers. The API's answers have none of it, on either plane.
PAGE_HEADERS = ("X-Frame-Options", "Referrer-Policy", "Cross-Origin-Opener-Policy", "Strict-Transport-Security")


def common_headers(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if request.resolver_match is not None:
            request.scope["state"]["route"] = request.resolver_match.view_name  # type: ignore[attr-defined]  # as below
        if not response.streaming and request.method == "HEAD":
            response.content = b""
        elif not response.streaming and "Content-Length" not in response:
            response["Content-Length"] = str(len(response.content))
        if request.path.startswith("/api/"):
            for header in PAGE_HEADERS:
                del response[header]
            if response.get("Vary") == "Cookie":
                del response["Vary"]
        for name, value in (*COMMON_HEADERS, request_id_header(request)):
            response.setdefault(name.decode(), value.decode())
        return response

    return middleware


def request_id_header(request: HttpRequest) -> Header:
    return b"x-request-id", request_id(request).encode()


def request_id(request: HttpRequest) -> str:
    """The id that asgi.py gave the request."""
    scope = request.scope  # type: ignore[attr-defined]  # an ASGIRequest
    found: str = scope["state"]["request_id"]
    return found
