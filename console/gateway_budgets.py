"""The tenant's budgets: hard limits on what the gateway spends in a UTC day."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

from django.contrib import messages
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from accounts import tokens
from accounts.models import APIKey
from accounts.policy import Permission
from cacheservice.errors import Conflict
from console import access, api_key_list
from console.access import MemberRequest, page, recently_authenticated
from console.form_pages import form_page
from console.gateway_budget_forms import BudgetForm, CreateBudgetForm, initial_of
from gateway import budget_settings
from gateway.budgets import resets_at
from gateway.models import Budget


class Line(NamedTuple):
    """A budget as the pages show it."""

    budget: Budget
    code: str  # its id in URLs and in the API
    key: str | None  # the API key's name; None: all of them
    used: Decimal  # USD, today

    @property
    def title(self) -> str:
        """What it is about, in words."""
        return f"{self.budget.model or 'all models'}, {'all API keys' if self.key is None else f'API key {self.key}'}"

    @property
    def percent(self) -> int:
        """Of the day's limit, rounded down, so that 100 is used up; 100 of one that allows nothing."""
        limit = self.budget.usd_per_day
        return min(100, int(self.used * 100 / limit)) if limit else 100

    @property
    def level(self) -> str:
        """`bad`: used up; `warn`: the tenant is alerted; empty: neither."""
        if self.percent == 100:
            return "bad"
        return "warn" if self.percent >= self.budget.alert_percent else ""


@page(Permission.SEE_GATEWAY)
def index(request: MemberRequest) -> HttpResponse:
    lines = _lines(request, budget_settings.list_budgets(request.tenant.id))
    until = resets_at(datetime.now(UTC).date())
    return render(request, "console/gateway_budgets.html", {"lines": lines, "until": until})


@page(Permission.MANAGE_GATEWAY)
def create(request: MemberRequest) -> HttpResponse:
    keys = api_key_list.keys_of(request.tenant).filter(revoked_at=None).order_by("name", "id")
    form = CreateBudgetForm(request.POST or None, keys=keys)
    if form.is_valid():
        try:
            budget_settings.create_budget(
                request.tenant.id,
                **form.scope(),
                usd_per_day=form.cleaned_data["usd_per_day"],
                alert_percent=form.cleaned_data["alert_percent"],
                actor=access.actor(request),
            )
            return _back(request, "The budget is set. It holds everywhere within a second.")
        except Conflict as error:
            form.add_error(None, error.message)
    return form_page(request, "console/gateway_budget_create.html", {"form": form})


@page(Permission.MANAGE_GATEWAY)
@recently_authenticated
def edit(request: MemberRequest, budget_id: str) -> HttpResponse:
    budget = _budget(request, budget_id)
    form = BudgetForm(request.POST or None, initial=initial_of(budget))
    if form.is_valid():
        changed = {name: value for name, value in form.cleaned_data.items() if value != getattr(budget, name)}
        if changed:
            budget_settings.update_budget(budget, changed, access.actor(request))
        return _back(request, "The budget is changed. It holds everywhere within a second.")
    [line] = _lines(request, [budget])
    return form_page(request, "console/gateway_budget_edit.html", {"form": form, "line": line})


@page(Permission.MANAGE_GATEWAY)
@recently_authenticated
def delete(request: MemberRequest, budget_id: str) -> HttpResponse:
    budget = _budget(request, budget_id)
    if request.method == "POST":
        budget_settings.delete_budget(request.tenant.id, budget.id, access.actor(request))
        return _back(request, "The budget is deleted.")
    [line] = _lines(request, [budget])
    return render(request, "console/gateway_budget_delete.html", {"line": line})


def _lines(request: MemberRequest, found: list[Budget]) -> list[Line]:
    used = budget_settings.used_today(request.tenant.id)
    ids = {each.api_key_id for each in found if each.api_key_id is not None}
    names = dict(APIKey.objects.filter(tenant=request.tenant, id__in=ids).values_list("id", "name")) if ids else {}
    return [
        Line(
            budget=each,
            code=tokens.encode_id(each.id),
            key=None if each.api_key_id is None else names.get(each.api_key_id, "a deleted API key"),
            used=used.get(each.id, Decimal(0)),
        )
        for each in found
    ]


def _budget(request: MemberRequest, budget_id: str) -> Budget:
    """Raises Http404 for what is no budget of the tenant."""
    try:
        found = budget_settings.find_budget(request.tenant.id, tokens.decode_id(budget_id))
    except ValueError:
        found = None
    if found is None:
        raise Http404("There is no such budget.")
    return found


def _back(request: MemberRequest, message: str) -> HttpResponse:
    messages.success(request, message)
    return redirect("console:gateway-budgets", tenant=tokens.encode_id(request.tenant.id))


urls = [
    path("gateway/budgets", index, name="gateway-budgets"),
    path("gateway/budgets/create", create, name="gateway-budgets-create"),
    path("gateway/budgets/<str:budget_id>/edit", edit, name="gateway-budgets-edit"),
    path("gateway/budgets/<str:budget_id>/delete", delete, name="gateway-budgets-delete"),
]
