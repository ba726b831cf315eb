"""Tests that are sent to see whether alerts arrive: at once, one attempt each, and so many an hour."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from console import alert_delivery
from console.models import Delivery

TESTS_AN_HOUR: Final = 30  # messages


class TooMany(ValueError):
    """None of them was sent."""


def send(tenant_id: int, tests: Sequence[Delivery], actor: str, member: User | None = None) -> Sequence[Delivery]:
    """The same, with what became of each. Raises TooMany.

    They are counted by tenant, and by `member`, who sends them as `actor`, over all of theirs.
    """
    sent = Delivery.objects.filter(event="test", created_at__gt=timezone.now() - timedelta(hours=1))
    counts = [sent.filter(tenant_id=tenant_id).count()]
    if member is not None:
        by_member = sent.filter(Q(content__sent_by=actor) | Q(content__data__sent_by=actor))
        theirs = member.memberships.values("tenant_id")  # for the index
        counts.append(by_member.filter(tenant_id__in=theirs).count())
    if max(counts) + len(tests) > TESTS_AN_HOUR:
        raise TooMany(f"At most {TESTS_AN_HOUR} tests are sent an hour; wait a while.")
    return alert_delivery.deliver_now(tests)
