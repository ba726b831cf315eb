"""Pages of the console without a server: Django answers in this process, so that its queries can be counted.

Reports, which a server reads on its store's connections, are read on Django's own.
"""

from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.db import connection
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.test import Client
from django.test.client import ClientHandler
from django.test.utils import CaptureQueriesContext

from billing.rows import django_rows
from console import reports
from tests.console_cast import Person


class _Handler(ClientHandler):
    """With what the server's entry adds to a request."""

    def get_response(self, request: HttpRequest) -> HttpResponseBase:
        request.scope = {"state": {"request_id": "test"}}  # type: ignore[attr-defined]  # as an ASGIRequest has it
        return super().get_response(request)


def get(person: Person, page: str) -> Any:
    """The response, with the `context` of its template."""
    client = Client()
    client.handler = _Handler(enforce_csrf_checks=False)
    client.cookies[settings.SESSION_COOKIE_NAME] = person.session
    with patch.multiple(reports, rows=django_rows, statistics=django_rows):
        return client.get(person.path(page))


def queries(person: Person, page: str) -> list[str]:
    """What the page asks the database for."""
    with CaptureQueriesContext(connection) as captured:
        assert get(person, page).status_code == 200
    return [query["sql"] for query in captured]
