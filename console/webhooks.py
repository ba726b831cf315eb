"""A tenant's webhook: its signing secret, and requests that it can verify. For receivers: docs/webhooks.md."""

import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Mapping
from typing import Any, Final

from accounts import sealed, tokens
from console.models import Delivery
from console.webhook_client import Request

SECRET_NAME: Final = "webhook"  # noqa: S105  the name of it
SECRET_PREFIX: Final = "whsec_"  # noqa: S105  as above
SIGNATURE_HEADER: Final = "X-Cache-Signature"


def new_secret(tenant_id: int) -> str:
    """A signing secret in place of the former one, from the commit on. It is shown now and never again."""
    secret = SECRET_PREFIX + secrets.token_urlsafe(32)
    sealed.put(tenant_id, SECRET_NAME, secret.encode())
    return secret


def request(delivery: Delivery, url: str, secret: bytes) -> Request:
    """The request of one attempt. The body is the same at every attempt; the time and signature are this one's.

    `secret` is the tenant's whole one, as `sealed.get` gives it.
    """
    body = json.dumps(
        {
            "id": tokens.encode_id(delivery.id),
            "type": delivery.event,
            "created_at": delivery.created_at.isoformat().replace("+00:00", "Z"),
            "tenant": tokens.encode_id(delivery.tenant_id),
            **delivery.content,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
    headers: Mapping[str, Any] = {
        "Content-Type": "application/json",
        "User-Agent": "cacheservice-webhooks/1",
        SIGNATURE_HEADER: signature(secret, int(time.time()), body),
    }
    return Request(url, headers, body)


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """`t=<seconds since 1970>,v1=<HMAC-SHA256 of "<t>.<body>", in hex>`."""
    code = hmac.new(secret, b"%d.%b" % (timestamp, body), hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={code}"
