"""Deleting many entries: all under a prefix, with some tags, or both. How many that is, is said before."""

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import path

from accounts import audit, tokens
from accounts.policy import Permission
from cacheservice.entries import browsing, store
from cacheservice.entries.callers import console_caller
from cacheservice.entries.collection import Selection
from cacheservice.errors import InvalidRequest
from console import access
from console.access import MemberRequest, page, recently_authenticated
from console.entry_forms import PurgeForm, selection
from console.form_pages import REFUSED
from console.templatetags.console import number

MOST_COUNTED = 10_000


@page(Permission.DELETE_ENTRIES)
@recently_authenticated
def purge(request: MemberRequest) -> HttpResponse:
    try:
        selected = selection(request.POST if request.method == "POST" else request.GET)
    except InvalidRequest as error:
        refused = {"selected": Selection(), "refused": error.message}
        return render(request, "console/entry_purge.html", refused, status=REFUSED)
    if selected == Selection():
        return render(request, "console/entry_purge.html", {"selected": selected})
    form = PurgeForm(request.POST or None, selection=selected)
    if form.is_valid():
        return _purge(request, selected)
    content: dict[str, object] = {
        "selected": selected,
        "form": form,
        "most_counted": MOST_COUNTED,
        "matching": async_to_sync(browsing.count_up_to)(store.current(), request.tenant.id, selected, MOST_COUNTED),
    }
    return render(request, "console/entry_purge.html", content, status=REFUSED if form.is_bound else 200)


def _purge(request: MemberRequest, selected: Selection) -> HttpResponse:
    """Written down before it begins: it may take minutes, and what a crash leaves of it is deleted all the same."""
    by = ", ".join([*([f"{selected.prefix}…"] if selected.prefix else []), *selected.tags])
    details = {"prefix": selected.prefix, "tags": list(selected.tags)}
    audit.record(request.tenant.id, access.actor(request), "entries.delete", by[:200], **details)
    deleted = async_to_sync(store.current().delete_selected)(console_caller(request.tenant), selected)
    messages.success(request, f"{number(deleted)} {'entry is' if deleted == 1 else 'entries are'} deleted.")
    return redirect("console:entries", tenant=tokens.encode_id(request.tenant.id))


urls = [path("entries/purge", purge, name="entries-purge")]
