"""The gateway's providers, budgets and prices in a browser: set up, called as the page says, changed, deleted."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.conf import settings
from playwright.sync_api import Page, expect

from gateway import providers
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.console_cast import Person, new_person
from tests.processes import RunningServer

SECRET = "sk-secret-0123456789"
MODEL = "meta-llama/llama-3.3-70b-instruct:free?" + "x" * 60


def look_at(page: Page, name: str) -> None:
    """Asserts that the page is accessible, light and dark, and does not scroll sideways; keeps pictures."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in (390, 1920, 1280):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{page.url} scrolls at {width}"
            page.screenshot(path=ARTEFACTS / "screenshots" / f"{name}-{width}-{scheme}.png", full_page=True)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()


@pytest.fixture
def owner(page: Page, server: RunningServer) -> Person:
    person = new_person()
    sign_in(page.context, server, person)
    return person


def test_the_life_of_a_provider(page: Page, owner: Person, problems: list[str]) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(owner.path("gateway/providers"))
    page.get_by_role("link", name="Add a provider").first.click()
    page.get_by_role("link", name="OpenAI-compatible").click()
    look_at(page, "gateway-provider-create")
    page.get_by_label("Name").fill("open-router")
    page.get_by_label("Base URL").fill("https://openrouter.ai/api/v1")
    page.get_by_label(re.compile("^Credential")).fill(SECRET)
    page.get_by_role("button", name="Add the provider").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("open-router")
    expect(page.get_by_text("open-router is set up.")).to_be_visible()
    look_at(page, "gateway-provider")
    page.get_by_role("button", name="Copy the base URL").click()
    url = f"{settings.PUBLIC_URL}/gateway/open-router"
    expect(page.get_by_text("Copied").first).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == url
    page.get_by_role("tab", name="TypeScript").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(f'baseURL: "{url}"')

    page.get_by_role("link", name="Change the policy").click()
    page.get_by_label("E-mail addresses").check()
    page.get_by_label("TTL", exact=True).fill("2 h")
    look_at(page, "gateway-policy")
    page.get_by_role("button", name="Save the policy").click()
    expect(page.get_by_text("2 h, at most 14 d")).to_be_visible()
    expect(page.get_by_text("e-mail addresses", exact=True)).to_be_visible()

    page.get_by_role("link", name="Change", exact=True).click()
    expect(page.get_by_label(re.compile("^Credential"))).to_have_value("")
    look_at(page, "gateway-provider-edit")
    page.get_by_label("Take the credential away").check()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Clients bring it")).to_be_visible()

    page.get_by_role("navigation", name="Gateway").get_by_role("link", name="Providers").click()
    look_at(page, "gateway-providers-list")
    page.get_by_role("link", name="open-router").click()
    page.get_by_role("link", name="Delete").click()
    button = page.get_by_role("button", name="Delete the provider")
    expect(button).to_be_disabled()
    look_at(page, "gateway-provider-delete")
    page.get_by_label(re.compile("to confirm")).fill("open-router")
    button.click()
    expect(page.get_by_role("heading", name="No provider yet")).to_be_visible()
    assert providers.list_providers(owner.tenant.id) == []


def test_what_is_refused_is_told_and_kept(page: Page, owner: Person) -> None:
    """But for the credential. `problems` is left out: the browser complains of the answer's status 422."""
    page.goto(owner.path("gateway/create-provider?preset=anthropic"))
    page.get_by_label("Base URL").fill("https://api.anthropic.com/v1")
    page.get_by_label(re.compile("^Credential")).fill(SECRET)
    page.get_by_role("button", name="Add the provider").click()
    expect(page.get_by_text("Leave out the /v1 at its end")).to_be_visible()
    expect(page.get_by_label("Base URL")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Base URL")).to_have_value("https://api.anthropic.com/v1")
    expect(page.get_by_label(re.compile("^Credential"))).to_have_value("")
    look_at(page, "gateway-provider-refused")
    page.get_by_label("Base URL").fill("https://api.anthropic.com")
    page.get_by_role("button", name="Add the provider").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("anthropic")


def test_budgets_and_prices(page: Page, owner: Person, problems: list[str]) -> None:
    wanted = providers.ProviderSettings(kind="openai", base_url="https://api.example.com")
    providers.create_provider(owner.tenant.id, "openai", wanted, owner.user.email)
    page.goto(owner.path("gateway/budgets"))
    page.get_by_role("link", name="Set a budget").first.click()
    page.get_by_label(re.compile("^Model")).fill(MODEL)
    page.get_by_label("USD a day").fill("12.50")
    page.get_by_role("button", name="Set the budget").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("$12.50")
    look_at(page, "gateway-budgets-list")
    page.get_by_role("link", name=re.compile("^Change the budget of")).click()
    page.get_by_label("USD a day").fill("20")
    look_at(page, "gateway-budget-edit")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("$20.00")
    page.get_by_role("link", name=re.compile("^Delete the budget of")).click()
    look_at(page, "gateway-budget-delete")
    page.get_by_role("button", name="Delete the budget").click()
    expect(page.get_by_role("heading", name="No budget yet")).to_be_visible()

    page.get_by_role("navigation", name="Gateway").get_by_role("link", name="Prices").click()
    page.get_by_role("link", name="Set a price").first.click()
    look_at(page, "gateway-price-create")
    page.get_by_label("Model").fill(MODEL)
    page.get_by_label(re.compile("^USD for each image")).fill("0.04")
    page.get_by_role("button", name="Set the price").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("$0.04")
    look_at(page, "gateway-prices-list")
    page.get_by_role("link", name=re.compile("^Change the price of")).click()
    look_at(page, "gateway-price-edit")
    page.get_by_label(re.compile("^USD for each call")).fill("1")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("row").nth(1)).to_contain_text("$1.00")
    page.get_by_role("link", name=re.compile("^Delete the price of")).click()
    look_at(page, "gateway-price-delete")
    page.get_by_role("button", name="Delete the price").click()
    expect(page.get_by_role("heading", name="No price of your own")).to_be_visible()
