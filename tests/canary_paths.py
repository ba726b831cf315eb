"""What else goes wrong in a service, with canaries for secrets: the gateway, the console, webhooks, e-mails, tasks."""

import base64
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx

from tests.conftest import new_master_key
from tests.console_cast import Visitor, code_of
from tests.processes import ROOT, RunningServer, free_port
from tests.signing_in_cast import LOGIN, SIGNUP, an_address
from tests.small_servers import say, small_server

PASSWORD_OF_DATABASE = "canary-of-the-database-7310"
MASTER_KEY = new_master_key()
SECRET_KEY = f"canary-of-the-secret-key-{secrets.token_hex(8)}"
METRICS_TOKEN = "canary-of-the-metrics-2201"
SMTP_PASSWORD = "canary-of-the-mails-5093"
OIDC_SECRET = "canary-of-the-login-3381"
OIDC_CODE = "canary-of-the-code-1174"
CREDENTIAL = "canary-of-the-provider-6620"
OWN_CREDENTIAL = "canary-of-the-caller-9915"
PROMPT = "canary of the prompt 4417"
ANSWER = "canary of the answer 2853"
PASSWORD = "canary-of-the-person-8046"
CANARIES = {name: value for name, value in list(globals().items()) if name.isupper() and "canary" in str(value)}
OIDC = "/console/account/oidc/oidc/login/"


class Elsewhere:
    """A provider of AI, of OpenID Connect and a webhook's receiver in one, none of which does what it should."""

    def __init__(self) -> None:
        self.url = ""
        self.reached: set[str] = set()

    def respond(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        path = urlsplit(handler.path).path
        self.reached.add(path)
        if path == "/.well-known/openid-configuration":
            ends = {name: f"{self.url}/{name}" for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
            say(handler, json.dumps({"issuer": self.url, **ends}).encode())
        elif path == "/token_endpoint":
            assert OIDC_SECRET.encode() in body or "authorization" in handler.headers
            say(handler, b'{"error": "invalid_client"}', status=401)
        elif path == "/ok/v1/chat/completions":
            message = {"role": "assistant", "content": ANSWER}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            say(handler, json.dumps({"choices": [choice], "usage": {"prompt_tokens": 1}}).encode())
        elif path.startswith("/cut/"):
            handler.close_connection = True
        elif path.startswith("/garbage/"):
            say(handler, b'{"choices": [' + ANSWER.encode())
        elif path.startswith("/type/"):
            say(handler, ANSWER.encode(), "text/event-stream")
        else:
            say(handler, b'{"error": {"message": "no"}}', status=int(path[1:4]) if path[1:4].isdigit() else 500)


@contextmanager
def elsewhere() -> Iterator[Elsewhere]:
    found = Elsewhere()
    with small_server(found.respond) as url:
        found.url = url
        yield found


def environment(directory: Path, place: Elsewhere) -> dict[str, str]:
    """A service's, with a canary in each secret."""
    temporary = directory / "temporary"
    for each in (temporary, directory / "data/broker/messages", directory / "data/broker/control"):
        each.mkdir(parents=True)
    return {
        "CACHE_MASTER_KEY": MASTER_KEY,
        "CACHE_SECRET_KEY": SECRET_KEY,
        "CACHE_VAR_DIR": str(directory / "data"),
        "TMPDIR": str(temporary),
        "CACHE_LOG_LEVEL": "DEBUG",
        "CACHE_ACCESS_LOG": "on",
        "CACHE_METRICS_TOKEN": METRICS_TOKEN,
        "CACHE_SMTP_HOST": "127.0.0.1",
        "CACHE_SMTP_PORT": str(free_port()),  # where nobody listens
        "CACHE_SMTP_USER": "somebody",
        "CACHE_SMTP_PASSWORD": SMTP_PASSWORD,
        "CACHE_OIDC_ISSUER": place.url,
        "CACHE_OIDC_CLIENT_ID": "cacheservice",
        "CACHE_OIDC_CLIENT_SECRET": OIDC_SECRET,
        "CACHE_GATEWAY_ALLOW_NETWORKS": "127.0.0.0/8",
        "CACHE_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
    }


class Watching(Visitor):
    """A visitor whose every answer is kept."""

    def __init__(self, server: RunningServer, answers: list[httpx.Response]) -> None:
        super().__init__(server)
        self._answers = answers

    def _keep(self, response: httpx.Response) -> httpx.Response:
        self._answers.append(response)
        return super()._keep(response)


def gateway_errors(client: httpx.Client, place: Elsewhere, answers: list[httpx.Response]) -> None:
    def send(method: str, path: str, **options: object) -> httpx.Response:
        answer = client.request(method, path, **options)  # type: ignore[arg-type]
        answers.append(answer)
        return answer

    policy = {"retries": 0, "first_byte_seconds": 5}
    for name in ("ok", "cut", "garbage", "type", "401", "429", "500"):
        settings = {"kind": "openai", "base_url": f"{place.url}/{name}", "credential": CREDENTIAL, "policy": policy}
        assert send("PUT", f"/api/v1/providers/{name}", json=settings).status_code in (200, 201)
    for wrong in (
        {"kind": "openai", "credential": f"Bearer {CREDENTIAL}"},
        {"kind": "openai", "credential": f" {CREDENTIAL}"},
        {"kind": "openai", "credential": CREDENTIAL, "base_url": f"http://{CREDENTIAL}@10.0.0.1"},
        {"kind": CREDENTIAL},
        {"kind": "openai", "credential": [CREDENTIAL]},
        {"kind": "openai", "policy": {"ttl": CREDENTIAL}},
    ):
        answer = send("PUT", "/api/v1/providers/ok", json=wrong)
        assert answer.status_code == 400
        answers.remove(answer) if wrong["kind"] == CREDENTIAL or "base_url" in wrong else None  # told what they sent
    # A base URL on another host takes the credential again.
    moved = {"kind": "openai", "base_url": "http://127.0.0.2:1"}
    assert send("PUT", "/api/v1/providers/ok", json=moved).status_code == 400
    question = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": PROMPT}]}
    chat = "v1/chat/completions"
    own = {"X-Upstream-Authorization": f"Bearer {OWN_CREDENTIAL}"}
    for name in ("ok", "ok", "cut", "garbage", "type", "401", "429", "500", "unknown"):
        for headers in ({}, own):
            for streams in (False, True):
                send("POST", f"/gateway/{name}/{chat}", json={**question, "stream": streams}, headers=headers)
    twice = f'{{"model": "m", "model": "m", "messages": "{PROMPT}"}}'
    for content in (twice, f'{{"messages": "{PROMPT}', PROMPT):
        send("POST", f"/gateway/ok/{chat}", content=content, headers={"Content-Type": "application/json", **own})
    wrong_headers: tuple[dict[str, str | bytes], ...] = (
        {"X-Cache-TTL": "none"},
        {"Cache-Control": "max-age=x"},
        {"X-Upstream-Authorization": f"Bearer {OWN_CREDENTIAL}\u00ff".encode("latin-1")},
        {"Authorization": f"Bearer {OWN_CREDENTIAL}"},
        {"x-api-key": OWN_CREDENTIAL, "Authorization": ""},
    )
    for each in wrong_headers:
        answer = send("POST", f"/gateway/ok/{chat}", json=question, headers=each)
        assert answer.status_code in (400, 401)
    send("DELETE", "/api/v1/providers/ok")


def console_errors(
    server: RunningServer, place: Elsewhere, answers: list[httpx.Response], sql: Callable[[str], None]
) -> dict[str, str]:
    """The secrets that people got on the way."""
    found: dict[str, str] = {}
    someone, email = Watching(server, answers), an_address()
    answer = someone.post(SIGNUP, {"email": email, "password1": PASSWORD})
    assert answer.status_code == 302, answer.text
    page = someone.get(answer.headers["location"])
    found["the first API key"] = _in(page, r"(ck_live_\w+)")
    tenant = _in(page, r"/console/t/(\w{11})/")
    sql("update account_emailaddress set verified = true")
    for password in (f"{PASSWORD}!", PASSWORD):
        someone.post("/console/account/reauthenticate/", {"password": password})
    webhook = someone.post(f"/console/t/{tenant}/settings/webhook", {"webhook_url": f"{place.url}/500/hook"})
    found["the webhook's secret"] = _in(webhook, r"(whsec_[\w-]+)")
    someone.post(f"/console/t/{tenant}/settings/webhook/test")
    someone.post(f"/console/t/{tenant}/settings/webhook", {"webhook_url": f"ftp://{place.url}"})
    someone.post(f"/console/t/{tenant}/settings/alerts/test")
    someone.get("/console/t/00000000000/settings")
    secret = found["the authenticator's secret"] = _in(
        someone.get("/console/account/2fa/totp/activate/"), r'<code id="secret">(\w+)</code>'
    )
    someone.post("/console/account/2fa/totp/activate/", {"code": "000000"})
    assert someone.post("/console/account/2fa/totp/activate/", {"code": code_of(secret)}).status_code == 302
    found["a recovery code"] = _in(someone.get("/console/account/2fa/recovery-codes/"), r"\b(\d{8})\b")
    with httpx.Client(base_url=server.url, cookies=someone.cookies, timeout=60) as other:
        answers.append(other.post(LOGIN, data={"login": email, "password": PASSWORD}))  # without the CSRF token
    again = Watching(server, answers)
    again.post(LOGIN, {"login": email, "password": f"{PASSWORD}!"})
    again.post(LOGIN, {"login": email, "password": PASSWORD})
    again.post("/console/account/2fa/authenticate/", {"code": "000000"})
    again.post("/console/account/2fa/authenticate/", {"code": found["a recovery code"] + "0"})
    again.post("/console/account/password/reset/", {"email": email})
    asked = again.post(OIDC)
    state = parse_qs(urlsplit(asked.headers["location"]).query)["state"][0]
    again.get(f"{OIDC}callback/?code={OIDC_CODE}&state={state}")
    assert "/token_endpoint" in place.reached
    for visitor, whose in ((someone, "a session"), (again, "another session")):
        found[f"the id of {whose}"] = visitor.cookies["session"]
        found[f"the CSRF cookie of {whose}"] = visitor.cookies["csrf"]
    return found


def metrics_errors(client: httpx.Client, answers: list[httpx.Response]) -> bytes:
    """The page."""
    for wrong in (METRICS_TOKEN[:-1], METRICS_TOKEN + "x"):
        answers.append(client.get("/metrics", headers={"Authorization": f"Bearer {wrong}"}))
        assert answers[-1].status_code == 404
    page = client.get("/metrics", headers={"Authorization": f"Bearer {METRICS_TOKEN}"})
    assert page.status_code == 200
    return page.content


def send_tasks(settings: dict[str, str]) -> bytes:
    """Sends every task to the broker, and runs those that deliver; what the processes say."""
    program = (
        "import django; django.setup()\n"
        "from cacheservice.celery import app\n"
        "for each in app.conf.beat_schedule.values(): app.send_task(each['task'])\n"
        "from console.tasks import alerts; alerts()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, **settings, "DJANGO_SETTINGS_MODULE": "cacheservice.settings"},
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout + done.stderr


def files(*directories: Path) -> bytes:
    """What lies in them, with the bodies of the broker's messages in clear too."""
    contents = [path.read_bytes() for each in directories for path in each.rglob("*") if path.is_file()]
    return b"\n".join([*contents, *(decoded for content in contents for decoded in _decoded(content))])


def _decoded(content: bytes) -> Iterator[bytes]:
    for text in re.findall(rb'"body": "([A-Za-z0-9+/=]+)"', content):
        yield base64.b64decode(text)


def _in(answer: httpx.Response, pattern: str) -> str:
    match = re.search(pattern, answer.text)
    assert match, (answer.url, answer.status_code, answer.headers.get("location"), answer.text[:2000])
    return match[1]


def wait_for_bookings() -> None:
    """Spend events are written four times a second."""
    time.sleep(0.5)
