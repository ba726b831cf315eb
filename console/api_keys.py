"""The tenant's API keys: who may call, to do what, from where, within which limits.

A token is shown on the answer that makes it, and nowhere else: it is never in a URL, a log or a session.
"""

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import Http404, HttpResponse
from django.shortcuts import redirect, render
from django.urls import path
from django.utils import timezone

from accounts import keys, tokens
from accounts.models import APIKey
from accounts.policy import Permission, may_grant
from billing import account
from console import access, api_key_changes, api_key_forms, api_key_list, reports
from console.access import MemberRequest, page, recently_authenticated
from console.api_key_forms import SCOPE_HELP, APIKeyForm, CreateForm, FilterForm, RevokeForm, RotateForm
from console.form_pages import form_page
from console.snippets import snippets

ON_A_PAGE = 50


@page(Permission.SEE_API_KEYS)
def index(request: MemberRequest) -> HttpResponse:
    of, form = api_key_list.keys_of(request.tenant), FilterForm(request.GET)
    found = Paginator(form.found(of), ON_A_PAGE).get_page(request.GET.get("page"))
    lines = api_key_list.lines(request.tenant, found)
    filtered = any(form.cleaned_data.values())
    return render(
        request, "console/api_keys.html", {"form": form, "found": found, "lines": lines, "filtered": filtered}
    )


@page(Permission.SEE_API_KEYS)
def one(request: MemberRequest, key_id: str) -> HttpResponse:
    key = _key(request, key_id)
    [line] = api_key_list.lines(request.tenant, [key])
    return render(
        request,
        "console/api_key.html",
        {
            "line": line,
            "scopes": [(name, SCOPE_HELP[name]) for name in key.scope_names],
            "limits": account.read(reports.rows, request.tenant.id, key.id),
            "stored": account.storage_used(reports.rows, request.tenant.id, key.id),
        },
    )


@page(Permission.MANAGE_API_KEYS)
@recently_authenticated
def create(request: MemberRequest) -> HttpResponse:
    defaults = api_key_changes.defaults(request.tenant)
    form = CreateForm(request.POST or None, role=request.member.role, defaults=defaults)
    if form.is_valid():
        try:
            key, token = api_key_changes.create(request.tenant, form, access.actor(request))
            return _shown_once(request, key, token, "created")
        except ValueError as error:
            form.refuse(error)
    return form_page(request, "console/api_key_create.html", {"form": form})


@page(Permission.MANAGE_API_KEYS)
def edit(request: MemberRequest, key_id: str) -> HttpResponse:
    key = _key(request, key_id)
    initial = api_key_forms.initial_of(key)
    form = APIKeyForm(request.POST or None, initial=initial, defaults=api_key_changes.defaults(request.tenant))
    if form.is_valid():
        try:
            key = api_key_changes.change(key, form, access.actor(request))
            return _back(request, key_id, f"{key.name} is changed.")
        except ValueError as error:
            form.refuse(error)
    return form_page(request, "console/api_key_edit.html", {"form": form, "key": key, "code": key_id})


@page(Permission.MANAGE_API_KEYS)
@recently_authenticated
def rotate(request: MemberRequest, key_id: str) -> HttpResponse:
    key, form = _key(request, key_id), RotateForm(request.POST or None)
    if beyond := [scope for scope in key.scope_names if not may_grant(request.member.role, scope)]:
        role = request.member.get_role_display()
        raise PermissionDenied(f"Your role, {role}, may not have the token of a key with the scope {beyond[0]}.")
    if form.is_valid():
        try:
            token = keys.rotate_api_key(key, overlap=form.length(), actor=access.actor(request))
            return _shown_once(request, _key(request, key_id), token, "rotated")
        except ValueError as error:
            form.refuse(error)
    return form_page(request, "console/api_key_rotate.html", {"form": form, "key": key, "code": key_id})


@page(Permission.MANAGE_API_KEYS)
@recently_authenticated
def revoke(request: MemberRequest, key_id: str) -> HttpResponse:
    key = _key(request, key_id)
    form = RevokeForm(request.POST or None, key=key)
    if form.is_valid():
        keys.revoke_api_key(key, access.actor(request))
        return _back(request, key_id, f"{key.name} is revoked: it is refused everywhere from now on.")
    return form_page(request, "console/api_key_revoke.html", {"form": form, "key": key, "code": key_id})


def _key(request: MemberRequest, key_id: str) -> APIKey:
    """Raises Http404 for what is no key of the tenant."""
    try:
        found = api_key_list.keys_of(request.tenant).filter(id=tokens.decode_id(key_id)).first()
    except ValueError:
        found = None
    if found is None:
        raise Http404("There is no such API key.")
    return found


def _shown_once(request: MemberRequest, key: APIKey, token: str, what: str) -> HttpResponse:
    """The answer that holds a new token."""
    complete = {"read", "write"} <= set(key.scope_names)  # what the snippets do
    until = key.previous_expires_at
    content = {
        "key": key,
        "code": tokens.encode_id(key.id),
        "token": token,
        "what": what,
        "rotating": until if until and until > timezone.now() else None,
        "snippets": snippets(f"{request.scheme}://{request.get_host()}", token) if complete else [],
    }
    return render(request, "console/api_key_token.html", content, status=201 if what == "created" else 200)


def _back(request: MemberRequest, key_id: str, message: str) -> HttpResponse:
    messages.success(request, message)
    return redirect("console:api-keys-one", tenant=tokens.encode_id(request.tenant.id), key_id=key_id)


urls = [
    path("keys", index, name="api-keys"),
    path("keys/create", create, name="api-keys-create"),
    path("keys/<str:key_id>", one, name="api-keys-one"),
    path("keys/<str:key_id>/edit", edit, name="api-keys-edit"),
    path("keys/<str:key_id>/rotate", rotate, name="api-keys-rotate"),
    path("keys/<str:key_id>/revoke", revoke, name="api-keys-revoke"),
]
