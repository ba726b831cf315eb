"""docs/gateway.md holds: its examples run against a real server and upstream, and its lists are the code's."""

import ast
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from gateway.apis.anthropic_messages import _BAD as BAD_STOPS
from gateway.apis.openai_chat import _BAD as BAD_FINISHES
from gateway.errors import ProviderUnknown
from gateway.fingerprint import SIGNIFICANT_HEADERS
from gateway.ledger import BudgetExceeded, PriceUnknown
from gateway.models import Budget, CacheStatus, ModelPrice, Provider
from gateway.policy import DEFAULT_POLICY, TIME_SENSITIVE_WORDS, Policy
from tests.cast import new_key, new_tenant
from tests.conftest import server_environment
from tests.gateway_cast import LOOPBACK, Client, gateway_server, question
from tests.processes import ROOT, RunningServer, wait_for
from tests.upstreams import RunningUpstream, upstream

__all__ = ["gateway_server", "upstream"]

PAGE = ROOT / "docs" / "gateway.md"
TEXT = PAGE.read_text()
WRAPPED = " ".join(TEXT.split())
SECONDS = 60


def blocks() -> Iterator[tuple[str, str, int]]:
    """Language, text and line of each example that can run, in the page's order."""
    for match in re.finditer(r"^```(sh|python)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE):
        yield match[1], match[2], TEXT.count("\n", 0, match.start()) + 2


def test_the_examples_work_one_after_the_other(
    gateway_server: RunningServer,
    upstream: RunningUpstream,
    committed_db: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The addresses of the service and of the providers are the tests', and so are the keys."""
    upstream.reset()
    tenant = new_tenant()
    client = Client(gateway_server, upstream, tenant, new_key(tenant, ["gateway"]))
    places = {
        "http://localhost:8000": gateway_server.url,
        "https://api.openai.com": upstream.url,
        "https://api.anthropic.com": upstream.url,
        "https://api.groq.com/openai": upstream.url,
        "--tenant demo": f"--tenant '{tenant.name}'",
    }
    environment = {
        "CACHE_API_KEY": client.key.token,
        "CACHE_ADMIN_KEY": new_key(tenant, ["admin", "read"]).token,
        **dict.fromkeys(("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GROQ_API_KEY"), upstream.credential),
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    told: list[str] = []
    namespace: dict[str, Any] = {}
    for language, text, line in blocks():
        for place, ours in places.items():
            text = text.replace(place, ours)
        if language == "python":
            exec(compile("\n" * (line - 1) + text, str(PAGE), "exec"), namespace)
            told.append(capsys.readouterr().out)
        else:
            told.append(_run(text, environment))
            assert '"error"' not in told[-1], f"{PAGE.name}:{line}: {told[-1]}"

    assert {each.name for each in Provider.objects.filter(tenant_id=tenant.id)} == {"openai", "anthropic", "groq"}
    assert [budget.model for budget in Budget.objects.filter(tenant_id=tenant.id)] == ["gpt-4o-mini"]
    assert [price.model for price in ModelPrice.objects.filter(tenant_id=tenant.id)] == ["my-model"]
    assert sum("x-cache: MISS" in each for each in told) == 1  # curl's, and Python asked the same
    assert upstream.count() == 3
    assert "BYPASS; temperature absent\n" in told
    assert any('"by":["model","cache"]' in each for each in told)
    assert any("user,requests," in each for each in told)
    asked = question()
    wait_for(lambda: client.post(asked, "groq/v1/chat/completions").is_success, 10, "the provider that was set last")


def _run(script: str, environment: dict[str, str]) -> str:
    """What it prints on stdout."""
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", script],
        cwd=ROOT,
        env={**os.environ, **server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("name", Policy.__struct_fields__)
def test_every_field_of_the_policy_is_described_with_its_default(name: str) -> None:
    default = getattr(DEFAULT_POLICY, name)
    shown = {"time_sensitive_words": "as above", "max_output_tokens": "none"}
    assert f"| `{name}` | {shown.get(name) or f'`{msgspec.json.encode(default).decode()}`'} |" in TEXT


def test_the_time_sensitive_words_are_those_of_the_policy() -> None:
    [listed] = re.findall(r"^today, .*?\n\n", TEXT, re.DOTALL | re.MULTILINE)
    assert tuple(" ".join(listed.split()).split(", ")) == TIME_SENSITIVE_WORDS


def test_the_headers_that_make_another_question_are_named() -> None:
    assert [name for name in SIGNIFICANT_HEADERS if f"`{name.decode()}`" not in WRAPPED.lower()] == []


def test_every_request_header_that_is_read_is_described() -> None:
    sources = (ROOT / "gateway" / name for name in ("app.py", "requests.py"))
    read = {name for source in sources for name in re.findall(r'b"(x-[a-z-]+[a-z])"', source.read_text())}
    aside = {"x-real-ip", "x-request-id"}  # not about the gateway
    assert [name for name in read - aside if f"`{name}" not in TEXT.lower()] == []


@pytest.mark.parametrize("status", CacheStatus)
def test_what_the_cache_does_is_described(status: CacheStatus) -> None:
    assert f"| `{status.label}` |" in TEXT


def _reasons() -> set[str]:
    """What the functions that decide about caching can return."""
    deciding = {"randomness", "incomplete", "_bypass", "_look_up"}
    found = set()
    for source in [*(ROOT / "gateway" / "apis").glob("*.py"), ROOT / "gateway" / "plan.py"]:
        for function in ast.walk(ast.parse(source.read_text())):
            if isinstance(function, ast.FunctionDef) and function.name in deciding:
                for statement in ast.walk(function):
                    if isinstance(statement, ast.Return) and statement.value is not None:
                        found |= _texts(statement.value)
    return found


def _texts(value: ast.expr) -> set[str]:
    """The constants that an expression can be: not those that it compares with."""
    if isinstance(value, ast.IfExp):
        return _texts(value.body) | _texts(value.orelse)
    if isinstance(value, ast.BoolOp):
        return set().union(*map(_texts, value.values))
    return {value.value} if isinstance(value, ast.Constant) and isinstance(value.value, str) and value.value else set()


def test_every_reason_is_described() -> None:
    reasons = _reasons() | {"no-store", "no-cache", "max-age", "unreadable", "insufficient_credits"}
    reasons |= {"no canonical JSON", "not a JSON object", "method GET", "personal-data"}
    assert {"temperature>0", "no seed", "personal-data", "truncated", "no embeddings"} <= reasons
    table = TEXT[TEXT.index("| reason |") : TEXT.index("## Headers")]
    assert [reason for reason in sorted(reasons) if not re.search(rf"[`; ]{re.escape(reason)}`", table)] == []


def test_every_bad_end_is_described() -> None:
    assert [end for end in BAD_FINISHES | BAD_STOPS if f" {end}`" not in TEXT] == []


def test_every_error_code_is_described() -> None:
    codes = {f"| {error.status} | `{error.code}` |" for error in (BudgetExceeded, PriceUnknown, ProviderUnknown)}
    missing = [code for code in codes if code not in TEXT]
    for source in Path(ROOT / "gateway").glob("*.py"):
        for status, code in re.findall(r'\((50[0-9]), "([a-z_]+)", ', source.read_text()):
            row = rf"\| {status} \| [^|]*`{code}`"
            missing += [f"{source.name}: {status} {code}"] if not re.search(row, TEXT) else []
    assert missing == []


def test_every_path_that_is_named_exists(gateway_server: RunningServer) -> None:
    paths = httpx.get(f"{gateway_server.url}/api/v1/openapi.json").json()["paths"]
    named = {path.partition("?")[0] for path in re.findall(r"/api/v1/[a-z/?=&,]+", TEXT)}
    known = {path.partition("{")[0].rstrip("/") for path in paths}
    assert {path for path in named if not any(path.startswith(each) for each in known)} == set()
