"""Who did what, when and from where."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

from accounts import audit_log, people_answers, tokens
from accounts.models import AuditEvent
from accounts.policy import Permission
from cacheservice.views import to_django
from console.access import MemberRequest, page
from console.audit_forms import FilterForm

ON_A_PAGE = 50
MOST_IN_CSV = 10_000  # events of one download; filters choose older ones


@page(Permission.SEE_AUDIT)
def index(request: MemberRequest) -> HttpResponse:
    form = FilterForm(request.GET)
    form.is_valid()
    return _render(request, form)


@page(Permission.SEE_AUDIT)
def download(request: MemberRequest) -> HttpResponse:
    form = FilterForm(request.GET)
    if not form.is_valid():
        return _render(request, form)
    return to_django(people_answers.audit_csv(audit_log.read(request.tenant.id, form.filter(), None, MOST_IN_CSV)))


def _render(request: MemberRequest, form: FilterForm) -> HttpResponse:
    """The page that the filters and the cursor ask for."""
    found = audit_log.read(request.tenant.id, form.filter(), _before(request), ON_A_PAGE + 1)
    events = found[:ON_A_PAGE]
    context = {
        "form": form,
        "lines": [_line(event) for event in events],
        "filtered": any(form.filter()),
        "query": _query(request),
        "first_page": "before" not in request.GET,
        "next": _query(request, before=tokens.encode_id(events[-1].id)) if len(found) > ON_A_PAGE else "",
        "most": MOST_IN_CSV,
    }
    return render(request, "console/audit.html", context, status=422 if form.errors else 200)


def _before(request: MemberRequest) -> AuditEvent | None:
    """The last event of the page before; what cannot be one begins at the first page."""
    try:
        return audit_log.event(request.tenant.id, tokens.decode_id(request.GET.get("before", "")))
    except ValueError:
        return None


def _line(event: AuditEvent) -> dict[str, object]:
    return {
        "event": event,
        "words": audit_log.words(event.action),
        "details": [(name.replace("_", " "), _text(value)) for name, value in event.details.items()],
    }


def _text(value: object) -> str:
    if value is None:
        return "none"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _query(request: MemberRequest, **more: str) -> str:
    """The page's filters as a query string, with these parameters beside them."""
    parameters = request.GET.copy()
    parameters.pop("before", None)
    parameters.update(more)
    return parameters.urlencode()


urls = [
    path("audit", index, name="audit"),
    path("audit.csv", download, name="audit-download"),
]
