"""Tables on a phone: what a row is about stands in it without scrolling; where a table goes on, its edge says so."""

from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Locator, Page, expect

from accounts.models import Invitation
from accounts.policy import Role
from billing import credits, limits
from cacheservice.month_close import close_months
from console.models import Delivery
from tests.billing_cast import at, book, new_api_key, new_tenant
from tests.browser.conftest import sign_in
from tests.cast import ACTOR
from tests.console_cast import Person, new_person
from tests.processes import RunningServer
from tests.receipts import receipt

PHONE = {"width": 390, "height": 844}


@pytest.fixture
def owner(page: Page, server: RunningServer) -> Person:
    """On a phone, of a tenant with something in each table."""
    tenant = new_tenant("pro")
    key = new_api_key(tenant, "chat backend of the shop in Europe")
    limits.set_api_key_limits(key, requests_per_minute=600, actor=ACTOR)
    book(receipt(tenant.id, at(2025, 8, 3), api_key_id=key.id, hits=123_456))
    close_months(tenant_id=tenant.id)
    credits.grant(tenant.id, "purchase", 500_000, idempotency_key="1", actor="operator kim", note="Order 4711")
    book(receipt(tenant.id, timezone.now(), api_key_id=key.id, hits=4321))
    owner = new_person(Role.OWNER, tenant)
    Invitation.objects.create(
        tenant=tenant,
        email="somebody.with.a.long.name@example.com",
        role=Role.DEVELOPER,
        invited_by=owner.user,
        expires_at=timezone.now() + timedelta(days=7),
    )
    Delivery.objects.create(
        tenant=tenant,
        channel="webhook",
        address="https://hooks.example.com/alerts",
        event="alert.opened",
        content={},
        attempts=1,
        next_attempt_at=timezone.now() + timedelta(hours=5),
        outcome="it answered 500",
    )
    sign_in(page.context, server, owner)
    page.set_viewport_size({"width": PHONE["width"], "height": PHONE["height"]})
    return owner


def goes_on(table: Locator) -> bool:
    return bool(table.evaluate("wrap => wrap.scrollWidth > wrap.clientWidth"))


@pytest.mark.parametrize(
    ("path", "region", "shown"),
    [
        ("keys", "API keys", ["Active", "hits in 7 days", "created 2", "600 a minute"]),
        ("billing", "Lines", ["43.21 credits at", "for 4,321 hits", "USD"]),
        ("billing/credits", "Ledger", ["+5,000.00", "Purchase by operator kim", "Order 4711"]),
        ("billing/invoices", "Invoices", ["Invoice of 2025-08", "issued 2", "CSV", "PDF"]),
        ("team", "Members", ["Owner", "two-factor off"]),
        ("team", "Open invitations", ["as developer", "left", "Send again", "Withdraw"]),
        ("settings", "Latest messages", ["will be tried again", "It answered 500", "again in"]),
        ("/console/account/sessions/", "Sessions", ["this one", "signed in 2"]),
    ],
)
def test_rows_are_whole(page: Page, owner: Person, path: str, region: str, shown: list[str]) -> None:
    page.goto(path if path.startswith("/") else owner.path(path))
    table = page.get_by_role("region", name=region)
    for text in shown:
        expect(table.get_by_text(text).filter(visible=True).first).to_be_visible()
    assert not goes_on(table)


def test_a_table_that_goes_on_says_so(page: Page, owner: Person) -> None:
    """Its edge is shaded until it is scrolled there."""
    page.goto(owner.path("team"))
    table = page.get_by_role("region", name="What each role may do")
    assert goes_on(table)

    def edges() -> tuple[bytes, bytes]:
        box = table.bounding_box()
        assert box
        places = (box["x"] + 1, box["x"] + box["width"] - 9)
        left, right = (
            page.screenshot(full_page=True, clip={"x": x, "y": box["y"] + 8, "width": 8, "height": 24}) for x in places
        )
        return left, right

    at_start = edges()
    table.evaluate("wrap => wrap.scrollTo(wrap.scrollWidth, 0)")
    at_end = edges()
    assert at_start[0] != at_end[0]
    assert at_start[1] != at_end[1]
