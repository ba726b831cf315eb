"""What clients may ask of the audit log. Raises InvalidRequest naming the parameter and what to send instead."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from accounts import audit_log, tokens
from accounts.models import AuditEvent
from billing import formats
from cacheservice.entries.requests import parse_choice, parse_limit, parse_query, shown
from cacheservice.errors import InvalidRequest

MOST, DEFAULT = 1000, 100  # events on a page
LONGEST_ACTOR = 200  # characters
ACTOR = r"^[^\x00-\x1f\x7f-\x9f]{1,200}$"
TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}Z)?$"
FORMATS = ("json", "csv")


class Question(NamedTuple):
    wanted: audit_log.Filter
    before: AuditEvent | None
    limit: int
    as_csv: bool


def parse(query: bytes, accept: str, tenant_id: int) -> Question:
    parameters = parse_query(query, ("actor", "group", "from", "to", "limit", "cursor", "format"))
    wanted = audit_log.Filter(
        _actor(parameters),
        parse_choice(parameters, "group", audit_log.GROUPS) or "",
        _moment(parameters, "from"),
        _moment(parameters, "to"),
    )
    limit = parse_limit(parameters, MOST, DEFAULT)
    as_csv = formats.wanted(parameters, accept, FORMATS) == "csv"
    return Question(wanted, _before(parameters, tenant_id), limit, as_csv)


def _actor(parameters: Mapping[str, list[str]]) -> str:
    if "actor" not in parameters:
        return ""
    [text] = parameters["actor"]
    if not re.fullmatch(ACTOR, text):
        raise InvalidRequest(
            f"actor: send 1 to {LONGEST_ACTOR} characters of the name, no control characters, not '{shown(text)}'."
        )
    return text


def _moment(parameters: Mapping[str, list[str]], name: str) -> datetime | None:
    if name not in parameters:
        return None
    [text] = parameters[name]
    try:
        if not re.fullmatch(TIME, text, re.ASCII):
            raise ValueError
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        example = "2026-11-20T10:00:00Z, or a UTC day such as 2026-11-20"
        raise InvalidRequest(f"{name}: send a UTC time such as {example}, not '{shown(text)}'.") from None


def _before(parameters: Mapping[str, list[str]], tenant_id: int) -> AuditEvent | None:
    """The last event of the page before, which the cursor names. Events are never deleted."""
    if "cursor" not in parameters:
        return None
    try:
        found = audit_log.event(tenant_id, tokens.decode_id(parameters["cursor"][0]))
    except ValueError:
        found = None
    if found is None:
        raise InvalidRequest("cursor: send 'next_cursor' of the page before, unchanged.")
    return found
