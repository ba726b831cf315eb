"""A tenant's invitations as the API shows them. The structs are the OpenAPI document's schemas too. Members:
`accounts/people_answers.py`."""

from collections.abc import Iterable
from typing import Annotated, Any

import msgspec

from accounts import invitations, tokens
from accounts.models import Invitation
from cacheservice.entries.collection import wire
from cacheservice.entries.schema import Time
from cacheservice.http import JSON, Answer
from console.team_requests import RoleName


class ShownInvitation(msgspec.Struct, kw_only=True):
    """An open invitation. Its link is in the mail alone."""

    id: str
    email: str
    role: RoleName
    invited_by: Annotated[
        str | None, msgspec.Meta(description="A member's e-mail address; null: an API key, or who is gone.")
    ]
    sent_at: Time
    expires_at: Annotated[Time, msgspec.Meta(description="From then on it can be sent again, or withdrawn.")]


class SentInvitation(ShownInvitation, kw_only=True):
    """An invitation whose mail was sent just now."""

    mailed: Annotated[
        bool, msgspec.Meta(description="Whether the mail server took the mail; false: send it again later.")
    ]


class Invitations(msgspec.Struct):
    """The open ones, newest first, expired ones too."""

    invitations: list[ShownInvitation]


class DeletedInvitation(msgspec.Struct):
    id: str
    deleted: bool


class DeletedMember(msgspec.Struct):
    id: str
    deleted: bool


def all_of(found: Iterable[Invitation]) -> Answer:
    return _json(200, Invitations([ShownInvitation(**_fields(each)) for each in found]))


def sent(status: int, invitation: Invitation, *, mailed: bool) -> Answer:
    return _json(status, SentInvitation(**_fields(invitation), mailed=mailed))


def deleted_invitation(id: str) -> Answer:
    return _json(200, DeletedInvitation(id, deleted=True))


def deleted_member(id: str) -> Answer:
    return _json(200, DeletedMember(id, deleted=True))


def _fields(invitation: Invitation) -> dict[str, Any]:
    inviter = invitation.invited_by
    return {
        "id": tokens.encode_id(invitation.id),
        "email": invitation.email,
        "role": invitation.role,
        "invited_by": None if inviter is None else inviter.email,
        "sent_at": wire(invitations.sent_at(invitation)),
        "expires_at": wire(invitation.expires_at),
    }


def _json(status: int, content: msgspec.Struct) -> Answer:
    return Answer(status, (JSON,), msgspec.json.encode(content))
