"""Every page of the console, as it looks: no violation of accessibility rules, nothing that scrolls sideways, no
complaint of the browser; and a picture of each, kept as an artefact."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

from console.urls import TENANT_PAGES
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.console_cast import new_person
from tests.processes import RunningServer

WIDTHS = {"phone": (390, 844), "laptop": (1280, 900), "wide": (1920, 1080)}
# Pages without an argument beside the tenant. Those that only take a POST answer 405.
PATHS = sorted(str(url.pattern) for module in TENANT_PAGES for url in module.urls if "<" not in str(url.pattern))
GUESTS = ("login/", "signup/", "password/reset/")
YOURS = (
    "",
    "tenants",
    "tenants/new",
    "you",
    "account/email/",
    "account/password/change/",
    "account/2fa/",
    "account/sessions/",
)


def look_at(page: Page, url: str, name: str) -> None:
    """Asserts that the page is in order at every width, in light and dark."""
    found = page.request.get(url)
    if found.status in (404, 405) or not found.body().lstrip().startswith(b"<!doctype html>"):
        return  # it takes a POST only, wants an argument, or is no page but a download or a piece of one
    page.goto(url)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for kind, (width, height) in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(50)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{url} scrolls at {width}"
            page.screenshot(path=ARTEFACTS / "screenshots" / f"{name}-{kind}-{scheme}.png", full_page=True)
        axe = Axe().run(page)
        assert axe.violations_count == 0, f"{url}, {scheme}: {axe.generate_report()}"


@pytest.mark.parametrize("path", PATHS)
def test_pages_of_a_tenant(page: Page, server: RunningServer, problems: list[str], path: str) -> None:
    owner = new_person()
    sign_in(page.context, server, owner)
    look_at(page, owner.path(path), path.replace("/", "-") or "overview")


@pytest.mark.parametrize("path", YOURS)
def test_pages_of_a_user(page: Page, server: RunningServer, problems: list[str], path: str) -> None:
    sign_in(page.context, server, new_person())
    look_at(page, f"/console/{path}", f"you-{path.strip('/').replace('/', '-') or 'home'}")


@pytest.mark.parametrize("path", GUESTS)
def test_pages_of_guests(page: Page, server: RunningServer, problems: list[str], path: str) -> None:
    look_at(page, f"/console/account/{path}", f"guest-{path.strip('/').replace('/', '-')}")
