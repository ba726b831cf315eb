"""One entry: what is known of it, and its value, for roles that may read values. Opening it costs nothing, is no hit,
and stands in the audit log."""

from typing import Any
from urllib.parse import quote, urlencode

from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import Http404, HttpResponse, QueryDict
from django.shortcuts import render
from django.urls import path, reverse

from accounts import audit, tokens
from accounts.models import APIKey
from accounts.policy import Permission
from cacheservice.entries import browsing, requests, store
from cacheservice.entries.browsing import Viewed
from cacheservice.errors import InternalError, InvalidRequest
from console import access, entry_values
from console.access import MemberRequest, page
from console.entry_forms import ChangeForm, TagsForm, TTLForm
from console.form_pages import REFUSED

LOGGED_CHARACTERS = 100  # of a key in the audit log


@page(Permission.LIST_ENTRIES)
def open_one(request: MemberRequest) -> HttpResponse:
    return shown(request, key_of(request.GET))


@page(Permission.READ_VALUES)
def value(request: MemberRequest) -> HttpResponse:
    """The value's bytes: for an `<img>` where it is a picture, else a download."""
    key = key_of(request.GET)
    opened = async_to_sync(store.current().open)(request.tenant.id, key)
    if opened is None:
        raise Http404("There is no such entry.")
    record(request, "entry.open", key)
    return entry_values.download(*opened)


def key_of(fields: QueryDict) -> str:
    """Raises Http404 for what cannot be a key."""
    try:
        return requests.check_key(fields.get("key", ""))
    except InvalidRequest:
        raise Http404("There is no such entry.") from None


def url_of(request: MemberRequest, key: str) -> str:
    page_url = reverse("console:entries-open", kwargs={"tenant": tokens.encode_id(request.tenant.id)})
    return f"{page_url}?{urlencode({'key': key})}"


def record(request: MemberRequest, action: str, key: str, **details: Any) -> None:
    audit.record(request.tenant.id, access.actor(request), action, key[:LOGGED_CHARACTERS], **details)


def shown(request: MemberRequest, key: str, refused: ChangeForm | None = None) -> HttpResponse:
    """The entry's page, with a form that was refused. Raises Http404 where there is no live entry."""
    entry = async_to_sync(browsing.view)(store.current(), request.tenant.id, key)
    if entry is None:
        raise Http404("There is no such entry.")
    content: dict[str, Any] = {
        "key": key,
        "query": urlencode({"key": key}),
        "entry": entry,
        "media_type": entry_values.media_type(entry.content_type),
        "writer": APIKey.objects.filter(tenant=request.tenant, id=entry.api_key_id).first(),
        "command": _command(key),
        "tags_form": TagsForm(initial={"tags": "\n".join(entry.tags)}),
        "ttl_form": TTLForm(),
    }
    if refused is not None:
        content["tags_form" if isinstance(refused, TagsForm) else "ttl_form"] = refused
    elif request.may(Permission.READ_VALUES):
        content.update(_value(request, key, entry))
    return render(request, "console/entry.html", content, status=REFUSED if refused else 200)


def _value(request: MemberRequest, key: str, entry: Viewed) -> dict[str, Any]:
    """What the page has of the value. A picture is opened by the browser's request for it."""
    if entry_values.is_picture(entry.content_type):
        return {"picture": True}
    try:
        opened = async_to_sync(store.current().open)(request.tenant.id, key)
    except InternalError as error:
        return {"does_not_open": error.message}
    if opened is None:
        raise Http404("There is no such entry any more.")
    record(request, "entry.open", key)
    return {"value": entry_values.shown(opened[1], opened[0].content_type)}


def _command(key: str) -> str:
    """To get the entry from a shell. What is percent-encoded means nothing to a shell."""
    url = f"{settings.PUBLIC_URL}/api/v1/cache/{quote(key, safe='')}"
    return f'curl "{url}" \\\n  -H "Authorization: Bearer $CACHE_API_KEY"'


urls = [path("entries/open", open_one, name="entries-open"), path("entries/value", value, name="entries-value")]
