"""What clients may ask of a tenant's members and invitations. The structs are the OpenAPI document's schemas too.

Raises InvalidRequest naming the field, the limit and what to send instead.
"""

from typing import Literal, get_args

import msgspec
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from cacheservice.entries.requests import decode, require_json, shown
from cacheservice.errors import InvalidRequest
from console.settings_forms import LONGEST_EMAIL
from console.settings_requests import Email

# Those that an API key may give and take: an admin's (`accounts/policy.py`). Owners are made in the console.
RoleName = Literal["admin", "developer", "billing", "viewer"]

_FIXES = {
    "email": f"send an e-mail address of at most {LONGEST_EMAIL} characters",
    "role": f"send {', '.join(get_args(RoleName)[:-1])} or {get_args(RoleName)[-1]}; owners are made in the console",
}


class CreateInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a POST: who is invited, as what."""

    email: Email
    role: RoleName


class UpdateMember(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a PATCH: what the member shall be."""

    role: RoleName


_create = msgspec.json.Decoder(CreateInvitation)
_update = msgspec.json.Decoder(UpdateMember)


def parse_invitation(content_type: bytes | None, body: bytes) -> CreateInvitation:
    require_json(content_type)
    wanted = decode(_create, body, _FIXES)
    try:
        validate_email(wanted.email)
    except ValidationError:
        raise InvalidRequest(f"email: '{shown(wanted.email)}' is none; {_FIXES['email']}.") from None
    return wanted


def parse_role(content_type: bytes | None, body: bytes) -> RoleName:
    require_json(content_type)
    return decode(_update, body, _FIXES).role
