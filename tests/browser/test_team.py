"""A team in a browser: an invitation is mailed, accepted by somebody new, who gets another role and is removed."""

import re
import secrets

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts.models import Membership
from accounts.policy import Role
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.console_cast import PASSWORD, Person, new_person
from tests.processes import RunningServer, wait_for

LINK = re.compile(r"^https?://[^/\s]+(/console/\S+)$", re.MULTILINE)


@pytest.fixture
def owner() -> Person:
    """Of a tenant with a team."""
    owner = new_person()
    for role in (Role.ADMIN, Role.DEVELOPER, Role.VIEWER):
        new_person(role, owner.tenant)
    return owner


@pytest.fixture
def other(browser: Browser, browser_context_args: dict[str, object]) -> BrowserContext:
    """A second browser, for the one who is invited."""
    return browser.new_context(**browser_context_args)  # type: ignore[arg-type]


def last_link(server: RunningServer, email: str) -> str:
    """The path of the link in the newest mail to the address, which stands in the server's log."""

    def mail() -> str:
        return server.log_path.read_text().rpartition(f"To: {email}")[2]

    wait_for(lambda: bool(LINK.search(mail())), 10, f"a mail to {email}")
    found = LINK.search(mail())
    assert found
    return found[1]


def look(page: Page, name: str) -> None:
    """Accessible in light and dark; kept as pictures."""
    ARTEFACTS.mkdir(parents=True, exist_ok=True)
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        page.screenshot(path=ARTEFACTS / f"{name}-{scheme}.png", full_page=True)
    page.emulate_media(color_scheme="light")


def test_invited_person_signs_up_joins_and_is_removed(
    page: Page, other: BrowserContext, server: RunningServer, problems: list[str], owner: Person
) -> None:
    guest = f"guest-{secrets.token_hex(4)}@example.com"
    sign_in(page.context, server, owner)
    page.goto(owner.path("team"))
    page.get_by_label("E-mail address").fill(guest)
    page.get_by_label("Role", exact=True).select_option("viewer")
    page.get_by_role("button", name="Send the invitation").click()
    expect(page.get_by_text(f"{guest} was sent an invitation")).to_be_visible()
    look(page, "team")

    theirs = other.new_page()
    theirs.goto(last_link(server, guest))
    look(theirs, "invitation-anonymous")
    theirs.get_by_role("link", name="Sign up").click()
    theirs.get_by_label("E-mail").fill(guest)
    theirs.get_by_label("Password").first.fill(PASSWORD)
    theirs.locator("main form").first.get_by_role("button").last.click()
    expect(theirs.get_by_text("First confirm that this address is yours")).to_be_visible()
    look(theirs, "invitation-unproved")
    assert not Membership.objects.filter(user__email=guest).exists()  # no tenant of their own, and not in yet

    theirs.goto(last_link(server, guest))
    theirs.locator("main form").first.get_by_role("button").last.click()
    theirs.get_by_role("button", name="Accept and join").click()
    expect(theirs.get_by_text(f"You have joined {owner.tenant.name}.")).to_be_visible()
    theirs.goto(owner.path("audit"))
    expect(theirs.get_by_text("may not read the audit log")).to_be_visible()

    page.goto(owner.path("team"))
    page.get_by_role("link", name=guest).click()
    look(page, "team-member")
    page.get_by_label("Role", exact=True).select_option("admin")
    page.get_by_role("button", name="Change the role").click()
    expect(page.get_by_text(f"{guest} is now admin.")).to_be_visible()
    theirs.reload()
    expect(theirs.get_by_role("cell", name=f"Accepted an invitation {guest}")).to_be_visible()
    look(theirs, "audit")

    page.get_by_role("link", name=guest).click()
    page.get_by_role("button", name="Remove…").click()
    look(page, "team-removal")
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text(f"{guest} was removed")).to_be_visible()
    assert theirs.goto(owner.path("team")).status == 404  # type: ignore[union-attr]
    other.close()


def test_ownership_is_handed_over_by_keyboard(
    page: Page, server: RunningServer, problems: list[str], owner: Person
) -> None:
    admin = Membership.objects.select_related("user").get(tenant=owner.tenant, role=Role.ADMIN)
    sign_in(page.context, server, owner)
    page.goto(owner.path("team"))
    page.get_by_role("link", name=admin.user.email).press("Enter")
    confirm = page.get_by_label("To hand the ownership over")
    hand_over = page.get_by_role("button", name="Hand the ownership over")
    confirm.press_sequentially("somebody else")
    expect(hand_over).to_be_disabled()
    confirm.fill("")
    confirm.press_sequentially(admin.user.email)
    confirm.press("Tab")
    expect(hand_over).to_be_focused()
    hand_over.press("Enter")
    expect(page.get_by_text("is now the owner, and you are an admin")).to_be_visible()
    page.goto(owner.path("team/leave"))
    look(page, "team-leave")
    page.get_by_label("To leave").fill(owner.tenant.name)
    page.get_by_role("button", name="Leave", exact=True).click()
    expect(page.get_by_text(f"You have left {owner.tenant.name}.")).to_be_visible()
