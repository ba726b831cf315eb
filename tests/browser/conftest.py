"""The console in a real browser: Debian's Chromium, driven by Playwright. Without one these tests are left out."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, sync_playwright

from tests.processes import RunningServer

if TYPE_CHECKING:  # this is loaded before Django is set up
    from tests.console_cast import Person

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARTEFACTS = Path(os.environ.get("CACHE_TEST_ARTEFACTS", "test-artefacts"))
ARGUMENTS = [
    "--no-sandbox",  # as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="no Chromium here: apt-get install chromium"))


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    """For a module and not for the session: while its loop runs, no other test of this process could run one."""
    with pytest.MonkeyPatch.context() as patched, sync_playwright() as playwright:
        patched.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")  # the loop makes Django think that it is called from one
        yield playwright


@pytest.fixture(scope="module")
def browser(playwright: Playwright) -> Iterator[Browser]:
    browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def browser_context_args(server: RunningServer) -> dict[str, Any]:
    """By name, as users come: cookies and passkeys want one."""
    url = server.url.replace("127.0.0.1", "localhost")
    return {"base_url": url, "viewport": {"width": 1280, "height": 900}}


@pytest.fixture
def problems(page: Page) -> Iterator[list[str]]:
    """What the browser complained of: a violated Content-Security-Policy, an error of a script. None is expected."""
    seen: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            seen.append(message.text)

    page.on("console", note)
    page.on("pageerror", lambda error: seen.append(str(error)))
    yield seen
    assert seen == []


def sign_in(context: BrowserContext, server: RunningServer, person: "Person") -> None:
    """Give the browser the person's session."""
    url = server.url.replace("127.0.0.1", "localhost")
    context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": person.session, "url": url}])
