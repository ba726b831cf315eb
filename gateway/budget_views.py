"""The views of budgets and prices: parse, change, answer. What a change does, `budget_settings.py` says."""

from django.http import HttpResponse
from rest_framework.request import Request

from accounts import tokens
from accounts.policy import Permission, scope_for
from cacheservice.authentication import actor_of, caller_of
from cacheservice.entries import requests
from cacheservice.errors import NotFound
from cacheservice.views import APIView, content_type, query_string, to_django
from gateway import budget_answers, budget_requests, budget_schema, budget_settings


class BudgetsView(APIView):
    """The tenant's budgets."""

    scopes = {"GET": scope_for(Permission.SEE_GATEWAY), "POST": scope_for(Permission.MANAGE_GATEWAY)}
    http_method_names = ["get", "post"]

    @budget_schema.list_budgets
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        tenant_id = caller_of(request).tenant_id
        found, used = budget_settings.list_budgets(tenant_id), budget_settings.used_today(tenant_id)
        return to_django(budget_answers.budgets(found, used))

    @budget_schema.create_budget
    def post(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        wanted = budget_requests.parse_create(content_type(request), request._request.body)
        budget = budget_settings.create_budget(caller_of(request).tenant_id, **wanted, actor=actor_of(request))
        return to_django(budget_answers.budget(201, budget, {}))


class BudgetView(APIView):
    """One of them."""

    scopes = dict.fromkeys(("PATCH", "DELETE"), scope_for(Permission.MANAGE_GATEWAY))
    http_method_names = ["patch", "delete"]

    @budget_schema.update_budget
    def patch(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        fields = budget_requests.parse_update(content_type(request), request._request.body)
        tenant_id = caller_of(request).tenant_id
        budget = budget_settings.find_budget(tenant_id, tokens.known_id(id))
        if budget is None:
            raise _no_budget(id)
        budget_settings.update_budget(budget, fields, actor_of(request))
        return to_django(budget_answers.budget(200, budget, budget_settings.used_today(tenant_id)))

    @budget_schema.delete_budget
    def delete(self, request: Request, id: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        number = tokens.known_id(id)
        if not number:
            raise _no_budget(id)
        was_there = budget_settings.delete_budget(caller_of(request).tenant_id, number, actor_of(request))
        return to_django(budget_answers.deleted_budget(id, was_there=was_there))


class PricesView(APIView):
    """The tenant's own prices."""

    scopes = {"GET": scope_for(Permission.SEE_GATEWAY)}
    http_method_names = ["get"]

    @budget_schema.list_prices
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        return to_django(budget_answers.prices(budget_settings.list_prices(caller_of(request).tenant_id)))


class PriceView(APIView):
    """One of them."""

    scopes = dict.fromkeys(("PUT", "DELETE"), scope_for(Permission.MANAGE_GATEWAY))
    http_method_names = ["put", "delete"]

    @budget_schema.put_price
    def put(self, request: Request, provider: str, model: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        rates = budget_requests.parse_price(content_type(request), request._request.body)
        model, tenant_id = budget_requests.check_model(model), caller_of(request).tenant_id
        price, new = budget_settings.put_price(tenant_id, provider, model, rates, actor_of(request))
        return to_django(budget_answers.price(201 if new else 200, price))

    @budget_schema.delete_price
    def delete(self, request: Request, provider: str, model: str) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        model, tenant_id = budget_requests.check_model(model), caller_of(request).tenant_id
        was_there = budget_settings.delete_price(tenant_id, provider, model, actor_of(request))
        return to_django(budget_answers.deleted_price(provider, model, was_there=was_there))


def _no_budget(id: str) -> NotFound:
    return NotFound(f"There is no budget '{requests.shown(id)}'; GET /api/v1/budgets lists them.")
