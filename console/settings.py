"""The tenant's settings: its name, TTLs, alerts and webhook."""

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.views.decorators.http import require_POST

from accounts import tokens
from accounts.policy import Permission
from billing import limits
from billing.models import Account
from console import access, alert_messages, alert_tests, email_addresses, settings_changes
from console.access import MemberRequest, page, recently_authenticated
from console.form_pages import REFUSED
from console.models import Delivery
from console.settings_forms import AlertsForm, NameForm, TTLsForm, WebhookForm, initial_of

SHOWN_DELIVERIES = 10


@page(Permission.SEE_SETTINGS)
def index(request: MemberRequest) -> HttpResponse:
    return _page(request)


@page(Permission.MANAGE_SETTINGS)
@require_POST
def name(request: MemberRequest) -> HttpResponse:
    form = NameForm(request.POST)
    return _change(
        request,
        "name_form",
        form,
        lambda: settings_changes.rename(request.tenant, form.cleaned_data["name"], access.actor(request)),
        "The tenant is renamed.",
    )


@page(Permission.MANAGE_SETTINGS)
@require_POST
def ttls(request: MemberRequest) -> HttpResponse:
    form = TTLsForm(request.POST)
    return _change(
        request,
        "ttls_form",
        form,
        lambda: limits.set_ttls(request.tenant, **form.cleaned_data, actor=access.actor(request)),
        "The TTLs hold for what is written from now on.",
    )


@page(Permission.MANAGE_SETTINGS)
@require_POST
def alerts(request: MemberRequest) -> HttpResponse:
    form = AlertsForm(request.POST)
    return _change(
        request,
        "alerts_form",
        form,
        lambda: settings_changes.set_alerts(request.tenant, **form.cleaned_data, acting=request.user),
        "The alerts are set.",
    )


@page(Permission.MANAGE_SETTINGS)
@require_POST
@recently_authenticated
def webhook(request: MemberRequest) -> HttpResponse:
    form = WebhookForm(request.POST)
    if not form.is_valid():
        return _page(request, webhook_form=form)
    secret = settings_changes.set_webhook(request.tenant, form.cleaned_data["webhook_url"], access.actor(request))
    return _shown_once(request, secret) if secret else _back(request, "The webhook is set.")


@page(Permission.MANAGE_SETTINGS)
@require_POST
@recently_authenticated
def webhook_secret(request: MemberRequest) -> HttpResponse:
    if not alert_messages.settings_of(request.tenant.id).webhook_url:
        return _back(request, "There is no webhook: give its URL first.", messages.WARNING)
    return _shown_once(request, settings_changes.rotate_webhook_secret(request.tenant, access.actor(request)))


@page(Permission.MANAGE_SETTINGS)
@require_POST
def test_email(request: MemberRequest) -> HttpResponse:
    tests = alert_messages.test_emails(request.tenant.id, access.actor(request))
    if tests and not email_addresses.has_verified(request.user):
        return _back(request, "First verify your own e-mail address, then send a test.", messages.WARNING)
    return _test(request, tests)


@page(Permission.MANAGE_SETTINGS)
@require_POST
def test_webhook(request: MemberRequest) -> HttpResponse:
    return _test(request, alert_messages.test_webhook(request.tenant.id, access.actor(request)))


def _test(request: MemberRequest, tests: list[Delivery]) -> HttpResponse:
    """Send them now and say what became of each."""
    if not tests:
        return _back(request, "There is nowhere to send it to: set an address first.", messages.WARNING)
    try:
        sent = alert_tests.send(request.tenant.id, tests, access.actor(request), request.user)
    except alert_tests.TooMany as error:
        return _back(request, str(error), messages.WARNING)
    for delivery in sent:
        arrived = delivery.delivered_at is not None
        text = f"Test to {delivery.address}: {delivery.outcome}."
        messages.add_message(request, messages.SUCCESS if arrived else messages.ERROR, text)
    return _back(request)


def _change(
    request: MemberRequest, name: str, form: forms.Form, change: Callable[[], object], done: str
) -> HttpResponse:
    """Make the change that the form asks for; where it is refused the page again, with the form `name` as it came."""
    if form.is_valid():
        try:
            change()
            return _back(request, done)
        except ValueError as error:
            form.refuse(error)  # type: ignore[attr-defined]  # whose changes may refuse are ServiceForms
    return _page(request, **{name: form})


def _page(request: MemberRequest, **refused: forms.Form) -> HttpResponse:
    account = Account.objects.get(tenant=request.tenant)
    settings = alert_messages.settings_of(request.tenant.id)
    initial = initial_of(request.tenant, account, settings)
    content: dict[str, Any] = {
        "name_form": NameForm(initial=initial),
        "ttls_form": TTLsForm(initial=initial),
        "alerts_form": AlertsForm(initial=initial),
        "webhook_form": WebhookForm(initial=initial),
        "account": account,
        "alerts": settings,
        "recipients": alert_messages.recipients(request.tenant.id),
        "deliveries": request.tenant.deliveries.order_by("-created_at")[:SHOWN_DELIVERIES],
        **refused,
    }
    return render(request, "console/settings.html", content, status=REFUSED if refused else 200)


def _shown_once(request: MemberRequest, secret: str) -> HttpResponse:
    """The answer that holds a new signing secret."""
    return render(request, "console/webhook_secret.html", {"secret": secret})


def _back(request: MemberRequest, text: str = "", level: int = messages.SUCCESS) -> HttpResponse:
    if text:
        messages.add_message(request, level, text)
    return redirect("console:settings", tenant=tokens.encode_id(request.tenant.id))


urls = [
    path("settings", index, name="settings"),
    path("settings/name", name, name="settings-name"),
    path("settings/ttls", ttls, name="settings-ttls"),
    path("settings/alerts", alerts, name="settings-alerts"),
    path("settings/alerts/test", test_email, name="settings-test-email"),
    path("settings/webhook", webhook, name="settings-webhook"),
    path("settings/webhook/secret", webhook_secret, name="settings-webhook-secret"),
    path("settings/webhook/test", test_webhook, name="settings-test-webhook"),
]
