"""The console in a real browser: Debian's Chromium, driven by Playwright. Without one these tests are left out."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from django.conf import settings
from django.db import connections
from playwright.sync_api import BrowserContext, ConsoleMessage, Page

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

# Playwright's loop makes Django believe that it is called from asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM is None:
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason="no Chromium here: apt-get install chromium"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": ARGUMENTS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict[str, Any], server: RunningServer) -> dict[str, Any]:
    """By name, as users come: cookies and passkeys want one."""
    return {
        **browser_context_args,
        "base_url": server.url.replace("127.0.0.1", "localhost"),
        "viewport": {"width": 1280, "height": 900},
    }


@pytest.fixture(autouse=True)
def own_connection(committed_db: None) -> Iterator[None]:
    """While Playwright's loop runs, Django opens another connection; nobody else would close it."""
    yield
    connections.close_all()


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
