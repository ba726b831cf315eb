"""The console's pages of providers: set up by a preset, called as the page says, changed, deleted; and a credential
goes in and never comes out."""

import html
import re
import secrets
import subprocess
import sys
from dataclasses import replace

import pytest
from django.conf import settings

from accounts.models import AuditEvent
from accounts.policy import Role
from console.gateway_snippets import client_url
from gateway import providers
from gateway.models import ModelPrice
from gateway.policy import Policy
from tests.cast import new_key, new_tenant
from tests.console_cast import PASSWORD, Person, forget_authentication, new_person, session_of, visitor
from tests.console_pages import get, queries
from tests.gateway_cast import gateway_server
from tests.gateway_console_cast import (
    MARKUP,
    SECRET,
    add,
    credential,
    errors,
    one,
    policy_fields,
)
from tests.processes import RunningServer
from tests.upstreams import RunningUpstream, upstream

__all__ = ["gateway_server", "upstream"]

NEW = {"preset": "openai", "name": "openai", "base_url": "https://api.openai.com", "credential": SECRET}


@pytest.fixture
def owner() -> Person:
    return new_person()


# Setting one up


def test_a_tenant_without_providers_is_told_what_to_do(server: RunningServer, owner: Person) -> None:
    page = visitor(server, owner).get(owner.path("gateway/providers"))
    assert page.status_code == 200
    assert "No provider yet" in page.text
    assert owner.path("gateway/create-provider") in page.text


@pytest.mark.parametrize(
    ("sent", "kind", "url"),
    [
        ({"preset": "openai", "name": "openai", "base_url": "https://api.openai.com"}, "openai", "openai/v1"),
        ({"preset": "anthropic", "name": "claude", "base_url": "https://api.anthropic.com/"}, "anthropic", "claude"),
        ({"preset": "compatible", "name": "or", "base_url": "https://openrouter.ai/api/v1"}, "openai", "or"),
        ({"preset": "compatible", "name": "vllm", "base_url": "https://vllm.example.com"}, "openai", "vllm/v1"),
        ({"preset": "other", "name": "cohere", "base_url": "https://api.cohere.com"}, "other", "cohere"),
    ],
)
def test_presets(server: RunningServer, owner: Person, sent: dict[str, str], kind: str, url: str) -> None:
    client = visitor(server, owner)
    answer = client.post(owner.path("gateway/create-provider"), {**sent, "credential": f" {SECRET}\n"})
    assert answer.status_code == 302, errors(answer)
    provider = one(owner, sent["name"])
    assert (provider.kind, provider.base_url, provider.policy) == (kind, sent["base_url"].rstrip("/"), {})
    assert credential(owner, sent["name"]) == SECRET.encode()
    whole = f"{settings.PUBLIC_URL}/gateway/{url}"
    assert client_url(provider) == whole
    page = client.get(answer.headers["location"]).text
    assert f'<code id="client-url">{whole}</code>' in page
    shown = re.findall(r'<pre tabindex="0" id="code-(\w+)">(.*?)</pre>', page, re.DOTALL)
    assert [name for name, _ in shown] == ["curl", "python", "typescript"]
    assert all(whole in code and "YOUR_API_KEY" in code and "YOUR_PROVIDERS_KEY" not in code for _, code in shown)
    assert owner.path("keys/create") in page
    assert whole in client.get(owner.path("gateway/providers")).text


def test_the_page_begins_with_the_preset(server: RunningServer, owner: Person) -> None:
    client, path = visitor(server, owner), owner.path("gateway/create-provider")
    for preset, name, url in (
        ("", "openai", "https://api.openai.com"),
        ("?preset=anthropic", "anthropic", "https://api.anthropic.com"),
        ("?preset=%00", "openai", "https://api.openai.com"),
    ):
        page = client.get(path + preset).text
        assert f'name="name" value="{name}"' in page
        assert f'name="base_url" value="{url}"' in page
        assert 'name="credential_header"' not in page
    assert 'name="credential_header"' in client.get(f"{path}?preset=compatible").text


def test_the_credential_comes_out_nowhere(server: RunningServer, owner: Person) -> None:
    client = visitor(server, owner)
    assert client.post(owner.path("gateway/create-provider"), NEW).status_code == 302
    client.post(owner.path("gateway/providers/openai/edit"), {"base_url": "x", "credential": SECRET})
    for path in ("", "/openai", "/openai/edit", "/openai/policy", "/openai/delete"):
        assert SECRET not in client.get(owner.path(f"gateway/providers{path}")).text
    assert SECRET not in client.get(owner.path("audit")).text
    refused = client.post(owner.path("gateway/create-provider"), NEW)
    assert (refused.status_code, SECRET in refused.text) == (422, False)
    assert SECRET not in server.log_path.read_text(errors="replace")
    assert SECRET not in repr(dict(session_of(owner.session).items()))
    events = AuditEvent.objects.filter(tenant_id=owner.tenant.id)
    assert SECRET not in repr(list(events.values()))
    [event] = events.filter(action="provider.create")
    assert (event.actor, event.details["credential"]) == (owner.user.email, "set")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "", "Give it a name, such as openai."),
        ("name", "Open AI", "Give 1 to 32 of a to z, 0 to 9 and -"),
        ("name", "a" * 33, "These are 33 characters; give at most 32."),
        ("name", "taken", "There is a provider 'taken' already"),
        ("base_url", "", "Give where the provider's API is"),
        ("base_url", "ftp://api.example.com", "https://"),
        ("base_url", "http://169.254.169.254/", ""),
        ("base_url", "https://api.example.com/?a=b", "Leave out the ?"),
        ("base_url", "https://[", ""),
        ("base_url", "https://a\x00b", "Null characters"),
        ("credential", "Bearer sk-1", "Leave out 'Bearer', which is put before it."),
        ("credential", "sk-é", "characters of ASCII"),
        ("fallbacks", "nowhere", "There is no provider 'nowhere'."),
        ("fallbacks", "openai", "'openai' cannot fall back on itself."),
    ],
)
def test_what_is_wrong_is_told_beside_its_field(
    server: RunningServer, owner: Person, field: str, value: str, said: str
) -> None:
    add(owner, "taken")
    answer = visitor(server, owner).post(owner.path("gateway/create-provider"), {**NEW, field: value})
    assert answer.status_code == 422
    told = errors(answer)
    assert list(told) == [field]
    assert said in told[field]
    assert told[field].endswith(".")
    assert [provider.name for provider in providers.list_providers(owner.tenant.id)] == ["taken"]


def test_anthropics_version_is_left_out(server: RunningServer, owner: Person) -> None:
    sent = {"preset": "anthropic", "name": "claude", "base_url": "https://api.anthropic.com/v1/"}
    told = errors(visitor(server, owner).post(owner.path("gateway/create-provider"), sent))
    assert "Leave out the /v1 at its end" in told["base_url"]


def test_markup_is_text(server: RunningServer, owner: Person) -> None:
    add(owner, policy=Policy(personal_patterns=(MARKUP,), time_sensitive_words=(MARKUP,)))
    client = visitor(server, owner)
    answer = client.post(owner.path("gateway/create-provider"), {**NEW, "name": MARKUP, "base_url": MARKUP})
    for page in (answer, client.get(owner.path("gateway/providers/openai/policy"))):
        assert "<img" not in page.text
        assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;" in page.text


# As the page says


@pytest.fixture
def caller(gateway_server: RunningServer, upstream: RunningUpstream, committed_db: None, owner: Person) -> Person:
    """The owner of a tenant whose providers `openai` and `anthropic` were set up in the console."""
    upstream.reset()
    client = visitor(gateway_server, owner)
    for preset in ("openai", "anthropic"):
        sent = {"preset": preset, "name": preset, "base_url": upstream.url, "credential": upstream.credential}
        answer = client.post(owner.path("gateway/create-provider"), sent)
        assert answer.status_code == 302, errors(answer)
    return owner


def test_the_snippets_work(gateway_server: RunningServer, upstream: RunningUpstream, caller: Person) -> None:
    """Pasted as they are, but for the key and the model, which the reader puts in. The SDKs are the official ones."""
    key, client = new_key(caller.tenant, ["gateway"]), visitor(gateway_server, caller)
    for name, model in (("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-6")):
        page = client.get(caller.path(f"gateway/providers/{name}")).text
        for language, command in (("python", [sys.executable, "-c"]), ("curl", ["bash", "-c"])):
            [code] = re.findall(rf'id="code-{language}">(.*?)</pre>', page, re.DOTALL)
            filled = html.unescape(code).replace(settings.PUBLIC_URL, gateway_server.url)
            filled = filled.replace("YOUR_API_KEY", key.token).replace("YOUR_MODEL", model)
            done = subprocess.run([*command, filled], capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            assert done.stdout.strip()
            assert '"error"' not in done.stdout
    # OpenAI's curl was a hit; Anthropic's names another version of the API than its SDK does.
    assert [call.path for call in upstream.calls()] == ["/v1/chat/completions", "/v1/messages", "/v1/messages"]


# Changes


def test_what_the_form_does_not_say_stays(server: RunningServer, owner: Person) -> None:
    add(owner, policy=Policy(ttl=60))
    add(owner, "second")
    path = owner.path("gateway/providers/openai/edit")
    sent = {"base_url": "https://api.example.com/v2", "credential": "", "credential_header": "api-key"}
    answer = visitor(server, owner).post(path, {**sent, "fallbacks": " second "})
    assert answer.status_code == 302, errors(answer)
    provider = one(owner)
    assert (provider.base_url, provider.credential_header) == ("https://api.example.com/v2", "api-key")
    assert (provider.fallbacks, provider.policy) == (["second"], {"ttl": 60})
    assert credential(owner) == SECRET.encode()


def test_a_credential_is_not_sent_to_another_host(server: RunningServer, owner: Person) -> None:
    add(owner)
    client, path = visitor(server, owner), owner.path("gateway/providers/openai/edit")
    elsewhere = {"base_url": "https://evil.example.com"}
    told = errors(client.post(path, elsewhere))
    assert told["credential"] == (
        "It was given for https://api.example.com; give the one for https://evil.example.com, or take it away."
    )
    assert one(owner).base_url == "https://api.example.com"
    both = {**elsewhere, "credential": "sk-2", "remove_credential": "on"}
    assert errors(client.post(path, both)) == {
        "remove_credential": "Give another credential or take it away, not both."
    }
    assert client.post(path, {**elsewhere, "remove_credential": "on"}).status_code == 302
    assert (one(owner).base_url, credential(owner)) == ("https://evil.example.com", None)
    page = client.get(owner.path("gateway/providers/openai")).text
    assert page.count("X-Upstream-Authorization: Bearer YOUR_PROVIDERS_KEY") >= 1
    assert client.post(path, {**elsewhere, "credential": "sk-2"}).status_code == 302
    assert credential(owner) == b"sk-2"


def test_deleting_takes_the_typed_name(server: RunningServer, owner: Person) -> None:
    add(owner)
    add(owner, "second", fallbacks=("openai",))
    ModelPrice.objects.create(tenant_id=owner.tenant.id, provider="openai", model="m", per_call=1)
    client, path = visitor(server, owner), owner.path("gateway/providers/openai/delete")
    assert "This is not the provider's name" in errors(client.post(path, {"name": "OpenAI"}))["name"]
    assert "'second' would fall back on it; take it off" in errors(client.post(path, {"name": "openai"}))["name"]
    assert client.post(owner.path("gateway/providers/second/delete"), {"name": "second"}).status_code == 302
    assert client.post(path, {"name": "openai"}).status_code == 302
    assert providers.list_providers(owner.tenant.id) == []
    assert credential(owner) is None
    assert not ModelPrice.objects.filter(tenant_id=owner.tenant.id).exists()
    assert client.get(path).status_code == 404


# Signing in again


@pytest.mark.parametrize(
    ("page", "sent"),
    [
        ("create-provider", NEW | {"name": "second"}),
        ("providers/openai/edit", {"base_url": "https://api.example.com", "credential": "sk-other-secret"}),
        ("providers/openai/delete", {"name": "openai"}),
    ],
)
def test_credentials_and_ends_take_a_recent_sign_in(
    server: RunningServer, owner: Person, page: str, sent: dict[str, str]
) -> None:
    add(owner)
    forget_authentication(owner.session)
    answer = visitor(server, owner).post(owner.path(f"gateway/{page}"), sent)
    assert answer.status_code == 302
    assert answer.headers["location"].startswith("/console/account/reauthenticate/")
    assert [provider.name for provider in providers.list_providers(owner.tenant.id)] == ["openai"]
    assert credential(owner) == SECRET.encode()


def test_a_credential_does_not_wait_in_the_session(server: RunningServer, owner: Person) -> None:
    """What else was typed does. The form comes back with it, and asks for the credential once more."""
    forget_authentication(owner.session)
    client = visitor(server, owner)
    typed = {"preset": "compatible", "name": "vllm", "base_url": "https://vllm.example.com", "credential": SECRET}
    asked = client.post(owner.path("gateway/create-provider"), typed).headers["location"]
    waiting = repr(dict(session_of(owner.session).items()))
    assert "vllm.example.com" in waiting
    assert SECRET not in waiting
    client.get(asked)
    page = client.post(asked, {"password": PASSWORD})
    assert page.status_code == 422
    assert errors(page) == {"credential": "It was not kept while you signed in again; give it once more."}
    assert 'value="https://vllm.example.com"' in page.text
    assert client.post(owner.path("gateway/create-provider"), typed).status_code == 302
    assert credential(owner, "vllm") == SECRET.encode()


def test_without_a_credential_the_form_goes_on_after_the_password(server: RunningServer, owner: Person) -> None:
    forget_authentication(owner.session)
    client = visitor(server, owner)
    asked = client.post(owner.path("gateway/create-provider"), {**NEW, "credential": ""}).headers["location"]
    client.get(asked)
    assert client.post(asked, {"password": PASSWORD}).status_code == 302
    assert (one(owner).name, credential(owner)) == ("openai", None)


# Who may


@pytest.mark.parametrize(
    ("role", "manages"),
    [(Role.ADMIN, True), (Role.DEVELOPER, False), (Role.BILLING, False), (Role.VIEWER, False)],
)
def test_roles(server: RunningServer, role: str, manages: bool) -> None:
    person = new_person(role)
    add(person)
    client = visitor(server, person)
    for path in ("gateway/providers", "gateway/providers/openai"):
        page = client.get(person.path(path))
        assert page.status_code == 200
        assert ("/create-provider" in page.text or "/policy" in page.text) is manages
    for path, sent in (
        ("providers/openai/policy", policy_fields(retries=1)),
        ("providers/openai/edit", {"base_url": "https://api.example.com/v9"}),
        ("create-provider", {**NEW, "name": "second"}),
        ("providers/openai/delete", {"name": "openai"}),
    ):
        assert client.get(person.path(f"gateway/{path}")).status_code == (200 if manages else 403)
        assert client.post(person.path(f"gateway/{path}"), sent).status_code == (302 if manages else 403)
    assert {provider.name for provider in providers.list_providers(person.tenant.id)} == (
        {"second"} if manages else {"openai"}
    )


def test_providers_of_others_do_not_exist(server: RunningServer, owner: Person) -> None:
    add(replace(owner, tenant=new_tenant()), "theirs")
    client = visitor(server, owner)
    assert "theirs" not in client.get(owner.path("gateway/providers")).text
    for name in ("theirs", "nowhere", "%00", "A"):
        for page in ("", "/edit", "/policy", "/delete"):
            assert client.get(owner.path(f"gateway/providers/{name}{page}")).status_code == 404
            assert client.post(owner.path(f"gateway/providers/{name}{page}"), {"name": name}).status_code in (404, 405)
    add(owner, "mine")
    assert errors(client.post(owner.path("gateway/create-provider"), {**NEW, "fallbacks": "theirs"})) == {
        "fallbacks": "There is no provider 'theirs'."
    }


def test_the_pages_make_few_queries(owner: Person) -> None:
    """Session, user, membership and tenant; the session's activity (2 at most); providers, credentials; the page of one
    has no more, however many there are."""
    for n in range(30):
        add(owner, f"provider-{secrets.token_hex(3)}-{n}")
    add(owner)
    get(owner, "gateway/providers")
    for page in ("gateway/providers", "gateway/providers/openai", "gateway/providers/openai/policy"):
        made = queries(owner, page)
        assert 4 <= len(made) <= 8, made
