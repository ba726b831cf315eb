"""The gateway's page in a browser: its chart and its values, the split, the prompts that come after it."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from accounts.models import random_id
from gateway.models import Budget, BudgetDay, CacheStatus, SpendDay, SpendEvent, SpendState
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.cast import new_key
from tests.console_cast import Person, new_person
from tests.processes import RunningServer

WIDTHS = (390, 1280, 1920)
SUMS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")


@pytest.fixture
def person(page: Page, server: RunningServer) -> Person:
    """Signed in; their tenant called AI APIs for ten days, and has budgets that are fine, nearly used and used up."""
    person = new_person()
    tenant_id, key, now = person.tenant.id, new_key(person.tenant).row.id, datetime.now(UTC)
    for back in range(10):
        for cache, cost, saved in ((CacheStatus.MISS, "0.5", "0"), (CacheStatus.HIT, "0", "0.8")):
            for model, user in (("gpt-4o", "ann"), ("claude-sonnet-4-5", "u" * 200)):
                SpendDay.objects.create(
                    tenant_id=tenant_id, day=(now - timedelta(days=back)).date(), provider="openai", model=model,
                    user=user, api_key_id=key, cache=cache, requests=40, unpriced=0, cost=Decimal(cost) * (back + 1),
                    saved=Decimal(saved), **dict.fromkeys(SUMS, 1000),
                )  # fmt: skip
        SpendEvent.objects.create(
            tenant_id=tenant_id, id=random_id(), at=now - timedelta(hours=back), provider="openai", model="gpt-4o",
            user="ann", api_key_id=key, cache=CacheStatus.MISS, state=SpendState.SETTLED, status=200,
            cost=Decimal("0.1"), fingerprint=bytes([back % 3]) * 32, prompt="Summarise <b>this</b> contract. " * 20,
            request_id="test", **dict.fromkeys(SUMS, 100),
        )  # fmt: skip
    for model, used in (("", "1"), ("gpt-4o", "9"), ("claude-sonnet-4-5", "10")):
        budget = Budget.objects.create(tenant_id=tenant_id, model=model, usd_per_day=Decimal(10))
        BudgetDay.objects.create(tenant_id=tenant_id, budget_id=budget.id, day=now.date(), used=Decimal(used))
    sign_in(page.context, server, person)
    return person


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("gateway", "gateway"),
        ("gateway?by=user&range=90d", "gateway-by-user"),
        ("gateway?range=custom&start=2026-11-02&end=2026-11-01", "gateway-impossible-range"),
        ("gateway?range=custom&start=2024-11-01&end=2024-11-02", "gateway-nothing"),
    ],
)
def test_looks(path: str, name: str, page: Page, person: Person) -> None:
    """No violation of axe's rules and nothing that scrolls sideways, at any width, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(person.path(path), wait_until="networkidle")
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
            ARTEFACTS.mkdir(exist_ok=True)
            page.screenshot(path=ARTEFACTS / f"{name}-{width}-{scheme}.png", full_page=True)


def test_chart_tells_its_values(page: Page, person: Person, problems: list[str]) -> None:
    """On hover, and in the table behind it."""
    page.goto(person.path("gateway?range=7d"))
    chart = page.get_by_role("img", name="Spent and saved by day")
    drawn = "canvas => Chart.getChart(canvas)"
    values = chart.evaluate(f"canvas => ({drawn})(canvas).data.datasets.map(one => [one.label, one.data.at(-1)])")
    assert values == [["Spent", 1], ["Saved", 1.6]]
    box = chart.bounding_box()
    assert box
    chart.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    page.wait_for_function(f"canvas => ({drawn})(canvas).tooltip.opacity > 0", arg=chart.element_handle())
    page.get_by_text("Values as a table of spent and saved").click()
    last = page.get_by_role("region", name="Spent and saved: values").get_by_role("row").last
    expect(last).to_contain_text("$1.00")
    expect(last).to_contain_text("$1.60")


def test_split_changes_in_place_and_its_links_with_it(page: Page, person: Person, problems: list[str]) -> None:
    page.goto(person.path("gateway?range=7d"))
    page.evaluate("window.same = true")
    page.get_by_role("navigation", name="Split by").get_by_role("link", name="User").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("region", name="Spend by user").get_by_role("rowheader", name="ann")).to_be_visible()
    expect(page.get_by_role("link", name="User", exact=True)).to_be_focused()
    assert page.evaluate("window.same")
    expect(page).to_have_url(re.compile(r"gateway\?.*by=user"))
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith("-by-day-user.csv")
    page.get_by_role("link", name="30 d").click()
    expect(page.get_by_role("region", name="Spend by user")).to_be_visible()


def test_prompts_come_after_the_page(page: Page, person: Person, problems: list[str]) -> None:
    page.goto(person.path("gateway"))
    prompts = page.get_by_role("region", name="Prompts", exact=True)
    expect(prompts.get_by_role("rowheader").first).to_contain_text("Summarise <b>this</b> contract.")
    expect(prompts.get_by_role("row")).to_have_count(4)
    expect(page.get_by_text("7 of 10 had been asked before")).to_be_visible()


def test_first_call_is_shown_to_a_new_tenant(page: Page, server: RunningServer, problems: list[str]) -> None:
    person = new_person()
    sign_in(page.context, server, person)
    page.goto(person.path("gateway"))
    page.get_by_role("tab", name="Python").click()
    expect(page.get_by_role("tabpanel")).to_contain_text('base_url="')
    expect(page.get_by_role("tabpanel")).to_contain_text('/gateway/openai/v1"')
