"""Sending the messages that are due: each at least once, and tried again for a day where it does not arrive.

An attempt is booked before it is made, with the time of the next one. A process that dies in between so costs a
repetition, never the message; two processes never make the same attempt.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import structlog
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from accounts import keyring, sealed
from console import alert_messages, webhook_client, webhooks
from console.models import Delivery
from console.webhook_client import NotDelivered

log = structlog.get_logger(__name__)

AT_ONCE: Final = 8
KEPT_DAYS: Final = 30
# How long after each attempt the next one is made, in minutes: a day in all. The first outlasts an attempt.
RETRY_MINUTES: Final = (1, 5, 15, 60, 180, 420, 760)

Send = Callable[[], str]  # what to say when it arrived; raises NotDelivered


def deliver(seconds: float = 20) -> int:
    """Make the attempts that are due, for about `seconds`; how many. Safe to run twice at once."""
    deadline, count = time.monotonic() + seconds, 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        while time.monotonic() < deadline and (claimed := _claim()):
            sends = [_prepared(delivery) for delivery in claimed]  # here, for threads have no database
            for delivery, (arrived, outcome) in zip(claimed, pool.map(_attempt, sends), strict=True):
                _judge(delivery, arrived=arrived, outcome=outcome)
            Delivery.objects.bulk_update(claimed, ["address", "next_attempt_at", "delivered_at", "outcome"])
            count += len(claimed)
    return count


def deliver_now(deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
    """One attempt at each of these, which are not saved yet, and no further one; the same, with what became of them."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        attempts = pool.map(_attempt, [_prepared(delivery) for delivery in deliveries])
        for delivery, (arrived, outcome) in zip(deliveries, attempts, strict=True):
            delivery.attempts, delivery.next_attempt_at = 1, None
            _judge(delivery, arrived=arrived, outcome=outcome)
    Delivery.objects.bulk_create(deliveries)
    return deliveries


def drop_old() -> int:
    """Messages are kept for KEPT_DAYS; how many were dropped."""
    count, _ = Delivery.objects.filter(created_at__lt=timezone.now() - timedelta(days=KEPT_DAYS)).delete()
    return count


@transaction.atomic
def _claim() -> list[Delivery]:
    """The next ones that are due, their attempt booked."""
    now = timezone.now()
    due = Delivery.objects.select_for_update(skip_locked=True).filter(next_attempt_at__lte=now)
    claimed = list(due.order_by("next_attempt_at")[:AT_ONCE])
    for delivery in claimed:
        minutes = RETRY_MINUTES[min(delivery.attempts, len(RETRY_MINUTES) - 1)]
        delivery.next_attempt_at, delivery.attempts = now + timedelta(minutes=minutes), delivery.attempts + 1
        delivery.save(update_fields=["attempts", "next_attempt_at"])
    return claimed


def _prepared(delivery: Delivery) -> Send:
    """With all that it takes from the database."""
    if delivery.channel == Delivery.Channel.EMAIL:
        return lambda: _send_email(delivery)
    delivery.address = alert_messages.settings_of(delivery.tenant_id).webhook_url  # as it is by now
    try:
        secret = sealed.get(delivery.tenant_id, webhooks.SECRET_NAME)
    except keyring.MasterKeyUnavailable:
        return lambda: _refuse("its secret cannot be opened now: the master key's service cannot be used")
    except (keyring.CannotUnwrap, ImproperlyConfigured) as error:
        log.critical("webhook_secret_does_not_open", tenant_id=delivery.tenant_id, reason=str(error))
        return lambda: _refuse("its secret cannot be opened; the operator has been told")
    if not delivery.address or secret is None:
        return lambda: _refuse("there is no webhook any more")
    request = webhooks.request(delivery, delivery.address, secret)
    return lambda: f"it answered {webhook_client.post(request)}"


def _attempt(send: Send) -> tuple[bool, str]:
    try:
        return True, send()
    except NotDelivered as error:
        return False, str(error)


def _send_email(delivery: Delivery) -> str:
    try:
        send_mail(delivery.content["subject"], delivery.content["text"], None, [delivery.address])
    except OSError as error:  # of which smtplib's are
        log.warning("email_not_sent", tenant_id=delivery.tenant_id, reason=type(error).__name__)
        raise NotDelivered("the mail server did not take it") from None
    return "the mail server took it"


def _refuse(reason: str) -> str:
    raise NotDelivered(reason)


def _judge(delivery: Delivery, *, arrived: bool, outcome: str) -> None:
    delivery.outcome = outcome
    if arrived:
        delivery.delivered_at, delivery.next_attempt_at = timezone.now(), None
    elif delivery.next_attempt_at is None or delivery.attempts > len(RETRY_MINUTES):
        delivery.next_attempt_at = None
        log.warning("message_given_up", tenant_id=delivery.tenant_id, channel=delivery.channel, reason=outcome)
