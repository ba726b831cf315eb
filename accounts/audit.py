"""The append-only audit log.

Whoever answers requests says with `asked_from` where they come from: then every event of the request carries it, and no
caller of `record` can forget it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from accounts.models import AuditEvent

SERVICE = 0  # the tenant_id of events that concern no single tenant
_address: ContextVar[str] = ContextVar("audit_address", default="")


def record(tenant_id: int, actor: str, action: str, target: str, **details: Any) -> None:
    """Append an event; call it in the transaction of what it records. `details` must hold no secret."""
    AuditEvent.objects.create(
        tenant_id=tenant_id, actor=actor, address=_address.get(), action=action, target=target, details=details
    )


@contextmanager
def asked_from(address: str) -> Iterator[None]:
    """What is recorded within came from this IP address; "": from none that is known."""
    token = _address.set(address)
    try:
        yield
    finally:
        _address.reset(token)
