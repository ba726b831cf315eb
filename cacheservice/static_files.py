"""Static files under names with their hash, which browsers keep for good, and compressed.

Nothing is collected or built, and nothing can be forgotten: a file is hashed when its URL is first asked for, and
compressed when it is first sent. Pages are never compressed: they hold secrets beside what a request can choose, and
their length would tell of them (BREACH). Static files hold none.
"""

import gzip
import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Final

from django.contrib.staticfiles import finders
from django.contrib.staticfiles.storage import StaticFilesStorage
from django.http import HttpRequest
from django.http.response import HttpResponse, HttpResponseBase
from whitenoise.middleware import WhiteNoiseMiddleware  # type: ignore[import-untyped]

KEPT: Final = "max-age=31536000, public, immutable"
COMPRESSED: Final = (".css", ".js", ".svg")
_HASHED: Final = re.compile(r"(?P<stem>.+)\.(?P<hash>[0-9a-f]{12})(?P<ending>\.\w+)")
_GZIP: Final = re.compile(r"\bgzip\b")


class Storage(StaticFilesStorage):
    """What `{% static %}` asks for URLs."""

    def url(self, name: str | None) -> str:
        path = Path(name or "")
        hashed = _hash(name) if name and path.suffix else None
        return super().url(str(path.with_suffix(f".{hashed}{path.suffix}")) if hashed else name)


class Middleware(WhiteNoiseMiddleware):  # type: ignore[misc]  # it has no types
    """Serves the files by either name. Whitenoise knows them by their own, from the start on."""

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        asked = _HASHED.fullmatch(request.path_info)
        url = f"{asked['stem']}{asked['ending']}" if asked else ""
        if asked is None or url not in self.files:
            response: HttpResponseBase = super().__call__(request)
            return response
        response = self.serve(self.files[url], request)
        name = url.removeprefix(self.static_prefix)
        if asked["hash"] != _hash(name):
            # During an upgrade: the page came from a server of another version. It gets what is here, for a minute.
            return response
        response["Cache-Control"] = KEPT
        if url.endswith(COMPRESSED):
            response["Vary"] = "Accept-Encoding"
            if response.status_code == 200 and _GZIP.search(request.headers.get("Accept-Encoding", "")):
                return _compressed(name, response)
        return response


def _compressed(name: str, plain: HttpResponseBase) -> HttpResponse:
    plain.close()
    response = HttpResponse(_gzipped(name), content_type=plain["Content-Type"])
    for header in ("Cache-Control", "Last-Modified", "Vary"):
        response[header] = plain[header]
    response["Content-Encoding"] = "gzip"
    return response


@cache
def _hash(name: str) -> str | None:
    """None where there is no such file."""
    path = finders.find(name)
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:12] if path else None


@cache
def _gzipped(name: str) -> bytes:
    """At most 2 MB, for all that there are together."""
    return gzip.compress(Path(finders.find(name) or "").read_bytes(), 9, mtime=0)
