"""What a browser loads for the console: little, from here only, and exactly what npm published."""

import gzip
import hashlib
import re
from pathlib import Path

import httpx
import pytest
from django.contrib.staticfiles import finders

from tests.processes import ROOT, RunningServer

CONSOLE = ROOT / "console" / "static" / "console"
MOST_BYTES = 150_000
# SHA-256 of `dist/htmx.min.js` of htmx.org 2.0.11 and `dist/chart.umd.min.js` of chart.js 4.6.1; docs/dependencies.md.
VENDORED = {
    "htmx-2.0.11.min.js": "d6fdc75f204e6bdefa99b69bf1e6d4ac69b8a364f77929f45c13476b4000f717",
    "chart-4.6.1.umd.min.js": "87364cc2b2a76a6684929e7d6b80b18a897794db38400caff1fcf1791c6925d2",
}


def compressed(path: Path) -> int:
    return len(gzip.compress(path.read_bytes(), 9))


def test_scripts_and_styles_are_at_most_150_kb_compressed() -> None:
    own = [path for path in CONSOLE.rglob("*") if path.suffix in (".js", ".css")]
    of_allauth = [Path(str(finders.find(f"mfa/js/{name}"))) for name in ("webauthn.js", "webauthn-json.js")]
    assert sum(compressed(path) for path in [*own, *of_allauth]) <= MOST_BYTES


def test_vendored_files_are_as_published() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (CONSOLE / "vendor").iterdir()}
    assert found == VENDORED


def test_no_template_loads_from_elsewhere_or_holds_script_or_style() -> None:
    """The Content-Security-Policy would forbid it; this says where it stands."""
    for path in (ROOT / "console" / "templates").rglob("*.html"):
        text = path.read_text()
        assert not re.search(r"""(src|href)=["'](https?:)?//""", text), path
        assert not re.search(r"\son[a-z]+=|\sstyle=|<style", text), path
        for script in re.findall(r"<script[^>]*>", text):
            assert "src=" in script or 'type="application/json"' in script, (path, script)


@pytest.mark.parametrize("page", ["/console/account/login/", "/docs"])
def test_files_are_kept_for_good_and_come_compressed(server: RunningServer, page: str) -> None:
    """Under names with their hash, and as they are in the repository or package. The page itself is not compressed."""
    shown = httpx.get(server.url + page)
    assert "content-encoding" not in shown.headers
    paths = re.findall(r'(?:src|href)="(/static/[^"#]+)', shown.text)
    assert len(paths) >= 4
    for path in paths:
        found = re.fullmatch(r"/static/(.+)\.([0-9a-f]{12})(\.\w+)", path)
        assert found, path
        original = Path(str(finders.find(found[1] + found[3]))).read_bytes()
        for encoding in ("gzip, br", "identity"):
            answer = httpx.get(server.url + path, headers={"accept-encoding": encoding})
            assert (answer.status_code, answer.content) == (200, original), path
            assert answer.headers["cache-control"] == "max-age=31536000, public, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"
            if found[3] in (".css", ".js", ".svg"):
                assert answer.headers["vary"] == "Accept-Encoding"
                assert answer.headers.get("content-encoding", "identity") == encoding.partition(",")[0]
                assert re.match("text/(css|javascript)|image/svg", answer.headers["content-type"])


def test_file_of_another_version_comes_and_is_not_kept(server: RunningServer) -> None:
    """In an upgrade a page may come from one server and its files from the next."""
    for name in ("console.css", "console.0123456789ab.css"):
        answer = httpx.get(f"{server.url}/static/console/{name}")
        assert (answer.status_code, answer.content) == (200, (CONSOLE / "console.css").read_bytes())
        assert answer.headers["cache-control"] == "max-age=60, public"
    assert httpx.get(f"{server.url}/static/console/nothing.0123456789ab.css").status_code == 404
    assert httpx.head(f"{server.url}/static/console/console.css").status_code == 200


def test_files_that_are_asked_for_without_a_body(server: RunningServer) -> None:
    [path] = re.findall(
        r'href="(/static/console/console[^"]+css)"', httpx.get(f"{server.url}/console/account/login/").text
    )
    headed = httpx.head(server.url + path)
    assert (headed.status_code, headed.content) == (200, b"")
    changed = httpx.get(server.url + path, headers={"if-modified-since": headed.headers["last-modified"]})
    assert (changed.status_code, changed.headers["cache-control"]) == (304, headed.headers["cache-control"])
