"""Is the cache working, and what does it save?"""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone

from accounts.policy import Permission
from console import alerts, first_steps, overview_figures
from console.access import MemberRequest, page
from console.first_run import PLACEHOLDER
from console.ranges import RangeForm
from console.snippets import snippets


@page(Permission.SEE_OVERVIEW)
def index(request: MemberRequest) -> HttpResponse:
    form = RangeForm(request.GET, timezone.now())
    context = {"form": form, "alerts": alerts.shown(request.tenant.id, request.may)}
    if not form.is_valid():
        return render(request, "console/overview.html", context, status=400)
    figures = overview_figures.read(request.tenant.id, form.chosen, entries=request.may(Permission.LIST_ENTRIES))
    if not figures.requests and not first_steps.of(request.tenant).written:
        code = snippets(f"{request.scheme}://{request.get_host()}", PLACEHOLDER)
        return render(request, "console/overview_empty.html", {**context, "snippets": code})
    return render(request, "console/overview.html", {**context, "figures": figures})


urls = [path("", index, name="overview")]
