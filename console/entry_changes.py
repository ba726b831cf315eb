"""Changing one entry: other tags, a new TTL, its end. Booked on the tenant's internal API key.

Each change is written down in a transaction around it: what cannot be written down is not done. That transaction must
hold no lock that the store's own one waits for, so the API key, which may have to be made, comes before it.
"""

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.db import transaction
from django.http import HttpResponse
from django.shortcuts import redirect
from django.urls import path
from django.views.decorators.http import require_POST

from accounts import tokens
from accounts.policy import Permission
from cacheservice.entries import requests, store
from cacheservice.entries.callers import console_caller
from cacheservice.errors import InvalidRequest, PreconditionFailed
from console import entry_page
from console.access import MemberRequest, page, recently_authenticated
from console.entry_forms import ChangeForm, TagsForm, TTLForm, VersionForm

REPLACED = "Nothing was changed: the entry was replaced, or is gone, since you opened it."


@page(Permission.CHANGE_ENTRIES)
@require_POST
def retag(request: MemberRequest) -> HttpResponse:
    return _change(request, TagsForm(request.POST))


@page(Permission.CHANGE_ENTRIES)
@require_POST
def renew(request: MemberRequest) -> HttpResponse:
    return _change(request, TTLForm(request.POST))


@page(Permission.DELETE_ENTRIES)
@require_POST
@recently_authenticated
def delete(request: MemberRequest) -> HttpResponse:
    key, form = entry_page.key_of(request.POST), VersionForm(request.POST)
    if not form.is_valid():
        return redirect(entry_page.url_of(request, key))
    caller = console_caller(request.tenant)
    try:
        with transaction.atomic():
            entry_page.record(request, "entry.delete", key)
            async_to_sync(store.current().delete)(caller, key, form.cleaned_data["etag"])
    except PreconditionFailed:
        messages.error(request, REPLACED)
    else:
        messages.success(request, f"The entry {requests.shown(key)} is deleted.")
    return redirect("console:entries", tenant=tokens.encode_id(request.tenant.id))


def _change(request: MemberRequest, form: ChangeForm) -> HttpResponse:
    key = entry_page.key_of(request.POST)
    if not form.is_valid():
        return entry_page.shown(request, key, form)
    change, caller = form.change(), console_caller(request.tenant)
    try:
        with transaction.atomic():
            entry_page.record(request, "entry.update", key, **form.logged())
            async_to_sync(store.current().patch)(caller, key, **change, condition=form.cleaned_data["etag"])
    except PreconditionFailed:
        messages.error(request, REPLACED)
    except InvalidRequest as error:  # the tenant's maximum of the TTL
        form.add_error(form.about, error.message)
        return entry_page.shown(request, key, form)
    else:
        messages.success(request, form.done)
    return redirect(entry_page.url_of(request, key))


urls = [
    path("entries/retag", retag, name="entries-retag"),
    path("entries/renew", renew, name="entries-renew"),
    path("entries/delete", delete, name="entries-delete"),
]
