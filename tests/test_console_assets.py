"""What a browser loads for the console: little, from here only, and exactly what npm published."""

import gzip
import hashlib
import re
from pathlib import Path

from django.contrib.staticfiles import finders

from tests.processes import ROOT

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
