"""The cache's views: parse, ask the store, answer."""

from typing import Any

import msgspec
from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from rest_framework.request import Request

from accounts.policy import Permission, scope_for
from cacheservice.authentication import caller_of, with_address
from cacheservice.entries import batch, collection, items, requests, schema, store
from cacheservice.entries.collection import Cursor, Selection
from cacheservice.entries.lane import PREFIX
from cacheservice.entries.models import Space
from cacheservice.errors import APIError, InvalidRequest, NotFound
from cacheservice.http import JSON, Answer
from cacheservice.middleware import request_id
from cacheservice.views import APIView, asgi_scope, content_type, query_string, to_django


class ItemView(APIView):
    """One entry. The lane serves the same operations faster; both are `items.answer`."""

    scopes = items.SCOPES
    permission_classes = ()  # each operation's statement checks the API key and its scope itself

    @schema.get_item
    def get(self, request: Request, key: str) -> HttpResponse:
        return self._answer(request)

    def head(self, request: Request, key: str) -> HttpResponse:
        return self._answer(request)

    @schema.put_item
    def put(self, request: Request, key: str) -> HttpResponse:
        return self._answer(request)

    @schema.patch_item
    def patch(self, request: Request, key: str) -> HttpResponse:
        return self._answer(request)

    @schema.delete_item
    def delete(self, request: Request, key: str) -> HttpResponse:
        return self._answer(request)

    def _answer(self, request: Request) -> HttpResponse:
        """The key is taken from the path as it came: Django's was decoded already."""
        scope = asgi_scope(request)
        if not scope["raw_path"].startswith(PREFIX):  # some of the prefix was percent-encoded
            raise NotFound(f"There is no such route; send {PREFIX.decode()} as it is.")
        answer = async_to_sync(items.answer)
        return to_django(
            with_address(
                request,
                lambda caller: answer(
                    store.current(),
                    caller,
                    scope["method"],
                    scope["raw_path"][len(PREFIX) :],
                    scope["query_string"],
                    dict(scope["headers"]),
                    request._request.body,
                ),
            )
        )


class CollectionView(APIView):
    """The tenant's entries, or the gateway's for it: a page of them, or the end of those that a filter selects."""

    scopes = {"GET": scope_for(Permission.LIST_ENTRIES), "DELETE": scope_for(Permission.DELETE_ENTRIES)}
    http_method_names = ["get", "delete"]

    @schema.list_entries
    def get(self, request: Request) -> HttpResponse:
        allowed = ("space", "tag", "prefix", "limit", "cursor", "include")
        parameters = requests.parse_query(query_string(request), allowed, ("tag",))
        selection = Selection.parse(parameters)
        cursor = Cursor.decode(parameters["cursor"][0], selection) if "cursor" in parameters else None
        page = async_to_sync(collection.page)(
            self.reading(request),
            caller_of(request).tenant_id,
            selection,
            requests.parse_limit(parameters),
            cursor,
            with_stats=requests.parse_choice(parameters, "include", ("stats",)) is not None,
        )
        return _json(page)

    @schema.delete_entries
    def delete(self, request: Request) -> HttpResponse:
        allowed = ("space", "tag", "prefix", "key", "all")
        parameters = requests.parse_query(query_string(request), allowed, ("tag",))
        selection = Selection.parse(parameters)
        everything = requests.parse_flag(parameters, "all")
        if everything == selection.filters:
            filters = "'tag' or 'key'" if selection.space == Space.GATEWAY else "'tag', 'prefix' or both"
            raise InvalidRequest(f"query: send {filters}, or 'all=true' without them; nothing was deleted.")
        deleted = async_to_sync(store.current().delete_selected)(caller_of(request), selection)
        return _json({"deleted": deleted})


class BatchView(APIView):
    """Many operations in one request."""

    scopes = {"POST": None}  # each operation needs its own
    requests = 0  # each operation counts
    http_method_names = ["post"]

    @schema.run_batch
    def post(self, request: Request) -> HttpResponse:
        try:
            requests.parse_query(query_string(request), ())
            operations = requests.parse_batch(content_type(request), request._request.body, settings.MAX_VALUE_BYTES)
        except APIError:
            async_to_sync(store.current().authorise)(caller_of(request), None)  # one that has no operations counts too
            raise
        answer = async_to_sync(batch.answer)(
            store.current(), caller_of(request), operations, request_id(request._request)
        )
        return to_django(answer)


def _json(content: Any) -> HttpResponse:
    return to_django(Answer(200, (JSON,), msgspec.json.encode(content)))
