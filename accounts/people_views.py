"""The views of members and the audit log: parse, read, answer."""

from django.http import HttpResponse
from rest_framework.request import Request

from accounts import audit_log, people_answers, people_requests, people_schema, team, tokens
from accounts.policy import Permission, scope_for
from cacheservice.authentication import caller_of
from cacheservice.entries import requests
from cacheservice.views import APIView, query_string, to_django


class MembersView(APIView):
    """The tenant's people."""

    scopes = {"GET": scope_for(Permission.SEE_TEAM)}
    http_method_names = ["get"]

    @people_schema.list_members
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        return to_django(people_answers.members(team.members(caller_of(request).tenant_id)))


class AuditView(APIView):
    """Who did what."""

    scopes = {"GET": scope_for(Permission.SEE_AUDIT)}
    http_method_names = ["get"]

    @people_schema.list_audit_events
    def get(self, request: Request) -> HttpResponse:
        tenant_id = caller_of(request).tenant_id
        asked = people_requests.parse(query_string(request), request.headers.get("Accept", ""), tenant_id)
        events = audit_log.read(tenant_id, asked.wanted, asked.before, asked.limit + 1)
        more, events = len(events) > asked.limit, events[: asked.limit]
        cursor = tokens.encode_id(events[-1].id) if more else None
        answer = people_answers.audit_csv if asked.as_csv else people_answers.audit_page
        return to_django(answer(events, cursor))
