"""Signing up and in, in a real browser: the first run, passwords, authenticator apps, passkeys, recovery codes."""

import re
import secrets
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from axe_playwright_python.sync_playwright import Axe
from django.core.cache import cache
from playwright.sync_api import Page, expect

from tests.browser.conftest import ARTEFACTS, sign_in
from tests.console_cast import PASSWORD, Person, code_of, link_in, mails_to, new_person
from tests.processes import RunningServer

LOGIN = "/console/account/login/"


@pytest.fixture(autouse=True)
def nobody_was_throttled(problems: list[str]) -> None:
    """Each test is a visitor of its own to the throttles; and the browser complains of nothing."""
    cache.clear()


@pytest.fixture
def authenticator(page: Page) -> Iterator[Any]:
    """A device that keeps passkeys, and asks for no finger."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})
    yield session
    session.detach()


def look(page: Page, name: str) -> None:
    """What axe-core finds, light and dark, and a picture of each."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=ARTEFACTS / f"{name}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="light")


def give_password(page: Page, person: Person) -> None:
    page.goto(LOGIN)
    page.get_by_label("E-mail address").fill(person.user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def sign_out(page: Page) -> None:
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_sign_up_and_first_run(page: Page, server: RunningServer) -> None:
    email = f"eve.{secrets.token_hex(6)}@example.com"
    page.goto(LOGIN)
    look(page, "sign-in")
    page.get_by_role("link", name="Create an account").click()
    look(page, "sign-up")
    page.get_by_label("E-mail address").fill(email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Create the account").click()
    expect(page.get_by_role("heading", name="Your first entry")).to_be_visible()
    assert "ck_live_" not in page.url
    look(page, "first-run")
    steps = page.locator("#first-steps")
    expect(steps.get_by_text("waiting", exact=True)).to_have_count(3)

    other = page.context.new_page()
    other.goto(link_in(mails_to(server, email)[0]))
    look(other, "verify-address")
    other.get_by_role("button", name="Yes, verify it").click()
    other.close()
    expect(steps.get_by_text("The plan's credits are yours.")).to_be_visible(timeout=15_000)

    page.get_by_role("tab", name="Python").click()
    expect(page.locator("#code-python")).to_contain_text("ck_live_")
    page.keyboard.press("ArrowLeft")
    exports, put, get = re.split(r"^# .*$", page.locator("#code-curl").inner_text(), flags=re.MULTILINE)
    subprocess.run(["bash", "-c", exports + put], check=True, capture_output=True, timeout=60)
    expect(steps.get_by_text("A value is stored")).to_be_visible(timeout=15_000)
    subprocess.run(["bash", "-c", exports + get], check=True, capture_output=True, timeout=60)
    expect(steps.get_by_role("heading", name="All done")).to_be_visible(timeout=15_000)
    look(page, "first-run-done")

    page.reload()
    expect(page.get_by_text("shown once, when it is made")).to_be_visible()
    expect(page.locator("body")).not_to_contain_text("ck_live_")


def test_copy_button(page: Page, server: RunningServer) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto("/console/account/signup/")
    page.get_by_label("E-mail address").fill(f"copy.{secrets.token_hex(6)}@example.com")
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    token = page.locator("#first-key-token").inner_text()
    page.locator('[data-copy="#first-key-token"]').click()
    expect(page.locator('[data-copy="#first-key-token"]')).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == token


def test_sign_in_with_password(page: Page) -> None:
    person = new_person()
    give_password(page, person)
    page.wait_for_url(f"**{person.path()}")
    sign_out(page)


def test_sign_in_with_authenticator_app_and_recovery_code(page: Page) -> None:
    person = new_person()
    give_password(page, person)
    page.wait_for_url(f"**{person.path()}")
    page.goto("/console/account/2fa/")
    look(page, "second-factors")
    page.get_by_role("link", name="Set it up").click()
    look(page, "authenticator-app")
    secret = page.locator("#secret").inner_text()
    page.get_by_label("Authenticator code").fill(code_of(secret))
    page.get_by_role("button", name="Switch it on").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    look(page, "recovery-codes")
    code = page.locator("#recovery-codes").inner_text().split()[0]
    sign_out(page)

    cache.clear()  # the code of this half minute was used to set it up
    give_password(page, person)
    expect(page.get_by_role("heading", name="Second factor")).to_be_visible()
    look(page, "second-factor")
    page.get_by_label("Code").fill(code_of(secret))
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{person.path()}")
    sign_out(page)

    give_password(page, person)
    page.get_by_label("Code").fill(code)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"**{person.path()}")


def test_sign_in_with_passkey(page: Page, server: RunningServer, authenticator: Any) -> None:
    person = new_person()
    sign_in(page.context, server, person)
    page.goto("/console/account/2fa/")
    page.get_by_role("link", name="Add a passkey").click()
    look(page, "add-passkey")
    page.get_by_label("Name").fill("The <b>laptop</b>")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("heading", name="Recovery codes")).to_be_visible()
    assert Authenticator.objects.filter(user=person.user, type=Authenticator.Type.WEBAUTHN).count() == 1
    page.goto("/console/account/2fa/webauthn/")
    expect(page.get_by_role("cell", name="The <b>laptop</b>", exact=True)).to_be_visible()
    look(page, "passkeys")
    sign_out(page)

    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url(f"**{person.path()}")
    sign_out(page)

    give_password(page, person)  # then the same device is the second factor
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"**{person.path()}")

    page.goto("/console/account/2fa/webauthn/")
    page.get_by_role("link", name=re.compile("^Remove")).click()
    look(page, "remove-passkey")
    page.get_by_role("button", name="Remove it").click()
    expect(page.get_by_text("No passkey yet")).to_be_visible()


def test_reset_the_password(page: Page, server: RunningServer) -> None:
    person = new_person()
    page.goto(LOGIN)
    page.get_by_role("link", name="Forgot your password?").click()
    look(page, "reset")
    page.get_by_label("E-mail address").fill(person.user.email)
    page.get_by_role("button", name="Send the link").click()
    expect(page.get_by_role("heading", name="Look into your mail")).to_be_visible()
    page.goto(link_in(mails_to(server, person.user.email)[-1]))
    look(page, "reset-password")
    page.get_by_label("New password", exact=True).fill("another horse battery")
    page.get_by_label("New password, again").fill("another horse battery")
    page.get_by_role("button", name="Set the password").click()
    expect(page.get_by_role("heading", name="Your password is changed")).to_be_visible()


def test_account_pages(page: Page, server: RunningServer) -> None:
    person = new_person()
    sign_in(page.context, server, person)
    pages = {
        "account": "/console/you",
        "address": "/console/account/email/",
        "password": "/console/account/password/change/",
        "sessions": "/console/account/sessions/",
        "sign-out": "/console/account/logout/",
        "tenants": "/console/tenants",
        "create-tenant": "/console/tenants/new",
        "first-run-without-key": person.path("start"),
    }
    for name, path in pages.items():
        page.goto(path)
        look(page, name)


def test_end_another_session(page: Page, server: RunningServer) -> None:
    person = new_person()
    sign_in(page.context, server, person)
    page.goto("/console/you")
    elsewhere = page.context.browser
    assert elsewhere is not None
    other = elsewhere.new_page(base_url=server.url.replace("127.0.0.1", "localhost"))
    give_password(other, person)
    other.wait_for_url(f"**{person.path()}")
    page.goto("/console/account/sessions/")
    page.get_by_role("button", name=re.compile("^End the session")).click()
    expect(page.get_by_text("The session was signed out.")).to_be_visible()
    other.goto("/console/you")
    expect(other.get_by_role("heading", name="Sign in")).to_be_visible()
    other.context.close()
