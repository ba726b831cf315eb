"""API keys in a browser: create one, copy its token, find it in the list, rotate it, revoke it."""

import re

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from accounts.models import APIKey
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.console_cast import new_person
from tests.processes import RunningServer

NAME = "chat backend <b>production</b>"


def look_at(page: Page, name: str) -> None:
    """Asserts that the page is accessible, light and dark; keeps a picture."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        page.screenshot(path=ARTEFACTS / "screenshots" / f"{name}-{scheme}.png", full_page=True)


def copied(page: Page) -> str:
    page.get_by_role("button", name="Copy").first.click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def status(server: RunningServer, token: str) -> int:
    return httpx.get(f"{server.url}/api/v1/account", headers={"Authorization": f"Bearer {token}"}).status_code


def test_the_life_of_an_api_key(page: Page, server: RunningServer, problems: list[str]) -> None:
    owner = new_person()
    sign_in(page.context, server, owner)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])

    page.goto(owner.path("keys"))
    page.get_by_role("link", name="Create an API key").first.click()
    page.get_by_label("Name").fill(NAME)
    page.get_by_label("delete").check()
    page.get_by_label("Requests a minute").fill("600")
    look_at(page, "api-key-create")
    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{NAME} is created")
    look_at(page, "api-key-token")
    first = copied(page)
    assert status(server, first) == 200
    page.get_by_role("tab", name="TypeScript").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(f'apiKey: "{first}"')

    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text("600", exact=True)).to_be_visible()
    assert first not in page.content()
    look_at(page, "api-key")
    page.get_by_role("link", name="API keys").first.click()
    expect(page.get_by_role("row").nth(1)).to_contain_text(NAME)
    look_at(page, "api-keys")

    page.get_by_role("link", name=NAME).click()
    page.get_by_role("link", name="Rotate").click()
    page.get_by_label("For 1 hour").check()
    look_at(page, "api-key-rotate")
    page.get_by_role("button", name="Make a new token").click()
    second = copied(page)
    assert (status(server, first), status(server, second)) == (200, 200)
    page.get_by_role("link", name="I have copied it").click()
    expect(page.get_by_text("Rotating")).to_be_visible()

    page.get_by_role("link", name="Revoke").click()
    revoke = page.get_by_role("button", name="Revoke the key")
    expect(revoke).to_be_disabled()
    look_at(page, "api-key-revoke")
    page.get_by_label(re.compile("to confirm")).fill(NAME)
    revoke.click()
    expect(page.get_by_text("Revoked").first).to_be_visible()
    assert (status(server, first), status(server, second)) == (401, 401)


def test_what_is_refused_is_told_and_kept(page: Page, server: RunningServer) -> None:
    """The fields keep what was typed. `problems` is left out: the browser complains of the answer's status 422."""
    owner = new_person()
    sign_in(page.context, server, owner)
    page.goto(owner.path("keys/create"))
    page.get_by_label("Name").fill("backend")
    page.get_by_label("Allowed networks").fill("10.0.0.1/8")
    page.get_by_role("button", name="Create the key").click()
    expect(page.get_by_text("the network that holds it is 10.0.0.0/8")).to_be_visible()
    expect(page.get_by_label("Allowed networks")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_label("Name")).to_have_value("backend")
    look_at(page, "api-key-refused")
    assert not APIKey.objects.filter(tenant=owner.tenant).exists()


@pytest.mark.parametrize("width", [390, 1920])
def test_long_names_do_not_break_the_pages(page: Page, server: RunningServer, width: int) -> None:
    owner = new_person()
    sign_in(page.context, server, owner)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(owner.path("keys/create"))
    page.get_by_label("Name").fill("n" * 100)
    page.get_by_role("button", name="Create the key").click()
    for then in ("I have copied it", "Change", ""):
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), page.url
        if then:
            page.get_by_role("link", name=then).click()
    page.goto(owner.path("keys"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
