"""The price list: what things cost today, and what they will cost from which day on."""

from datetime import date
from typing import NamedTuple

from django.http import HttpResponse
from django.shortcuts import render
from django.urls import path

from accounts.policy import Permission
from billing import account
from billing.models import Account, Plan, Price
from billing.plans import today
from billing.units import credits, usd
from console import reports
from console.access import MemberRequest, page


class Change(NamedTuple):
    """What something will cost."""

    valid_from: date
    price: str


class Line(NamedTuple):
    """A line of the price list. Amounts are exact."""

    what: str
    unit: str
    price: str
    coming: list[Change]


@page(Permission.SEE_BILLING)
def index(request: MemberRequest) -> HttpResponse:
    plans = Plan.objects.filter(valid_from__lte=today()).order_by("code", "-valid_from").distinct("code")
    content = {
        "lines": price_list(),
        "plans": plans,
        "coming_plans": Plan.objects.filter(valid_from__gt=today()).order_by("valid_from", "code"),
        "own": Account.objects.get(tenant=request.tenant).plan,
    }
    return render(request, "console/billing_prices.html", content)


def price_list() -> list[Line]:
    prices = account.read_prices(reports.rows)
    coming: dict[str, list[Change]] = {Price.CACHE_HIT: [], Price.CREDIT: [], Price.STORAGE: []}
    for each in Price.objects.filter(valid_from__gt=today(), code__in=coming).order_by("valid_from"):
        price = _hit(int(each.amount)) if each.code == Price.CACHE_HIT else _usd(usd(each.amount))
        coming[each.code].append(Change(each.valid_from, price))
    credit, storage = _usd(usd(prices.credit)), _usd(usd(prices.storage))
    return [
        Line("A hit", "of an entry, whatever its size", _hit(prices.cache_hit), coming[Price.CACHE_HIT]),
        Line("A credit", "that the balance did not cover", credit, coming[Price.CREDIT]),
        Line("Storage", "a GB over a month, by the byte and second", storage, coming[Price.STORAGE]),
        Line("Misses, writes, deletions", "", "nothing", []),
    ]


def _hit(units: int) -> str:
    return f"{credits(units)} credits"


def _usd(amount: str) -> str:
    return f"${amount}"


urls = [path("billing/prices", index, name="billing-prices")]
