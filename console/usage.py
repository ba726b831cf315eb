"""What was used, by UTC hour, day or month, in total, by API key or by tag."""

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone

from accounts.policy import Permission
from cacheservice.errors import InvalidRequest
from cacheservice.views import to_django
from console import first_steps, usage_reports
from console.access import MemberRequest, page
from console.first_run import PLACEHOLDER
from console.snippets import snippets
from console.usage_forms import UsageForm


@page(Permission.SEE_USAGE)
def index(request: MemberRequest) -> HttpResponse:
    form = UsageForm(request.GET, timezone.now())
    if not form.is_valid():
        return _refused(request, form)
    try:
        shown = usage_reports.read(request.tenant.id, form.question(), request.GET.get("page"))
    except InvalidRequest:
        return _too_long(request, form)
    if not shown.used and not form.split and not first_steps.of(request.tenant).written:
        code = snippets(f"{request.scheme}://{request.get_host()}", PLACEHOLDER)
        return render(request, "console/usage_empty.html", {"form": form, "shown": shown, "snippets": code})
    return render(request, "console/usage.html", {"form": form, "shown": shown})


@page(Permission.SEE_USAGE)
def download(request: MemberRequest) -> HttpResponse:
    """What the page shows, as the API's CSV has it."""
    form = UsageForm(request.GET, timezone.now())
    if not form.is_valid():
        return _refused(request, form)
    try:
        return to_django(usage_reports.csv(request.tenant.id, form.question(as_csv=True)))
    except InvalidRequest:
        return _too_long(request, form)


def _too_long(request: MemberRequest, form: UsageForm) -> HttpResponse:
    """The report has too many rows, which shows only once it is read."""
    form.add_error(None, "This is too much to show: choose a shorter time, or longer periods.")
    return _refused(request, form)


def _refused(request: MemberRequest, form: UsageForm) -> HttpResponse:
    return render(request, "console/usage.html", {"form": form}, status=400)


urls = [
    path("usage", index, name="usage"),
    path("usage/csv", download, name="usage-csv"),
]
