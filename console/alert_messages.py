"""What is sent: a message becomes a row for each of the tenant's addresses, in the transaction of what it tells.

`alert_delivery.py` sends them.
"""

from collections.abc import Mapping
from typing import Any

from allauth.account.models import EmailAddress
from django.conf import settings
from django.urls import reverse

from accounts import tokens
from accounts.models import Membership, Tenant
from accounts.policy import Role
from console.models import Alert, AlertSettings, Delivery


def settings_of(tenant_id: int) -> AlertSettings:
    """The tenant's, or the defaults, which are not saved."""
    return AlertSettings.objects.filter(tenant_id=tenant_id).first() or AlertSettings(tenant_id=tenant_id)


def opened(alert: Alert) -> None:
    """By e-mail and webhook. The tenant is told of `alert` anew where it became worse."""
    send_email(alert.tenant_id, "alert.opened", alert.title, f"{alert.text}\n\n{absolute(alert.url)}")
    send_webhook(alert.tenant_id, "alert.opened", _described(alert))


def closed(alert: Alert) -> None:
    """By webhook alone: programs want to know, and people have enough mail."""
    send_webhook(alert.tenant_id, "alert.closed", _described(alert))


def send_email(tenant_id: int, event: str, subject: str, text: str, also: frozenset[str] = frozenset()) -> None:
    """To each of the tenant's alert addresses, and to `also`, apart: nobody sees who else got it."""
    name = Tenant.objects.values_list("name", flat=True).get(id=tenant_id)
    line = " ".join(f"[cacheservice] {name}: {subject}".split())  # a header is one line
    content = {"subject": line, "text": f"{text}\n\n{_why(tenant_id)}\n"}
    Delivery.objects.bulk_create(
        Delivery(tenant_id=tenant_id, channel=Delivery.Channel.EMAIL, address=address, event=event, content=content)
        for address in sorted(also | set(recipients(tenant_id)))
    )


def send_webhook(tenant_id: int, event: str, data: Mapping[str, Any]) -> Delivery | None:
    """None where the tenant has no webhook."""
    url = settings_of(tenant_id).webhook_url
    if not url:
        return None
    return Delivery.objects.create(
        tenant_id=tenant_id, channel=Delivery.Channel.WEBHOOK, address=url, event=event, content={"data": data}
    )


def test_emails(tenant_id: int, actor: str) -> list[Delivery]:
    """One for each address that alerts go to. Not saved: `alert_delivery.deliver_now` sends them."""
    content = {
        "subject": "[cacheservice] This is a test",
        "text": f"{actor} sent this to see whether alerts arrive here. They do.\n\n{_why(tenant_id)}\n",
        "sent_by": actor,
    }
    return [
        Delivery(tenant_id=tenant_id, channel=Delivery.Channel.EMAIL, address=address, event="test", content=content)
        for address in recipients(tenant_id)
    ]


def test_webhook(tenant_id: int, actor: str) -> list[Delivery]:
    """As `test_emails`, at most one."""
    url = settings_of(tenant_id).webhook_url
    content = {"data": {"sent_by": actor}}
    webhook = Delivery.Channel.WEBHOOK
    return [Delivery(tenant_id=tenant_id, channel=webhook, address=url, event="test", content=content)] if url else []


def recipients(tenant_id: int) -> list[str]:
    """The alert addresses; where none are set the tenant's owners, as far as their addresses are verified."""
    return settings_of(tenant_id).emails or owners(tenant_id)


def owners(tenant_id: int) -> list[str]:
    """The owners' addresses, as far as they are verified."""
    users = Membership.objects.filter(tenant_id=tenant_id, role=Role.OWNER, user__is_active=True).values("user_id")
    return list(
        EmailAddress.objects.filter(user__in=users, primary=True, verified=True).values_list("email", flat=True)
    )


def page(tenant_id: int, name: str) -> str:
    """One of the tenant's pages in the console, without the host."""
    return reverse(f"console:{name}", kwargs={"tenant": tokens.encode_id(tenant_id)})


def absolute(path: str) -> str:
    """For who reads it outside of the console."""
    url: str = settings.PUBLIC_URL
    return url + path


def _described(alert: Alert) -> dict[str, Any]:
    return {
        "alert": {
            "id": tokens.encode_id(alert.id),
            "kind": alert.kind,
            "level": alert.level,
            "title": alert.title,
            "text": alert.text,
            "url": absolute(alert.url),
            "opened_at": alert.opened_at.isoformat().replace("+00:00", "Z"),
        }
    }


def _why(tenant_id: int) -> str:
    return f"You get this because of the alert settings: {absolute(page(tenant_id, 'settings'))}"
