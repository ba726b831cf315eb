"""The overview and the usage page in a browser: charts with their values, ranges, light and dark."""

from datetime import timedelta
from decimal import Decimal

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.utils import timezone
from playwright.sync_api import Page, expect

from tests.browser.conftest import ARTEFACTS, sign_in
from tests.cast import new_key
from tests.console_cast import Person, new_person
from tests.processes import RunningServer
from tests.usage_cast import Event, write_rollups, write_tags

WIDTHS = (390, 1280, 1920)


@pytest.fixture
def person(page: Page, server: RunningServer) -> Person:
    """Signed in; their tenant was used for ten days."""
    person = new_person()
    api_key = new_key(person.tenant).row.id
    now = timezone.now()
    write_rollups(
        person.tenant.id,
        [
            Event(now - timedelta(hours=hours), api_key, 900, 40 + hours % 24, 25, 25, units=40, saved=Decimal("0.5"))
            for hours in range(1, 240)
        ],
    )
    write_tags(person.tenant.id, *((f"{now - timedelta(days=day):%Y-%m-%d}", "red", 9, "0.3") for day in range(10)))
    sign_in(page.context, server, person)
    return person


def look(page: Page, person: Person, path: str, name: str) -> None:
    """No violation of axe's rules and nothing that scrolls sideways, at any width, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        page.goto(person.path(path))
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            # Charts are drawn anew a moment later.
            page.wait_for_function("() => document.documentElement.scrollWidth <= innerWidth")
            ARTEFACTS.mkdir(exist_ok=True)
            page.screenshot(path=ARTEFACTS / f"{name}-{width}-{scheme}.png", full_page=True)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("", "overview"),
        ("?range=custom&start=2026-11-02T00:00&end=2026-11-01T00:00", "overview-impossible-range"),
        ("usage?by=api_key", "usage-by-api-key"),
        ("usage?by=tag", "usage-by-tag"),
    ],
)
def test_looks(path: str, name: str, page: Page, person: Person) -> None:
    look(page, person, path, name)


def test_new_tenant_looks(page: Page, server: RunningServer, problems: list[str]) -> None:
    person = new_person()
    sign_in(page.context, server, person)
    look(page, person, "", "overview-empty")
    page.get_by_role("link", name="Get started").click()
    expect(page).to_have_url(f"{server.url.replace('127.0.0.1', 'localhost')}{person.path('start')}")


def test_chart_tells_its_values(page: Page, person: Person, problems: list[str]) -> None:
    """On hover, and in the table behind it, which the keyboard opens."""
    page.goto(person.path("?range=24h"))
    chart = page.get_by_role("img", name="Hits and misses by hour")
    drawn = "canvas => Chart.getChart(canvas)"
    values = chart.evaluate(f"canvas => ({drawn})(canvas).data.datasets.map(one => [one.label, one.data.length])")
    assert values == [["Hits", 24], ["Misses", 24], ["Hit ratio", 24]]
    box = chart.bounding_box()
    assert box
    chart.hover(position={"x": box["width"] / 2, "y": box["height"] / 2})
    tip = f"canvas => {{ const tip = ({drawn})(canvas).tooltip; return [tip.opacity, ...tip.title] }}"
    page.wait_for_function(f"canvas => ({drawn})(canvas).tooltip.opacity > 0", arg=chart.element_handle())
    opacity, title = chart.evaluate(tip)
    assert opacity == 1
    assert title.endswith(":00 UTC")

    summary = page.get_by_text("Values as a table of hits and misses")
    summary.focus()
    page.keyboard.press("Enter")
    table = page.get_by_role("region", name="Hits and misses: values")
    expect(table.get_by_role("row")).to_have_count(25)
    expect(table.get_by_role("columnheader").last).to_have_text("Hit ratio")


def test_range_is_chosen_and_mended(page: Page, person: Person) -> None:
    page.goto(person.path())
    page.get_by_role("navigation", name="Time shown").get_by_role("link", name="Custom").click()
    start = page.get_by_label("From (UTC)")
    good = start.input_value()
    start.fill("2999-01-01T00:00")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_text("From must be before To")).to_be_visible()
    expect(start).to_have_attribute("aria-invalid", "true")
    start.fill(good)
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("img", name="Hits and misses by hour")).to_be_visible()


def test_usage_is_split_and_downloaded(page: Page, person: Person, problems: list[str]) -> None:
    page.goto(person.path("usage"))
    page.get_by_role("navigation", name="Split").get_by_role("link", name="By API key").click()
    expect(page.get_by_role("rowheader", name="test")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith("-by-day.csv")
    assert download.value.path().read_text().startswith("start,api_key_id,api_key_name,hits,")
