"""How code that serves both requests and commands reaches the database."""

from collections.abc import Callable, Mapping
from typing import Any

from django.db import connection

# A statement with %(name)s parameters → its rows.
Rows = Callable[[str, Mapping[str, Any]], list[tuple[Any, ...]]]


def django_rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """For commands and tasks: on Django's connection, in its transaction if there is one."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []
