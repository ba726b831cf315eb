"""Members and the audit log as clients get them. The structs are the OpenAPI document's schemas too."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import msgspec

from accounts import audit_log, tokens
from accounts.models import AuditEvent, Membership
from billing import csvs
from cacheservice.entries.collection import wire
from cacheservice.entries.schema import Time
from cacheservice.http import JSON, Answer, Header

COLUMNS = ("id", "at", "actor", "address", "action", "what", "target", "details")
NEXT_CURSOR = b"x-next-cursor"  # of a page in CSV, which has no place for it


class Member(msgspec.Struct, kw_only=True):
    """A person who belongs to the tenant."""

    id: str
    email: str
    name: Annotated[str, msgspec.Meta(description="Empty: they gave none.")]
    role: Literal["owner", "admin", "developer", "billing", "viewer"]
    joined_at: Time
    last_sign_in_at: Time | None
    two_factor: Annotated[bool, msgspec.Meta(description="Whether they sign in with a second factor.")]


class Members(msgspec.Struct):
    """All of them, in the order in which they joined."""

    members: list[Member]


class ShownAuditEvent(msgspec.Struct, kw_only=True):
    """Who did what."""

    id: str
    at: Time
    actor: Annotated[str, msgspec.Meta(description="A member's e-mail address, `API key …`, or the operator.")]
    address: Annotated[str | None, msgspec.Meta(description="The IP address they came from.")]
    action: Annotated[str, msgspec.Meta(description="Such as `api_key.create`.")]
    what: Annotated[str, msgspec.Meta(description="The action in words.")]
    target: str
    details: dict[str, Any]


class AuditPage(msgspec.Struct):
    """A page of events, newest first."""

    events: list[ShownAuditEvent]
    next_cursor: str | None


def members(found: Iterable[Membership]) -> Answer:
    return _json(Members([_member(each) for each in found]))


def member(found: Membership) -> Answer:
    return _json(_member(found))


def audit_page(events: Sequence[AuditEvent], next_cursor: str | None) -> Answer:
    return _json(AuditPage([_event(each) for each in events], next_cursor), csvs.VARY)


def audit_csv(events: Iterable[AuditEvent], next_cursor: str | None = None) -> Answer:
    answer = csvs.answer("audit-log.csv", COLUMNS, (_row(_event(each)) for each in events))
    header = ((NEXT_CURSOR, next_cursor.encode()),) if next_cursor else ()
    return answer._replace(headers=(*answer.headers, *header))


def _member(found: Membership) -> Member:
    signed_in = found.user.last_login
    return Member(
        id=tokens.encode_id(found.id),
        email=found.user.email,
        name=found.user.name,
        role=found.role,  # type: ignore[arg-type]  # one of policy.Role
        joined_at=wire(found.joined_at),
        last_sign_in_at=wire(signed_in) if signed_in else None,
        two_factor=found.two_factor,  # type: ignore[attr-defined]  # by team.members
    )


def _event(found: AuditEvent) -> ShownAuditEvent:
    return ShownAuditEvent(
        id=tokens.encode_id(found.id),
        at=wire(found.at),
        actor=found.actor,
        address=found.address or None,
        action=found.action,
        what=audit_log.words(found.action),
        target=found.target,
        details=found.details,
    )


def _row(event: ShownAuditEvent) -> tuple[object, ...]:
    """Whatever somebody may have chosen is kept from being a formula."""
    details = msgspec.json.encode(event.details).decode() if event.details else ""
    texts = (event.actor, event.address or "", event.action, event.what, event.target, details)
    return event.id, event.at, *map(csvs.plain, texts)


def _json(content: msgspec.Struct, *headers: Header) -> Answer:
    return Answer(200, (JSON, *headers), msgspec.json.encode(content))
