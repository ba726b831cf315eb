"""What clients may ask of a tenant's providers. The struct is the OpenAPI document's schema too."""

from typing import Annotated, Literal

import msgspec

from cacheservice.entries.requests import decode, require_json
from gateway.models import Kind
from gateway.policy import DEFAULT_POLICY, Policy
from gateway.providers import (
    HEADER,
    LONGEST_CREDENTIAL,
    LONGEST_HEADER,
    LONGEST_NAME,
    LONGEST_URL,
    MOST_FALLBACKS,
    NAME,
    ProviderSettings,
)

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME, pattern=NAME)]
KindName = Literal["openai", "anthropic", "other"]
URL = Annotated[
    str,
    msgspec.Meta(
        max_length=LONGEST_URL,
        pattern="^https?://",
        description="Where its API is, without what clients' own paths begin with: https://api.openai.com for clients "
        "of …/gateway/openai/v1.",
    ),
]
HeaderName = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=LONGEST_HEADER,
        pattern=HEADER,
        description="The header that takes the credential: `authorization` as `Bearer …`, any other as it is.",
    ),
]

_FIXES = {
    "kind": f"send one of {', '.join(Kind.values)}",
    "base_url": "send a URL such as https://api.example.com, or leave it out for the kind's own",
    "credential": f"send at most {LONGEST_CREDENTIAL} characters, or leave it out to keep the one that is there",
    "credential_header": "send a header's name such as x-api-key, or leave it out for the kind's own",
    "policy": "send an object with what differs from the default policy; /docs lists its fields",
    "fallbacks": f"send a list of at most {MOST_FALLBACKS} names of other providers of the same kind",
}


class PutProvider(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The body of a PUT. But for the credential, what is left out is as if it had never been set."""

    kind: KindName
    base_url: URL | None = None
    credential: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=LONGEST_CREDENTIAL,
                description="The provider's API key; no answer has it. Left out or null: as it is; empty: none any "
                "more. It must be sent again with a base_url of another host.",
            ),
        ]
        | None
    ) = None
    credential_header: HeaderName | None = None
    policy: Policy = DEFAULT_POLICY
    fallbacks: Annotated[
        list[Name],
        msgspec.Meta(
            max_length=MOST_FALLBACKS,
            description="Other providers of the same kind, tried in this order when it fails.",
        ),
    ] = []


_put = msgspec.json.Decoder(PutProvider)


def parse_put(content_type: bytes | None, body: bytes) -> ProviderSettings:
    """Raises InvalidRequest, naming the field."""
    require_json(content_type)
    sent = decode(_put, body, _FIXES)
    return ProviderSettings(
        kind=sent.kind,
        base_url=sent.base_url or "",
        credential_header=sent.credential_header or "",
        policy=sent.policy,
        fallbacks=tuple(sent.fallbacks),
        credential=None if sent.credential is None else sent.credential.encode(),
    )
