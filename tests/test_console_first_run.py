"""From signing up to the first hit: the key shown once, snippets that work as they are, a checklist that notices."""

import html
import re
import secrets
import subprocess

import pytest
from django.contrib.sessions.models import Session

from accounts import tokens
from accounts.models import Membership, Tenant
from billing.tenants import create_tenant, verify_tenant
from console import first_steps
from tests.cast import new_key
from tests.console_cast import PASSWORD, Visitor, link_in, mails_to, new_person, visitor
from tests.processes import RunningServer

pytestmark = pytest.mark.usefixtures("unthrottled")
TOKEN = re.compile(r'<code id="first-key-token">(ck_live_\w+)</code>')


def signed_up(server: RunningServer) -> tuple[Visitor, str, str]:
    """Somebody new, their e-mail address, and the page that signing up led to."""
    email = f"new.{secrets.token_hex(6)}@example.com"
    someone = Visitor(server)
    answer = someone.post("/console/account/signup/", {"email": email, "password1": PASSWORD})
    return someone, email, answer.headers["location"]


def snippet(page: str, name: str) -> str:
    found = re.search(rf'<pre[^>]* id="code-{name}">(.*?)</pre>', page, flags=re.DOTALL)
    assert found, page
    return html.unescape(found.group(1))


def run(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-euc", command], capture_output=True, text=True, timeout=60)


def test_journey_to_the_first_hit(server: RunningServer) -> None:
    someone, email, start = signed_up(server)
    page = someone.get(start).text
    token = TOKEN.search(page)
    assert token
    tenant = Membership.objects.get(user__email=email).tenant
    assert first_steps.of(tenant) == (False, False, False)
    assert someone.get(f"{start}/steps").status_code == 200
    assert someone.get(f"{start}/steps?done=0").status_code == 204, "nothing new"

    someone.post(link_in(mails_to(server, email)[0]))
    curl = snippet(page, "curl")
    assert server.url in curl
    assert token.group(1) in curl
    done = run(curl.replace("curl ", "curl -sS --fail-with-body "))
    assert done.returncode == 0, done
    assert "Hello!" in done.stdout
    answer = someone.get(f"{start}/steps")
    assert answer.status_code == 286, "htmx stops asking"
    assert answer.text.count(">done</span>") == 3
    assert "hx-get" not in answer.text


def test_hit_of_an_unverified_tenant_waits_for_its_credits(server: RunningServer) -> None:
    someone, email, start = signed_up(server)
    done = run(snippet(someone.get(start).text, "curl"))
    assert "insufficient_credits" in done.stdout
    steps = first_steps.of(Membership.objects.get(user__email=email).tenant)
    assert steps == (False, True, False)
    assert "once the address is verified" in someone.get(f"{start}/steps").text


def test_key_is_shown_once_and_lies_nowhere_in_clear(server: RunningServer) -> None:
    someone, _, start = signed_up(server)
    sessions = [row.get_decoded() for row in Session.objects.all()]
    kept = next(data["first_key"] for data in sessions if data.get("tenant") == start.split("/")[3])
    assert "ck_live_" not in str(sessions)
    page = someone.get(start)
    token = TOKEN.search(page.text)
    assert token
    assert token.group(1) not in kept["sealed"] + str(page.headers)
    assert "no-store" in page.headers["cache-control"]
    again = someone.get(start).text
    assert "ck_live_" not in again
    assert "shown once, when it is made" in again
    assert "YOUR_API_KEY" in snippet(again, "python")
    assert not any("first_key" in row.get_decoded() for row in Session.objects.all() if start in str(row.get_decoded()))
    assert token.group(1) not in server.log_path.read_text(errors="replace")


def test_key_is_shown_on_no_other_tenants_page(server: RunningServer) -> None:
    someone, email, start = signed_up(server)
    user = Membership.objects.select_related("user").get(user__email=email).user
    other = create_tenant(f"other {secrets.token_hex(4)}", "test")
    Membership.objects.create(tenant=other, user=user, role="owner")
    assert "ck_live_" not in someone.get(f"/console/t/{tokens.encode_id(other.id)}/start").text
    assert TOKEN.search(someone.get(start).text)


def test_strangers_see_no_first_run(server: RunningServer) -> None:
    _, _, start = signed_up(server)
    stranger = visitor(server, new_person())
    assert stranger.get(start).status_code == 404
    assert stranger.get(f"{start}/steps").status_code == 404


def test_python_and_typescript_hold_url_and_key(server: RunningServer) -> None:
    someone, _, start = signed_up(server)
    page = someone.get(start).text
    token = TOKEN.search(page)
    assert token
    for name in ("python", "typescript"):
        text = snippet(page, name)
        assert server.url in text
        assert token.group(1) in text


def test_python_snippet_works_as_it_is(server: RunningServer) -> None:
    someone, email, start = signed_up(server)
    text = snippet(someone.get(start).text, "python")
    verify_tenant(tenant_of(email).id)
    python = ["env", "PYTHONPATH=clients/python/src", ".venv/bin/python", "-c", text]
    done = subprocess.run(python, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "Hello!"), done
    assert someone.get(f"{start}/steps").status_code == 286


def test_viewers_are_not_sent_to_make_keys(server: RunningServer) -> None:
    viewer = new_person("viewer")
    page = visitor(server, viewer).get(viewer.path("start")).text
    assert "your role may not create API keys" in page


def test_steps_count_what_was_rolled_up(server: RunningServer) -> None:
    """Written by another key of the tenant, and folded since."""
    tenant = create_tenant(f"made {secrets.token_hex(4)}", "test", "self-hosted")
    key = new_key(tenant)
    url = f"{server.url}/api/v1/cache/k"
    authorization = f'-H "Authorization: Bearer {key.token}"'
    run(f'curl -sS -X PUT {url} {authorization} -H "Content-Type: application/json" -d \'{{"value": 1}}\'')
    assert first_steps.of(tenant) == (True, True, False)
    from cacheservice.entries.tasks import rollup

    rollup()
    assert first_steps.of(tenant) == (True, True, False)
    run(f"curl -sS {url} {authorization}")
    assert first_steps.of(tenant).all_done


def tenant_of(email: str) -> Tenant:
    return Membership.objects.select_related("tenant").get(user__email=email).tenant
