"""The OpenAPI description of members and the audit log."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema

from accounts import audit_log, people_requests
from accounts.people_answers import AuditPage, Members
from cacheservice.entries.schema import answers, ref

COMPONENTS = (Members, AuditPage)

_TIME = {"type": "string", "pattern": people_requests.TIME}

list_members = extend_schema(
    operation_id="list_members",
    summary="List the tenant's members",
    description="People, with their roles; not API keys. All of them, in the order in which they joined.",
    responses=answers({200: (ref(Members), "The members.")}),
)
list_audit_events = extend_schema(
    operation_id="list_audit_events",
    summary="Read the audit log",
    description=(
        "Who did what, when and from where, newest first. Follow `next_cursor` until it is null. JSON, or with "
        "`Accept` or `format` CSV; then the header `X-Next-Cursor` says where to go on."
    ),
    parameters=[
        OpenApiParameter(
            "actor", {"type": "string", "pattern": people_requests.ACTOR}, description="A part of who did it."
        ),
        OpenApiParameter("group", str, enum=list(audit_log.GROUPS), description="What it is about."),
        OpenApiParameter("from", _TIME, description="A time, or a UTC day."),
        OpenApiParameter("to", _TIME, description="The same; events at it are left out."),
        OpenApiParameter(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": people_requests.MOST, "default": people_requests.DEFAULT},
        ),
        OpenApiParameter("cursor", str, description="`next_cursor` of the page before."),
        OpenApiParameter("format", str, enum=list(people_requests.FORMATS), description="For links."),
    ],
    responses={
        **answers({200: (ref(AuditPage), "A page.")}),
        (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR, "The same events, a header line before them."),
    },
)
