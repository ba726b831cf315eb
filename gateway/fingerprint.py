"""The key of a cached answer: SHA-256 over everything that makes it the answer to this request.

What goes in: the provider (its name, base URL and kind of policy on texts), which credential asks it, path and query,
the headers that change answers, and the body as canonical JSON (RFC 8785). Each part is preceded by its length, so that
no two requests run into the same bytes.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import rfc8785

from gateway.apis.base import API, Body
from gateway.providers import Upstream

# API version, beta flags, organisation: what the providers let change an answer by.
SIGNIFICANT_HEADERS = (
    b"anthropic-beta",
    b"anthropic-version",
    b"api-version",
    b"openai-beta",
    b"openai-organization",
    b"openai-project",
)


_NONE = (b"",) * len(SIGNIFICANT_HEADERS)
_SIGNIFICANT = frozenset(SIGNIFICANT_HEADERS)


def significant(headers: Mapping[bytes, bytes]) -> tuple[bytes, ...]:
    """Their values; empty where they are missing."""
    if _SIGNIFICANT.isdisjoint(headers):
        return _NONE
    return tuple(headers.get(name, b"") for name in SIGNIFICANT_HEADERS)


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
    upstream: Upstream, own_credential: bytes | None, path: str, query: str, headers: tuple[bytes, ...], content: bytes
) -> bytes:
    """`own_credential`: the client's, where it brought one; `content`: the canonical body, or a key of the client's."""
    whose = b"" if own_credential is None else hashlib.sha256(own_credential).digest()
    parts = (
        upstream.name.encode(),
        upstream.base_url.encode(),
        upstream.policy.text.encode(),
        whose,
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
