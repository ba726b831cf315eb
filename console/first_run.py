"""From signing up to the first hit: the new API key, what to do with it, and whether it has worked."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.views.decorators.cache import never_cache

from accounts.policy import Permission
from console import first_key, first_steps
from console.access import MemberRequest, page
from console.snippets import snippets

STOP_POLLING = 286  # the status by which htmx ends its polling
PLACEHOLDER = "YOUR_API_KEY"


@page(Permission.SEE_OVERVIEW)
@never_cache
def start(request: MemberRequest) -> HttpResponse:
    token = first_key.take(request.session, request.tenant) if request.method == "GET" else None
    url = f"{request.scheme}://{request.get_host()}"
    context = {
        "token": token,
        "snippets": snippets(url, token or PLACEHOLDER),
        "steps": first_steps.of(request.tenant),
    }
    return render(request, "console/first_run.html", context)


@page(Permission.SEE_OVERVIEW)
@never_cache
def steps(request: MemberRequest) -> HttpResponse:
    """The checklist alone, asked for every two seconds until all is done; 204 when it shows what it showed."""
    found = first_steps.of(request.tenant)
    if request.GET.get("done") == str(found.done):
        return HttpResponse(status=204)
    status = STOP_POLLING if found.all_done else 200
    return render(request, "console/first_run_steps.html", {"steps": found}, status=status)


urls = [
    path("start", start, name="start"),
    path("start/steps", steps, name="start-steps"),
]
