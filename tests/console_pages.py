"""Pages of the console without a server: Django answers in this process, so that its queries can be counted."""

from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import connection
from django.test import AsyncClient
from django.test.utils import CaptureQueriesContext

from tests.console_cast import Person


class _Client(AsyncClient):
    """What the server's entry adds to a request."""

    async def request(self, **request: Any) -> Any:
        return await super().request(**request, state={"request_id": "test"})


def get(person: Person, page: str) -> Any:
    """The response, with the `context` of its template."""
    client = _Client()
    client.cookies[settings.SESSION_COOKIE_NAME] = person.session
    return async_to_sync(client.get)(person.path(page))


def queries(person: Person, page: str) -> list[str]:
    """What the page asks the database for."""
    with CaptureQueriesContext(connection) as captured:
        assert get(person, page).status_code == 200
    return [query["sql"] for query in captured]
