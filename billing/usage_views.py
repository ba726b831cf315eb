"""The views of usage and the account: parse, read, answer."""

from datetime import UTC, datetime

from asgiref.sync import async_to_sync
from django.http import HttpResponse
from rest_framework.request import Request

from accounts.policy import Permission, scope_for
from billing import account, usage, usage_answers, usage_requests, usage_schema
from cacheservice.authentication import caller_of
from cacheservice.entries import collection, requests, store
from cacheservice.views import APIView, query_string, to_django

DEFAULT_TOP, MOST_TOP = 10, 100


class UsageView(APIView):
    """What the tenant used, by UTC hour, day or month."""

    scopes = {"GET": scope_for(Permission.SEE_USAGE)}
    http_method_names = ["get"]

    @usage_schema.get_usage
    def get(self, request: Request) -> HttpResponse:
        question = usage_requests.parse(query_string(request), request.headers.get("Accept", ""), datetime.now(UTC))
        tenant_id = caller_of(request).tenant_id
        rows = async_to_sync(self.reading(request).rows)
        if question.by == "tag":
            return to_django(usage_answers.tag_usage(question, usage.read_tags(rows, tenant_id, question.range)))
        report = usage.read(rows, tenant_id, question.range, by_api_key=question.by is not None)
        return to_django(usage_answers.usage(question, report))


class TopEntriesView(APIView):
    """The live entries that were hit most, or that saved most."""

    scopes = {"GET": scope_for(Permission.SEE_USAGE)}
    http_method_names = ["get"]

    @usage_schema.get_top_entries
    def get(self, request: Request) -> HttpResponse:
        parameters = requests.parse_query(query_string(request), ("by", "limit"))
        by = requests.parse_choice(parameters, "by", tuple(collection.TOP)) or "hits"
        limit = requests.parse_limit(parameters, MOST_TOP, DEFAULT_TOP)
        rows = async_to_sync(self.reading(request).rows)
        entries = collection.top(rows, caller_of(request).tenant_id, by, limit)
        return to_django(usage_answers.answer({"by": by, "entries": [collection.listed(*entry) for entry in entries]}))


class AccountView(APIView):
    """The tenant's plan, credits, storage and prices, and the limits of the API key that asks."""

    scopes = {"GET": scope_for(Permission.SEE_USAGE)}
    http_method_names = ["get"]

    @usage_schema.get_account
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        caller = caller_of(request)
        rows = async_to_sync(store.current().rows)
        answer = usage_answers.account(
            account.read(rows, caller.tenant_id, caller.api_key_id),
            account.read_prices(rows),
            used_bytes=account.storage_used(rows, caller.tenant_id),
            api_key_used_bytes=account.storage_used(rows, caller.tenant_id, caller.api_key_id),
        )
        return to_django(answer)
