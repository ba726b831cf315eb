"""Billing in a browser: the running month, an invoice and its files, the ledger, prices, asking for credits."""

from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.policy import Role
from billing import credits
from billing.invoices import issue_credit_note
from cacheservice.month_close import close_months
from tests.billing_cast import at, book, new_api_key, new_tenant
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.cast import ACTOR
from tests.console_cast import Person, new_person
from tests.processes import RunningServer
from tests.receipts import receipt


@pytest.fixture
def person() -> Person:
    """Looks after the bills of a tenant that has some."""
    tenant = new_tenant("pro")
    keys = [new_api_key(tenant, name) for name in ("chat backend", "nightly evaluation")]
    for month in (8, 9):
        for key in keys:
            book(receipt(tenant.id, at(2025, month, 3), api_key_id=key.id, hits=100_000 * month))
    close_months(tenant_id=tenant.id)
    issue_credit_note(tenant, 1, Decimal("0.50"), "An outage", ACTOR)
    credits.grant(tenant.id, "purchase", 500_000, idempotency_key="1", actor="operator kim", note="Order 4711")
    book(receipt(tenant.id, timezone.now(), api_key_id=keys[0].id, hits=4321))
    return new_person(Role.BILLING, tenant)


def look_at(page: Page, name: str) -> None:
    """Asserts that the page is accessible, light and dark, and does not scroll sideways; keeps pictures."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (390, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{name} scrolls at {width}"
            page.screenshot(path=ARTEFACTS / "screenshots" / f"{name}-{width}-{scheme}.png", full_page=True)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_bill(page: Page, server: RunningServer, problems: list[str], person: Person) -> None:
    sign_in(page.context, server, person)
    page.goto(person.path("billing"))
    expect(page.get_by_role("cell", name="43.21 credits", exact=True)).to_be_visible()
    look_at(page, "billing-summary")

    tabs = page.get_by_role("navigation", name="Billing")
    tabs.get_by_role("link", name="Invoices").click()
    look_at(page, "billing-invoices")
    with page.expect_download() as download:
        page.get_by_role("link", name="INV-0001 as PDF").click()
    assert download.value.suggested_filename == "INV-0001.pdf"
    page.get_by_role("link", name="INV-0002", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Invoice INV-0002")
    expect(page.get_by_role("rowheader", name="chat backend")).to_be_visible()
    look_at(page, "invoice")

    page.go_back()
    tabs.get_by_role("link", name="Credits").click()
    expect(page.get_by_role("cell", name="+5,000.00")).to_be_visible()
    look_at(page, "billing-credits")
    tabs.get_by_role("link", name="Prices").click()
    look_at(page, "billing-prices")


def test_asking_for_credits(page: Page, server: RunningServer, problems: list[str], person: Person) -> None:
    sign_in(page.context, server, person)
    page.goto(person.path("billing"))
    page.get_by_role("link", name="Ask for credits").click()
    page.get_by_label("Credits").fill("2500")
    page.get_by_label("Note to the operator").fill("For the launch.")
    look_at(page, "billing-request")
    page.get_by_role("button", name="Send the request").click()
    expect(page.get_by_role("status").filter(has_text="Your request is on its way")).to_be_visible()
