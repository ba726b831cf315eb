"""What AI calls cost, what the cache saved of it, and what today's budgets have left."""

from typing import Any

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path
from django.utils import timezone

from accounts.policy import Permission
from cacheservice.errors import InvalidRequest
from cacheservice.views import to_django
from console import gateway_snippets
from console import gateway_spend_reports as spend_reports
from console.access import MemberRequest, page
from console.gateway_spend_forms import SpendForm
from gateway import providers
from gateway.models import Kind, Provider


@page(Permission.SEE_GATEWAY)
def index(request: MemberRequest) -> HttpResponse:
    now = timezone.now()
    form = SpendForm(request.GET, now)
    if not form.is_valid():
        return _refused(request, form)
    tenant_id = request.tenant.id
    figures = spend_reports.read(tenant_id, form.question())
    budgets = spend_reports.budgets(tenant_id, now.date())
    if not figures.total.requests and not spend_reports.ever_used(tenant_id):
        return render(request, "console/gateway_spend_empty.html", {"budgets": budgets, **_first_call(tenant_id)})
    return render(request, "console/gateway_spend.html", {"form": form, "figures": figures, "budgets": budgets})


@page(Permission.SEE_GATEWAY)
def prompts(request: MemberRequest) -> HttpResponse:
    """A piece of the page, asked for once it is there: reading 100,000 requests takes a moment."""
    form = SpendForm(request.GET, timezone.now())
    if not form.is_valid():
        return _refused(request, form)
    texts = request.may(Permission.READ_VALUES)
    found = spend_reports.prompts(request.tenant.id, form.question(), texts=texts)
    return render(request, "console/gateway_spend_prompts.html", {"form": form, "prompts": found})


@page(Permission.SEE_GATEWAY)
def download(request: MemberRequest) -> HttpResponse:
    """Each day of what the page shows, as the API's CSV has it."""
    form = SpendForm(request.GET, timezone.now())
    if not form.is_valid():
        return _refused(request, form)
    try:
        return to_django(spend_reports.csv(request.tenant.id, form.question()))
    except InvalidRequest:
        form.add_error(None, "This is too much for one file: choose a shorter time.")
        return _refused(request, form)


def _refused(request: MemberRequest, form: SpendForm) -> HttpResponse:
    return render(request, "console/gateway_spend.html", {"form": form}, status=400)


def _first_call(tenant_id: int) -> dict[str, Any]:
    """What to paste: of the tenant's first provider, or of the one that it may want to begin with."""
    found = providers.list_providers(tenant_id)
    openai = Provider(name="openai", kind=Kind.OPENAI, base_url=providers.BASE_URLS[Kind.OPENAI])
    provider = found[0] if found else openai
    has_credential = not found or provider.name in providers.with_credential(tenant_id)
    return {
        "provider": provider if found else None,
        "client_url": gateway_snippets.client_url(provider),
        "snippets": gateway_snippets.snippets(provider, has_credential=has_credential),
    }


urls = [
    path("gateway", index, name="gateway"),
    path("gateway/prompts", prompts, name="gateway-prompts"),
    path("gateway/csv", download, name="gateway-csv"),
]
