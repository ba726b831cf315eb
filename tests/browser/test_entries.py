"""The pages of entries in a browser: finding, opening, changing and deleting."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.browser.conftest import ARTEFACTS, sign_in
from tests.cast import new_key
from tests.client import Client
from tests.console_cast import Person, new_person
from tests.processes import RunningServer

pytestmark = pytest.mark.usefixtures("committed_db", "problems")

PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060000000"
    "040001f61738550000000049454e44ae426082"
)


@pytest.fixture(name="person")
def person_fixture(server: RunningServer, page: Page) -> Person:
    person = new_person()
    sign_in(page.context, server, person)
    return person


@pytest.fixture(name="api")
def api_fixture(server: RunningServer, person: Person) -> Iterator[Client]:
    with Client(server.url, new_key(person.tenant).token) as client:
        yield client


def test_find_open_retag_and_delete(page: Page, person: Person, api: Client) -> None:
    for number in range(60):
        api.put(f"chat/{number:02}", {"answer": number}, tags=["chat", "old"])
    api.put("embed/1", [1, 2], tags=["embed"])
    page.goto(person.path("entries"))
    expect(page.get_by_text("1–50 of 61")).to_be_visible()
    page.get_by_role("link", name="Next").click()
    expect(page.get_by_text("51–61 of 61")).to_be_visible()
    page.get_by_role("link", name="Previous").click()

    page.get_by_label("Key begins with").fill("chat/0")
    page.get_by_label("Has the tag").fill("old")
    page.get_by_label("Sort by").select_option("Newest first")
    page.get_by_role("button", name="Find").click()
    expect(page.get_by_text("1–10 of 10")).to_be_visible()
    page.get_by_role("link", name="chat/07").click()
    expect(page.locator("#value")).to_have_text('{\n  "answer": 7\n}')

    page.get_by_label("Tags (optional)").fill("new\nteam: search")
    page.get_by_role("button", name="Save the tags").click()
    expect(page.get_by_text("The tags are changed.")).to_be_visible()
    page.get_by_label("Expire in").fill("3")
    page.get_by_label("Unit").select_option("days")
    page.get_by_role("button", name="Set the TTL").click()
    expect(page.get_by_text("in 2 d")).to_be_visible()

    page.get_by_role("button", name="Delete the entry").click()
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_text("The entry chat/07 is deleted.")).to_be_visible()
    assert api.get("chat/07").json()["hit"] is False
    assert api.list("?prefix=chat").json()["total"] == 59


def test_purge_by_prefix(page: Page, person: Person, api: Client) -> None:
    for number in range(3):
        api.put(f"old/{number}", 1)
    api.put("new/1", 1)
    page.goto(person.path("entries") + "?prefix=old/")
    page.get_by_role("link", name="Delete in bulk").click()
    expect(page.get_by_text("3 entries will be deleted")).to_be_visible()
    button = page.get_by_role("button", name="Delete 3 entries")
    expect(button).to_be_disabled()
    page.get_by_label("Type “old/” to confirm").fill("old")
    expect(button).to_be_disabled()
    page.get_by_label("Type “old/” to confirm").fill("old/")
    button.click()
    expect(page.get_by_text("3 entries are deleted.")).to_be_visible()
    assert [row["key"] for row in api.list().json()["keys"]] == ["new/1"]


def test_a_picture_is_shown_and_a_document_is_not(page: Page, person: Person, api: Client) -> None:
    api.put_raw("picture", PIXEL, "image/png")
    api.put_raw("document", b"<script>document.title = 'taken'</script>", "text/html")
    page.goto(person.path("entries/open?key=picture"))
    picture = page.get_by_role("img", name="The entry’s value, a picture")
    expect(picture).to_be_visible()
    assert picture.evaluate("image => image.complete && image.naturalWidth") == 1
    page.goto(person.path("entries/open?key=document"))
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "value.bin"
    assert "Entry" in page.title()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_accessible(page: Page, person: Person, api: Client, scheme: str) -> None:
    api.put("chat/<b>1</b>", {"answer": "x" * 300}, tags=["chat", "model:1", "a", "b"])
    for number in range(60):
        api.put(f"embed/{number}", [number], tags=["embed"])
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for name, path in (
        ("list", "entries"),
        ("filtered", "entries?tag=chat&sort=size"),
        ("none", "entries?prefix=nothing"),
        ("one", "entries/open?key=chat/%3Cb%3E1%3C/b%3E"),
        ("purge", "entries/purge?tag=embed"),
    ):
        page.goto(person.path(path))
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        page.screenshot(path=ARTEFACTS / f"entries-{name}-{scheme}.png")
    page.goto(person.path("entries/open?key=embed/1"))
    page.get_by_role("button", name="Delete the entry").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_no_page_scrolls_sideways_on_a_phone(page: Page, person: Person, api: Client) -> None:
    api.put("k" * 500, "v" * 3000, tags=["t" * 128])
    page.set_viewport_size({"width": 390, "height": 844})
    for path in ("entries", "entries/open?key=" + "k" * 500, "entries/purge?tag=" + "t" * 128):
        page.goto(person.path(path))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
