"""The key of a cached answer: SHA-256 over everything that makes it the answer to this request.

What goes in: the provider (its name, base URL and kind of policy on texts), whose credentials ask it, path and query,
the headers that change answers, and the body as canonical JSON (RFC 8785). Each part is preceded by its length, so that
no two requests run into the same bytes.
"""

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import rfc8785

from gateway.apis.base import API, Body
from gateway.providers import Upstream
from gateway.requests import goes_upstream

# API version, beta flags, organisation: what the providers let change an answer by.
SIGNIFICANT_HEADERS = (
    b"anthropic-beta",
    b"anthropic-version",
    b"api-version",
    b"openai-beta",
    b"openai-organization",
    b"openai-project",
)
# Where clients bring a credential to the usual providers, besides the header that the provider's own one goes in.
CREDENTIAL_HEADERS = (
    b"api-key",
    b"apikey",
    b"ocp-apim-subscription-key",
    b"x-access-token",
    b"x-api-token",
    b"x-auth-key",
    b"x-auth-token",
    b"x-goog-api-key",
    b"x-key",
    b"x-token",
    b"xi-api-key",
)

_FLAGS = b"anthropic-beta"  # a list whose order says nothing
# What is asked for where nothing else is.
_USUAL = frozenset({b"", b"*/*", b"application/*", b"application/json"})

_NONE = (b"",) * len(SIGNIFICANT_HEADERS)
_SIGNIFICANT = frozenset(SIGNIFICANT_HEADERS)


def significant(headers: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Their values; empty where they are missing. Flags in whatever order are the same."""
    if _SIGNIFICANT.isdisjoint(headers):
        return _NONE
    values = {name: headers.get(name, b"") for name in SIGNIFICANT_HEADERS}
    flags = {flag.strip() for flag in values[_FLAGS].split(b",")}
    values[_FLAGS] = b",".join(sorted(flags - {b""}))
    return tuple(values.values())


def accepted(headers: Mapping[bytes, bytes]) -> bytes:
    """The format that is asked for, in small letters; empty where it is JSON or any. What is not known of an API may
    answer in several."""
    value = headers.get(b"accept")
    if value is None or value in _USUAL:
        return b""
    formats = [b"".join(each.lower().split()) for each in value.split(b",")]
    usual = all(each.partition(b";")[0] in _USUAL for each in formats)
    return b"" if usual else b",".join(formats)


def whose(upstream: Upstream, own_credential: bytes | None, headers: Mapping[bytes, bytes]) -> bytes | None:
    """What the client brought to be let in upstream, in X-Upstream-Authorization and in headers that go there as they
    are. None: nothing, so it asks as everybody does who comes without. It is a secret."""
    names = _credential_headers(upstream.credential_header)
    if names.isdisjoint(headers):
        return own_credential
    brought = sorted((name, headers[name]) for name in names if name in headers)
    return repr((own_credential, brought)).encode()


@lru_cache(maxsize=1024)
def _credential_headers(of_provider: str) -> frozenset[bytes]:
    return frozenset(filter(goes_upstream, (*CREDENTIAL_HEADERS, of_provider.encode())))


def canonical(api: API, upstream: Upstream, body: Body, *, streams: bool) -> bytes | None:
    """The body without what does not change its answer. None where RFC 8785 has no form for it: numbers beyond 2^53,
    which it cannot tell apart, lone surrogates."""
    if upstream.policy.text == "normalized":
        body = api.normalized(body)
    kept: dict[str, Any] = {name: value for name, value in body.items() if name not in api.ignored}
    if streams and not api.converts:
        kept["stream"] = True
    try:
        return rfc8785.dumps(kept)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError):
        return None


def fingerprint(
    upstream: Upstream, whose: bytes | None, path: str, query: str, headers: tuple[bytes, ...], content: bytes
) -> bytes:
    """`whose` and `headers`: what the functions of these names say (`significant`, and `accepted` where it says
    something); `content`: the canonical body, or a key of the client's."""
    parts = (
        upstream.name.encode(),
        upstream.base_url.encode(),
        upstream.policy.text.encode(),
        b"" if whose is None else hashlib.sha256(whose).digest(),
        path.encode(),
        query.encode(),
        *headers,
        content,
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()
