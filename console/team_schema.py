"""The OpenAPI description of what is done to a tenant's members, and of invitations."""

from drf_spectacular.utils import OpenApiResponse, extend_schema

from accounts import invitations
from accounts.people_answers import Member
from cacheservice.entries.schema import ID, Error, answers, conflict, ref
from console.team_answers import DeletedInvitation, DeletedMember, Invitations, SentInvitation
from console.team_requests import CreateInvitation, UpdateMember

COMPONENTS = (
    Member,
    UpdateMember,
    DeletedMember,
    CreateInvitation,
    SentInvitation,
    Invitations,
    DeletedInvitation,
)

_OWNERS = {
    (403, "application/json"): OpenApiResponse(
        ref(Error), "`forbidden`: the API key lacks the scope, or it is about an owner."
    )
}
_VERIFY = {
    (403, "application/json"): OpenApiResponse(
        ref(Error), "`forbidden`: the API key lacks the scope, or no owner has verified their address yet."
    )
}


update_member = extend_schema(
    operation_id="update_member",
    summary="Give a member another role",
    description="Any but owner, and not to an owner: that is done in the console. It holds at once.",
    parameters=[ID],
    request={"application/json": ref(UpdateMember)},
    responses={
        **answers({200: (ref(Member), "The member as they are now.")}, 404, 413, 415),
        **_OWNERS,
        **conflict("they left meanwhile"),
    },
)
remove_member = extend_schema(
    operation_id="remove_member",
    summary="Remove a member",
    description="Their access ends with their next request. An owner is removed in the console.",
    parameters=[ID],
    responses={
        **answers({200: (ref(DeletedMember), "They were removed.")}, 404),
        **_OWNERS,
        **conflict("they left meanwhile"),
    },
)
list_invitations = extend_schema(
    operation_id="list_invitations",
    summary="List open invitations",
    description=f"Newest first, at most {invitations.MOST_OPEN}; never their link.",
    responses=answers({200: (ref(Invitations), "The invitations.")}),
)
create_invitation = extend_schema(
    operation_id="create_invitation",
    summary="Invite somebody",
    description=f"By a mail whose link is good for {invitations.LIFETIME.days} days. As any role but owner.",
    request={"application/json": ref(CreateInvitation)},
    responses={
        **answers({201: (ref(SentInvitation), "The invitation.")}, 413, 415),
        **_VERIFY,
        **conflict("they are a member or invited already, or there are too many invitations"),
    },
)
withdraw_invitation = extend_schema(
    operation_id="withdraw_invitation",
    summary="Withdraw an invitation",
    description="Its link works no longer.",
    parameters=[ID],
    responses={
        **answers({200: (ref(DeletedInvitation), "It was withdrawn.")}, 404),
        **conflict("it was accepted meanwhile"),
    },
)
send_invitation = extend_schema(
    operation_id="send_invitation",
    summary="Send an invitation again",
    description="With a new term.",
    parameters=[ID],
    request=None,
    responses={
        **answers({200: (ref(SentInvitation), "The invitation.")}, 404),
        **_VERIFY,
        **conflict("it was sent just now"),
    },
)
