"""The tenant's own prices of models: for those that the public price list does not know, or that it pays otherwise.

A model's name may hold slashes, so it stands in a URL's query and in a hidden field, never in a path.
"""

from typing import NamedTuple
from urllib.parse import urlencode

from django.contrib import messages
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from accounts import tokens
from accounts.policy import Permission
from billing.units import usd
from cacheservice.errors import Conflict, NotFound
from console import access
from console.access import MemberRequest, page, recently_authenticated
from console.form_pages import form_page
from console.gateway_budget_forms import CreatePriceForm, PriceForm, initial_of
from gateway import budget_settings, providers
from gateway.budget_settings import RATES
from gateway.models import ModelPrice

ON_A_PAGE = 50
GONE = "The provider was deleted meanwhile, with its prices."


class Line(NamedTuple):
    """A price as the page shows it."""

    price: ModelPrice
    rates: list[str]  # USD in the order of RATES; empty: none
    query: str  # names it in URLs


@page(Permission.SEE_GATEWAY)
def index(request: MemberRequest) -> HttpResponse:
    found = Paginator(budget_settings.list_prices(request.tenant.id), ON_A_PAGE).get_page(request.GET.get("page"))
    has_providers = bool(found) or bool(providers.list_providers(request.tenant.id))
    content = {"found": found, "lines": [_line(price) for price in found], "has_providers": has_providers}
    return render(request, "console/gateway_prices.html", content)


@page(Permission.MANAGE_GATEWAY)
def create(request: MemberRequest) -> HttpResponse:
    names = [provider.name for provider in providers.list_providers(request.tenant.id)]
    initial = {"provider": request.GET.get("provider"), "model": request.GET.get("model")}
    form = CreatePriceForm(request.POST or None, names=names, initial=initial)
    if form.is_valid():
        provider, model = form.cleaned_data["provider"], form.cleaned_data["model"]
        if _find(request, provider, model) is not None:
            form.add_error("model", "There is a price of it already: change that one.")
        elif _put(request, provider, model, form):
            return _back(request, "The price is set. It holds everywhere within a second.")
    return form_page(request, "console/gateway_price_create.html", {"form": form, "names": names})


@page(Permission.MANAGE_GATEWAY)
@recently_authenticated
def edit(request: MemberRequest) -> HttpResponse:
    price = _asked(request)
    form = PriceForm(request.POST or None, initial=initial_of(price))
    if form.is_valid() and _put(request, price.provider, price.model, form):
        return _back(request, "The price is changed. It holds everywhere within a second.")
    return form_page(request, "console/gateway_price_edit.html", {"form": form, "price": price})


@page(Permission.MANAGE_GATEWAY)
@recently_authenticated
def delete(request: MemberRequest) -> HttpResponse:
    price = _asked(request)
    if request.method == "POST":
        budget_settings.delete_price(request.tenant.id, price.provider, price.model, access.actor(request))
        return _back(request, "The price is deleted.")
    return render(request, "console/gateway_price_delete.html", {"price": price})


def _put(request: MemberRequest, provider: str, model: str, form: PriceForm) -> bool:
    """Whether it was set; where it was refused, the form says why."""
    try:
        budget_settings.put_price(request.tenant.id, provider, model, form.rates(), access.actor(request))
        return True
    except (Conflict, NotFound) as error:
        form.add_error(None, GONE if isinstance(error, NotFound) else error.message)
        return False


def _line(price: ModelPrice) -> Line:
    rates = [getattr(price, name) for name in RATES]
    return Line(
        price=price,
        rates=["" if rate is None else usd(rate) for rate in rates],
        query=urlencode({"provider": price.provider, "model": price.model}),
    )


def _asked(request: MemberRequest) -> ModelPrice:
    """The price that the form or the URL names. Raises Http404 where there is none."""
    asked = request.POST if request.method == "POST" else request.GET
    found = _find(request, asked.get("provider", ""), asked.get("model", ""))
    if found is None:
        raise Http404("There is no such price.")
    return found


def _find(request: MemberRequest, provider: str, model: str) -> ModelPrice | None:
    """Looked for among all, which are few: a name may have characters that PostgreSQL's texts cannot have."""
    return next(
        (
            price
            for price in budget_settings.list_prices(request.tenant.id)
            if (price.provider, price.model) == (provider, model)
        ),
        None,
    )


def _back(request: MemberRequest, message: str) -> HttpResponse:
    messages.success(request, message)
    return redirect("console:gateway-prices", tenant=tokens.encode_id(request.tenant.id))


urls = [
    path("gateway/prices", index, name="gateway-prices"),
    path("gateway/prices/create", create, name="gateway-prices-create"),
    path("gateway/prices/edit", edit, name="gateway-prices-edit"),
    path("gateway/prices/delete", delete, name="gateway-prices-delete"),
]
