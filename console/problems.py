"""What a browser is shown when a page is not to be had. Requests outside the console get the API's errors."""

import sys

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string

from accounts.keyring import MasterKeyUnavailable
from cacheservice import views
from cacheservice.errors import APIError

PATHS = ("/console/", "/staff/")


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler403. The exception's text is a sentence for who asked."""
    return _problem(request, 403, "You may not do that", str(exception) or "Ask an owner of the tenant for it.")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Django's handler404. A tenant that one does not belong to does not exist either."""
    if not request.path.startswith(PATHS):
        return views.not_found(request, exception)
    reason = "Nothing is at this address, or it belongs to a tenant that you are no member of."
    return _problem(request, 404, "There is no such page", reason)


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's handler500: logged, and answered without the request, whose session lies in the database."""
    error = sys.exception()
    if isinstance(error, MasterKeyUnavailable):  # the log has it
        answer = views.error_response(error, request)
        context = {"heading": "That cannot be done just now", "reason": error.message}
    else:
        answer = views.server_error(request)
        context = {"heading": "Something went wrong here", "reason": "The operator has been told. Try again shortly."}
    if request.path.startswith(PATHS):
        answer = HttpResponse(render_to_string("console/problem.html", context), status=answer.status_code)
    return answer


def refused(request: HttpRequest, error: APIError) -> HttpResponse:
    """What the store or the API's own rules refused, where the page has no form to say it in."""
    response = _problem(request, error.status, "That did not work", error.message)
    if error.status == 503:
        response["Retry-After"] = "1"
    return response


def too_many_requests(request: HttpRequest) -> HttpResponse:
    """allauth's handler429, for its throttles."""
    reason = "You have tried this often within a short time. Wait a few minutes, then try again."
    response = _problem(request, 429, "That was too often", reason)
    response["Retry-After"] = "60"
    return response


def csrf_refused(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Django's CSRF_FAILURE_VIEW. Its reason is for developers, and in the log."""
    text = (
        "The form was too old, or your browser keeps no cookies for this site. Go back, reload the page and try again."
    )
    return _problem(request, 403, "The form could not be accepted", text)


def _problem(request: HttpRequest, status: int, heading: str, reason: str) -> HttpResponse:
    return render(request, "console/problem.html", {"heading": heading, "reason": reason}, status=status)
