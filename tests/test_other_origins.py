"""A web page of another origin reads nothing here, and a value that is one is not run as a page of ours."""

import httpx
import pytest

from tests.cast import new_caller
from tests.processes import RunningServer

ORIGIN = "https://evil.example"
PATHS = (
    "/api/v1/cache/key",
    "/api/v1/account",
    "/gateway/openai/v1/models",
    "/console/account/login/",
    "/staff/",
    "/docs",
    "/static/console/console.js",
    "/healthz",
    "/metrics",
    "/no/such/path",
)


@pytest.mark.parametrize("path", PATHS)
def test_no_answer_allows_another_origin(server: RunningServer, path: str) -> None:
    headers = {"Origin": ORIGIN, "Authorization": f"Bearer {new_caller().token}"}
    preflight = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "authorization"}
    for method, more in (("GET", {}), ("OPTIONS", preflight)):
        answer = httpx.request(method, server.url + path, headers={**headers, **more})
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_value_is_no_page_of_this_origin(server: RunningServer, server_without_lane: RunningServer) -> None:
    page = b"<script>document.title = 'run'</script>"
    for running in (server, server_without_lane):
        url = f"{running.url}/api/v1/cache/page"
        headers = {"Authorization": f"Bearer {new_caller().token}", "Content-Type": "text/html"}
        assert httpx.put(url, headers=headers, content=page).status_code == 201
        answer = httpx.get(f"{url}?raw=true", headers=headers)
        assert (answer.content, answer.headers["content-type"]) == (page, "text/html")
        assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
