"""The settings in a browser: thresholds and TTLs, a webhook's secret, and a deletion that is taken back."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from accounts.models import Tenant
from accounts.policy import Role
from console.models import AlertSettings, Delivery
from tests.browser.conftest import ARTEFACTS, sign_in
from tests.console_cast import new_person
from tests.processes import RunningServer


def assert_accessible(page: Page, name: str) -> None:
    """In light and dark, with a picture of each width."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        for width in (390, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
            page.screenshot(path=ARTEFACTS / f"{name}-{width}-{scheme}.png", full_page=True)
        page.set_viewport_size({"width": 1280, "height": 900})
    page.emulate_media(color_scheme="light")


@pytest.fixture(autouse=True)
def artefacts() -> None:
    ARTEFACTS.mkdir(parents=True, exist_ok=True)


def test_the_owner_sets_what_entries_and_alerts_do(page: Page, server: RunningServer, problems: list[str]) -> None:
    owner = new_person()
    sign_in(page.context, server, owner)
    page.goto(owner.path("settings"))
    assert_accessible(page, "settings-new")
    page.get_by_label("Default TTL").fill("12 h")
    page.get_by_label("Maximum TTL").fill("30 d")
    page.get_by_role("button", name="Save the TTLs").click()
    expect(page.get_by_text("The TTLs hold for what is written from now on.")).to_be_visible()
    expect(page.get_by_label("Default TTL")).to_have_value("12 h")

    page.get_by_label("Storage, in %").fill("70")
    page.get_by_label("E-mail addresses").fill("ops@example.com")
    page.get_by_role("button", name="Save the alerts").click()
    expect(page.get_by_text("Mail goes to ops@example.com.")).to_be_visible()
    page.get_by_role("button", name="Send a test e-mail").click()
    expect(page.get_by_text("Test to ops@example.com: the mail server took it.")).to_be_visible()

    page.get_by_label("URL").fill("https://169.254.169.254/hook")
    page.get_by_role("button", name="Save the webhook").click()
    expect(page.locator("#secret")).to_contain_text("whsec_")
    assert_accessible(page, "settings-webhook-secret")
    page.get_by_role("link", name="I have copied it").click()
    page.get_by_role("button", name="Send a test", exact=True).click()
    expect(page.get_by_text("private or reserved address").first).to_be_visible()
    expect(page.get_by_role("cell", name="failed")).to_be_visible()
    assert Delivery.objects.filter(tenant=owner.tenant).count() == 2
    assert_accessible(page, "settings")


def test_a_deletion_is_asked_for_announced_and_taken_back(
    page: Page, server: RunningServer, problems: list[str]
) -> None:
    owner = new_person()
    sign_in(page.context, server, owner)
    page.goto(owner.path("settings"))
    page.get_by_role("link", name="Delete the tenant").click()
    button = page.get_by_role("button", name="Delete the tenant in 7 days")
    expect(button).to_be_disabled()
    assert_accessible(page, "settings-delete")
    field = page.get_by_label("Type the tenant's name")
    field.fill(owner.tenant.name[:-1])
    expect(button).to_be_disabled()
    field.fill(owner.tenant.name)
    field.press("Enter")
    banner = page.get_by_role("region", name="Deletion of the tenant")
    expect(banner).to_contain_text(f"{owner.tenant.name} will be deleted on")
    page.goto(owner.path("keys"))
    expect(banner).to_be_visible()
    assert_accessible(page, "settings-deletion-banner")
    banner.get_by_role("button", name="Cancel the deletion").click()
    expect(page.get_by_text("The tenant stays: its deletion is cancelled.")).to_be_visible()
    expect(banner).to_have_count(0)
    assert Tenant.objects.get(pk=owner.tenant.pk).deletion_at is None


@pytest.mark.parametrize("width", [390, 1280])
def test_who_may_not_set_the_webhook_sees_it_without_its_query(page: Page, server: RunningServer, width: int) -> None:
    """It may hold a token, which the audit log leaves out too."""
    developer = new_person(Role.DEVELOPER)
    url = "https://hooks.example.com/alerts?token=s3cret"
    AlertSettings.objects.create(tenant=developer.tenant, webhook_url=url)
    sent = {"tenant": developer.tenant, "event": "test", "content": {}, "outcome": "it answered 200", "attempts": 1}
    Delivery.objects.create(channel="webhook", address=url, next_attempt_at=None, **sent)
    Delivery.objects.create(channel="email", address="what?@example.com", next_attempt_at=None, **sent)
    sign_in(page.context, server, developer)
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(developer.path("settings"))
    assert "s3cret" not in page.content()
    expect(page.get_by_text("https://hooks.example.com/alerts").first).to_be_visible()
    sent_to = page.get_by_role("region", name="Latest messages")
    for shown in ("https://hooks.example.com/alerts", "what?@example.com", "It answered 200"):
        expect(sent_to.get_by_text(shown).filter(visible=True).first).to_be_visible()
