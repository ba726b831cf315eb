"""What a browser is given behind TLS: cookies that no other host can plant and that never go in clear."""

from collections.abc import Iterator

import httpx
import pytest

from tests.console_cast import new_person
from tests.processes import RunningServer
from tests.servers import own_server

HOST = "cache.example.com"
BEHIND_TLS = {"Host": HOST, "X-Forwarded-Proto": "https"}
LOGIN = "/console/account/login/"


@pytest.fixture(scope="module")
def production(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with own_server(tmp_path_factory.mktemp("production"), CACHE_PUBLIC_URL=f"https://{HOST}") as running:
        yield running


def test_cookies_are_bound_to_the_host_and_to_tls(production: RunningServer) -> None:
    answer = httpx.get(production.url + LOGIN, headers=BEHIND_TLS)
    [cookie] = answer.headers.get_list("set-cookie")
    name, *attributes = (part.strip() for part in cookie.split(";"))
    assert name.startswith("__Host-csrf=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Lax"} <= set(attributes)
    assert not any(attribute.startswith("Domain") for attribute in attributes)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


def test_session_is_only_taken_under_its_host_name(production: RunningServer) -> None:
    owner = new_person()
    for name, status in (("__Host-session", 200), ("session", 302)):
        answer = httpx.get(production.url + owner.path(), headers={**BEHIND_TLS, "Cookie": f"{name}={owner.session}"})
        assert answer.status_code == status


def test_another_host_name_is_refused(production: RunningServer) -> None:
    """Else a link in an e-mail could lead to it."""
    answer = httpx.get(production.url + LOGIN, headers={**BEHIND_TLS, "Host": "evil.example"})
    assert answer.status_code == 400
    assert "evil" not in answer.text


def test_form_from_another_site_is_refused(production: RunningServer) -> None:
    with httpx.Client(base_url=production.url, headers=BEHIND_TLS) as client:
        page = client.get(LOGIN)
        token = page.text.split('name="csrf-token" content="')[1].split('"')[0]
        cookie = {"Cookie": page.headers["set-cookie"].split(";")[0]}
        form = {"csrfmiddlewaretoken": token, "login": "a@example.com", "password": "x"}
        answers = {
            origin: client.post(LOGIN, data=form, headers={**cookie, "Origin": origin}).status_code
            for origin in ("https://evil.example", f"https://{HOST}")
        }
    assert answers == {"https://evil.example": 403, f"https://{HOST}": 200}
