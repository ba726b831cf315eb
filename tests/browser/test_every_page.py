"""Every page of the console, as it looks: no violation of accessibility rules, nothing that scrolls sideways, no
complaint of the browser; and a picture of each, kept as an artefact."""

from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from accounts.models import User
from accounts.policy import Role
from console.urls import TENANT_PAGES
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.cast import new_key
from tests.client import Client
from tests.console_cast import forget_authentication, new_person
from tests.processes import RunningServer

WIDTHS = {"phone": (390, 844), "laptop": (1280, 900), "wide": (1920, 1080)}
# Where the rules are run, which takes a second each: what scrolls does on a phone, and colours differ by the theme.
RULES = {("light", "phone"), ("dark", "wide")}
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
STAFF = {
    "home": "",
    "tenants": "accounts/tenant/",
    "users": "accounts/user/",
    "audit": "console/auditrecord/",
    "grants": "console/grant/",
    "grant": "console/grant/add/",
}


def look_at(page: Page, url: str, name: str) -> None:
    found = page.request.get(url)
    if found.status in (404, 405) or not found.body().lstrip()[:15].lower().startswith(b"<!doctype html>"):
        return  # it takes a POST only, wants an argument, or is no page but a download or a piece of one
    page.goto(url)
    assert_in_order(page, name)


def assert_in_order(page: Page, name: str) -> None:
    """At every width, in light and dark."""
    url = page.url
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for kind, (width, height) in WIDTHS.items():
            page.set_viewport_size({"width": width, "height": height})
            page.wait_for_timeout(50)
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"{url} scrolls at {width}"
            page.screenshot(path=ARTEFACTS / "screenshots" / f"{name}-{kind}-{scheme}.png", full_page=True)
            if (scheme, kind) in RULES:
                axe = Axe().run(page)
                assert axe.violations_count == 0, f"{url}, {scheme} at {width}: {axe.generate_report()}"


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


def test_entry_that_is_no_text(page: Page, server: RunningServer, problems: list[str]) -> None:
    """Its bytes are wider than the page at every width: one box scrolls, and the keyboard reaches it."""
    owner = new_person()
    with Client(server.url, new_key(owner.tenant).token) as api:
        api.put_raw("bytes", bytes(range(256)) * 20, "application/octet-stream")
    sign_in(page.context, server, owner)
    look_at(page, owner.path("entries/open?key=bytes"), "entry-bytes")
    value = page.get_by_role("group", name="Value")
    assert value.evaluate("box => [...box.querySelectorAll('*')].every(one => one.scrollWidth <= one.clientWidth + 1)")


def test_authentication_that_is_asked_for_again(page: Page, server: RunningServer, problems: list[str]) -> None:
    person = new_person()
    sign_in(page.context, server, person)
    forget_authentication(person.session)
    page.goto("/console/account/password/change/")
    look_at(page, "/console/account/reauthenticate/", "reauthenticate")
    expect(page.get_by_label("Password")).to_be_visible()


def test_problem_page(page: Page, server: RunningServer) -> None:
    """`problems` is left out: the browser complains of the status."""
    viewer = new_person(Role.VIEWER)
    sign_in(page.context, server, viewer)
    for path, name in ((viewer.path("audit"), "forbidden"), ("/console/nowhere", "not-found")):
        page.goto(path)
        assert_in_order(page, f"problem-{name}")


@pytest.mark.parametrize("name", STAFF)
def test_pages_of_operators(page: Page, server: RunningServer, name: str) -> None:
    """`problems` is left out: scripts of Django's admin set styles, which the policy refuses, and it has no icon."""
    operator = new_person()
    User.objects.filter(pk=operator.user.pk).update(is_staff=True, is_superuser=True)
    TOTP.activate(operator.user, generate_totp_secret())
    sign_in(page.context, server, operator)
    look_at(page, f"/staff/{STAFF[name]}", f"staff-{name}")


def test_focus_shows_in_what_scrolls(page: Page, server: RunningServer) -> None:
    """Around a choice in a switch or of tabs, whole: beyond their box nothing is drawn."""
    owner = new_person()
    sign_in(page.context, server, owner)
    for path, box in (("usage?by=api_key", ".segmented"), ("billing", ".tabs")):
        page.goto(owner.path(path))
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate("box => document.activeElement.closest(box) !== null", box):
                break
        style = "getComputedStyle(document.activeElement)"
        assert page.evaluate(f"{style}.outlineStyle") == "solid", path
        assert page.evaluate(f"parseFloat({style}.outlineOffset) + parseFloat({style}.outlineWidth)") <= 0, path


def test_without_scripts_what_is_confirmed_can_be_sent(
    browser: Browser, browser_context_args: dict[str, Any], server: RunningServer
) -> None:
    """The server compares what was typed. Scripts switch such a button off until it can be right."""
    owner = new_person()
    key = new_key(owner.tenant)
    plain = browser.new_context(**browser_context_args, java_script_enabled=False)
    sign_in(plain, server, owner)
    page = plain.new_page()
    page.goto(owner.path(f"keys/{key.id}/revoke"))
    page.get_by_label("to confirm").fill("another")
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_label("to confirm")).to_have_attribute("aria-invalid", "true")
    page.get_by_label("to confirm").fill("test")
    page.get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_text("it is refused everywhere from now on")).to_be_visible()
    with Client(server.url, new_key(owner.tenant).token) as api:
        api.put("kept", 1)
    page.goto(owner.path("entries/open?key=kept"))
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("The entry kept is deleted.")).to_be_visible()
    plain.close()


def test_navigation_marks_what_is_no_tenants(page: Page, server: RunningServer) -> None:
    sign_in(page.context, server, new_person())
    for path, name in (
        ("tenants", "Tenants"),
        ("you", "Your account"),
        ("account/sessions/", "Your account"),
    ):
        page.goto(f"/console/{path}")
        marked = page.locator("nav a[aria-current=page]")
        expect(marked).to_have_count(1)
        expect(marked).to_have_text(name)


def test_connected_accounts_say_that_there_are_none(page: Page, server: RunningServer) -> None:
    sign_in(page.context, server, new_person())
    page.goto("/console/account/3rdparty/")
    expect(page.get_by_text("This installation offers no other service to sign in through.")).to_be_visible()
