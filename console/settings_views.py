"""The API's views of a tenant's settings and its webhook: parse, change, answer. What a change does,
`settings_changes.py` and `billing/limits.py` say."""

from django.db import transaction
from django.http import HttpResponse
from rest_framework.request import Request

from accounts.models import Tenant
from accounts.policy import Permission, scope_for
from billing.limits import set_ttls
from billing.models import Account
from cacheservice.authentication import caller_of
from cacheservice.entries import requests
from cacheservice.errors import NotFound
from cacheservice.views import APIView, content_type, query_string, to_django
from console import (
    alert_messages,
    alert_tests,
    settings_answers,
    settings_changes,
    settings_requests,
    settings_schema,
)
from console.api_callers import acting, refusals

ALERTS = ("storage_percent", "low_balance", "month_credits", "emails")


class SettingsView(APIView):
    """The tenant's name, TTLs and alerts."""

    scopes = {"GET": scope_for(Permission.SEE_SETTINGS), "PATCH": scope_for(Permission.MANAGE_SETTINGS)}
    http_method_names = ["get", "patch"]

    @settings_schema.get_settings
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        return _settings(_tenant(request))

    @settings_schema.update_settings
    def patch(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        fields = settings_requests.parse_update(content_type(request), request._request.body)
        who = acting(request)
        with refusals(), transaction.atomic():
            tenant = _tenant(request, lock=True)
            if "name" in fields:
                settings_changes.rename(tenant, fields["name"], who.name)
            if ttls := {name: fields[name] for name in ("default_ttl", "max_ttl") if name in fields}:
                set_ttls(tenant, **ttls, actor=who.name)
            if "alerts" in fields:
                present = alert_messages.settings_of(tenant.id)
                alerts = {name: getattr(present, name) for name in ALERTS} | fields["alerts"]
                settings_changes.set_alerts(tenant, **alerts, acting=who)
        return _settings(tenant)


class WebhookView(APIView):
    """The tenant's one webhook."""

    scopes = {
        "GET": scope_for(Permission.SEE_SETTINGS),
        **dict.fromkeys(("PUT", "DELETE"), scope_for(Permission.MANAGE_SETTINGS)),
    }
    http_method_names = ["get", "put", "delete"]

    @settings_schema.get_webhook
    def get(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        return to_django(settings_answers.webhook(_url(request)))

    @settings_schema.put_webhook
    def put(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        url = settings_requests.parse_webhook(content_type(request), request._request.body)
        secret = settings_changes.set_webhook(_tenant(request), url, acting(request).name)
        return to_django(
            settings_answers.webhook(url) if secret is None else settings_answers.new_secret(201, url, secret)
        )

    @settings_schema.delete_webhook
    def delete(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        was_there = bool(_url(request))
        if was_there:
            settings_changes.set_webhook(_tenant(request), "", acting(request).name)
        return to_django(settings_answers.deleted_webhook(was_there=was_there))


class WebhookRotationView(APIView):
    """A new signing secret for it."""

    scopes = {"POST": scope_for(Permission.MANAGE_SETTINGS)}
    http_method_names = ["post"]

    @settings_schema.rotate_webhook
    def post(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        url = _url(request)
        if not url:
            raise _no_webhook()
        secret = settings_changes.rotate_webhook_secret(_tenant(request), acting(request).name)
        return to_django(settings_answers.new_secret(200, url, secret))


class WebhookTestView(APIView):
    """A test of it."""

    scopes = {"POST": scope_for(Permission.MANAGE_SETTINGS)}
    http_method_names = ["post"]

    @settings_schema.test_webhook
    def post(self, request: Request) -> HttpResponse:
        requests.parse_query(query_string(request), ())
        who = acting(request)
        tests = alert_messages.test_webhook(who.tenant_id, who.name)
        if not tests:
            raise _no_webhook()
        with refusals():
            [sent] = alert_tests.send(who.tenant_id, tests, who.name)
        return to_django(settings_answers.tested(sent))


def _settings(tenant: Tenant) -> HttpResponse:
    account, alerts = Account.objects.get(tenant=tenant), alert_messages.settings_of(tenant.id)
    return to_django(settings_answers.settings(tenant, account, alerts))


def _tenant(request: Request, *, lock: bool = False) -> Tenant:
    """`lock`: until the transaction ends, so that what is left out of one change is not lost by another."""
    found = Tenant.objects.select_for_update(no_key=True) if lock else Tenant.objects
    return found.get(id=caller_of(request).tenant_id)


def _url(request: Request) -> str:
    return alert_messages.settings_of(caller_of(request).tenant_id).webhook_url


def _no_webhook() -> NotFound:
    return NotFound("There is no webhook: set one with PUT /api/v1/webhooks.")
