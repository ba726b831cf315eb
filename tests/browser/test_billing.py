"""Billing in a browser: the running month, an invoice and its files, the ledger, prices, asking for credits."""

import base64
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.policy import Role
from billing import credits, limits
from billing.invoices import issue_credit_note
from cacheservice.month_close import close_months
from tests.billing_cast import at, book, new_api_key, new_tenant
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.cast import ACTOR, new_key
from tests.client import Client
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


def drawn(page: Page, x: float, y: float) -> str:
    """The colour there: what a bar's parts are styled as, no script can ask."""
    picture = page.screenshot(clip={"x": int(x), "y": int(y), "width": 1, "height": 1})
    reader = page.context.new_page()
    colour: str = reader.evaluate(
        """async picture => {
          const image = new Image();
          image.src = `data:image/png;base64,${picture}`;
          await image.decode();
          const canvas = new OffscreenCanvas(1, 1).getContext("2d");
          canvas.drawImage(image, 0, 0);
          return `rgb(${[...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).join(", ")})`;
        }""",
        base64.b64encode(picture).decode(),
    )
    reader.close()
    return colour


@pytest.mark.parametrize(("stored", "colour"), [(10, "--accent"), (80, "--warn"), (97, "--bad")])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_meters_turn_amber_and_red(page: Page, server: RunningServer, scheme: str, stored: int, colour: str) -> None:
    """As they are drawn: of the tenant's quota under Billing, and of an API key's on its page."""
    owner = new_person()
    api_key = new_key(owner.tenant)
    limits.set_tenant_limits(owner.tenant, storage_quota=10_000, actor=ACTOR)
    limits.set_api_key_limits(api_key.row, storage_quota=10_000, actor=ACTOR)
    with Client(server.url, api_key.token) as api:
        api.put_raw("key", b"x" * stored * 100, "text/plain")
    sign_in(page.context, server, owner)
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in ("billing", f"keys/{api_key.id}"):
        page.goto(owner.path(path))
        meter = page.get_by_role("progressbar").first
        assert meter.get_attribute("value") == str(stored * 100)
        wanted = page.evaluate(
            """name => {
              const probe = document.body.appendChild(document.createElement("i"));
              probe.style.color = `var(${name})`;
              return getComputedStyle(probe).color;
            }""",
            colour,
        )
        meter.scroll_into_view_if_needed()
        box = meter.bounding_box()
        assert box
        assert drawn(page, box["x"] + 5, box["y"] + box["height"] / 2) == wanted, path
