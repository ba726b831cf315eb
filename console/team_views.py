"""The API's views of what is done to members, and of invitations: parse, change, answer. What a change does,
`accounts/team.py` and `accounts/invitations.py` say."""

from django.http import HttpResponse
from rest_framework.request import Request

from accounts import invitations, people_answers, team, tokens
from accounts.models import Invitation, Membership
from accounts.policy import Permission, scope_for
from cacheservice.authentication import caller_of
from cacheservice.entries import requests
from cacheservice.errors import NotFound
from cacheservice.views import APIView, content_type, query_string, to_django
from console import invitation_mail, team_answers, team_requests, team_schema
from console.api_callers import acting, refusals


class MemberView(APIView):
    """One of the tenant's people."""

    scopes = dict.fromkeys(("PATCH", "DELETE"), scope_for(Permission.MANAGE_TEAM))
    http_method_names = ["patch", "delete"]

    @team_schema.update_member
    def patch(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        role = team_requests.parse_role(content_type(request), request._request.body)
        member = _member(request, id)
        with refusals():
            member.role = team.change_role(acting(request), member.id, role).role
        return to_django(people_answers.member(member))

    @team_schema.remove_member
    def delete(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        member = _member(request, id)
        with refusals():
            team.remove(acting(request), member.id)
        return to_django(team_answers.deleted_member(id))


class InvitationsView(APIView):
    """The tenant's open invitations."""

    scopes = dict.fromkeys(("GET", "POST"), scope_for(Permission.MANAGE_TEAM))
    http_method_names = ["get", "post"]

    @team_schema.list_invitations
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        return to_django(team_answers.all_of(invitations.of(caller_of(request).tenant_id)))

    @team_schema.create_invitation
    def post(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        wanted = team_requests.parse_invitation(content_type(request), request._request.body)
        who = acting(request)
        with refusals():
            invitation = invitations.invite(who, wanted.email, wanted.role)
        return to_django(team_answers.sent(201, invitation, mailed=invitation_mail.send(invitation, who.name)))


class InvitationView(APIView):
    """One of them."""

    scopes = {"DELETE": scope_for(Permission.MANAGE_TEAM)}
    http_method_names = ["delete"]

    @team_schema.withdraw_invitation
    def delete(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        invitation = _invitation(request, id)
        with refusals():
            invitations.withdraw(acting(request), invitation.id)
        return to_django(team_answers.deleted_invitation(id))


class InvitationSendingView(APIView):
    """The mail of one of them, once more."""

    scopes = {"POST": scope_for(Permission.MANAGE_TEAM)}
    http_method_names = ["post"]

    @team_schema.send_invitation
    def post(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        who, invitation = acting(request), _invitation(request, id)
        with refusals():
            invitation = invitations.renew(who, invitation.id)
        return to_django(team_answers.sent(200, invitation, mailed=invitation_mail.send(invitation, who.name)))


def _member(request: Request, id: str) -> Membership:
    """Raises NotFound for who is no member of the tenant."""
    found = team.members(caller_of(request).tenant_id).filter(id=tokens.known_id(id)).first()
    if found is None:
        raise NotFound(f"There is no member '{requests.shown(id)}'; GET /api/v1/members lists them.")
    return found


def _invitation(request: Request, id: str) -> Invitation:
    """Raises NotFound for what is no open invitation of the tenant."""
    found = invitations.of(caller_of(request).tenant_id).filter(id=tokens.known_id(id)).first()
    if found is None:
        raise NotFound(f"There is no open invitation '{requests.shown(id)}'; GET /api/v1/invitations lists them.")
    return found
