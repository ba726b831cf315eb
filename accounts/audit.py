"""The append-only audit log."""

from typing import Any

from accounts.models import AuditEvent

SERVICE = 0  # the tenant_id of events that concern no single tenant


def record(tenant_id: int, actor: str, action: str, target: str, **details: Any) -> None:
    """Append an event; call it in the transaction of what it records. `details` must hold no secret."""
    AuditEvent.objects.create(tenant_id=tenant_id, actor=actor, action=action, target=target, details=details)
