"""The upstreams behind the gateway: where they are, what of them is cached, and how clients call them.

A provider's credential is taken and never shown. Not even for the time of signing in again is it kept readable.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import Any, NamedTuple

from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import path

from accounts import tokens
from accounts.policy import Permission
from console import access, gateway_policy_form, gateway_provider_forms
from console.access import MemberRequest, page, recently_authenticated
from console.form_pages import form_page
from console.gateway_policy_form import PolicyForm
from console.gateway_provider_forms import DROPPED, ConnectionForm, CreateForm, DeleteForm, Presets, preset_of
from console.gateway_snippets import client_url, snippets
from gateway import providers
from gateway.models import Kind, Provider
from gateway.policy import Policy

KINDS = {Kind.OPENAI: "OpenAI's API", Kind.ANTHROPIC: "Anthropic's API", Kind.OTHER: "another JSON API"}


class Line(NamedTuple):
    """A provider as the pages show it."""

    provider: Provider
    kind: str
    url: str  # what clients call
    has_credential: bool
    policy: Policy


def _drops_credential(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Around `recently_authenticated`: what was sent waits in the session, in the database, until the member has signed
    in again. A credential does not, for there it would lie readable; the form then asks for it once more.
    """

    @wraps(view)
    def inner(request: HttpRequest, **arguments: Any) -> HttpResponseBase:
        try:
            return view(request, **arguments)
        except ReauthenticationRequired:
            if request.POST.get("credential"):
                kept = request.POST.copy()
                kept["credential"], kept[DROPPED] = "", "on"
                request.POST = kept  # type: ignore[assignment]  # which is as it was, but for that
            raise

    return inner


@page(Permission.SEE_GATEWAY)
def index(request: MemberRequest) -> HttpResponse:
    found = providers.list_providers(request.tenant.id)
    return render(request, "console/gateway_providers.html", {"lines": _lines(request, found)})


@page(Permission.SEE_GATEWAY)
def one(request: MemberRequest, name: str) -> HttpResponse:
    [line] = _lines(request, [_provider(request, name)])
    content = {
        "line": line,
        "facts": list(gateway_policy_form.facts(line.policy)),
        "snippets": snippets(line.provider, has_credential=line.has_credential),
    }
    return render(request, "console/gateway_provider.html", content)


@page(Permission.MANAGE_GATEWAY)
@_drops_credential
@recently_authenticated
def create(request: MemberRequest) -> HttpResponse:
    preset = preset_of((request.POST or request.GET).get("preset"))
    kind = gateway_provider_forms.PRESETS[Presets(preset)].kind
    form = CreateForm(request.POST or None, preset=preset, others=_names_of_kind(request, kind))
    if form.is_valid():
        name = form.cleaned_data["name"]
        try:
            providers.create_provider(request.tenant.id, name, form.new_settings(), access.actor(request))
            return _back(request, name, f"{name} is set up. Clients may call it from now on.")
        except ValueError as error:
            form.refuse(error)
    return form_page(
        request, "console/gateway_provider_create.html", {"form": form, "preset": preset, "presets": Presets.choices}
    )


@page(Permission.MANAGE_GATEWAY)
@_drops_credential
@recently_authenticated
def edit(request: MemberRequest, name: str) -> HttpResponse:
    provider = _provider(request, name)
    form = ConnectionForm(
        request.POST or None,
        initial=gateway_provider_forms.initial_of(provider),
        kind=provider.kind,
        others=[other for other in _names_of_kind(request, provider.kind) if other != name],
        has_credential=name in providers.with_credential(request.tenant.id),
    )
    if form.is_valid():
        wanted = form.settings(providers.settings_of(provider))
        try:
            providers.update_provider(request.tenant.id, name, wanted, access.actor(request))
            return _back(request, name, f"{name} is changed. It holds everywhere within a second.")
        except ValueError as error:
            form.refuse(error)
    return form_page(request, "console/gateway_provider_edit.html", {"form": form, "provider": provider})


@page(Permission.MANAGE_GATEWAY)
def policy(request: MemberRequest, name: str) -> HttpResponse:
    provider = _provider(request, name)
    former = providers.settings_of(provider)
    form = PolicyForm(request.POST or None, initial=gateway_policy_form.initial_of(former.policy))
    if form.is_valid():
        wanted = replace(former, policy=form.policy())
        try:
            providers.update_provider(request.tenant.id, name, wanted, access.actor(request))
            return _back(request, name, f"The policy of {name} is changed. It holds everywhere within a second.")
        except ValueError as error:
            form.refuse(error)
    return form_page(request, "console/gateway_policy.html", {"form": form, "provider": provider})


@page(Permission.MANAGE_GATEWAY)
@recently_authenticated
def delete(request: MemberRequest, name: str) -> HttpResponse:
    provider = _provider(request, name)
    form = DeleteForm(request.POST or None, provider=provider)
    if form.is_valid():
        try:
            providers.delete_provider(request.tenant.id, name, access.actor(request))
            messages.success(request, f"{name} is deleted, with its credential and prices.")
            return redirect("console:gateway-providers", tenant=tokens.encode_id(request.tenant.id))
        except ValueError as error:
            form.refuse(error)
    return form_page(request, "console/gateway_provider_delete.html", {"form": form, "provider": provider})


def _lines(request: MemberRequest, found: list[Provider]) -> list[Line]:
    having = providers.with_credential(request.tenant.id)
    return [
        Line(
            provider=each,
            kind=KINDS[Kind(each.kind)],
            url=client_url(each),
            has_credential=each.name in having,
            policy=providers.policy_of(each.policy),
        )
        for each in found
    ]


def _names_of_kind(request: MemberRequest, kind: str) -> list[str]:
    return [each.name for each in providers.list_providers(request.tenant.id) if each.kind == kind]


def _provider(request: MemberRequest, name: str) -> Provider:
    """Raises Http404 for what is no provider of the tenant."""
    found = providers.find_provider(request.tenant.id, name)
    if found is None:
        raise Http404("There is no such provider.")
    return found


def _back(request: MemberRequest, name: str, message: str) -> HttpResponse:
    messages.success(request, message)
    return redirect("console:gateway-providers-one", tenant=tokens.encode_id(request.tenant.id), name=name)


urls = [
    path("gateway/providers", index, name="gateway-providers"),
    path("gateway/create-provider", create, name="gateway-providers-create"),
    path("gateway/providers/<str:name>", one, name="gateway-providers-one"),
    path("gateway/providers/<str:name>/edit", edit, name="gateway-providers-edit"),
    path("gateway/providers/<str:name>/policy", policy, name="gateway-providers-policy"),
    path("gateway/providers/<str:name>/delete", delete, name="gateway-providers-delete"),
]
