"""A tenant's providers: what may be set, by whom, that credentials stay inside, and what is recorded."""

import json
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command

from accounts import sealed
from accounts.models import AuditEvent, Tenant, TenantSecret
from gateway import providers
from gateway.models import ModelPrice, Provider
from gateway.policy import DEFAULT_POLICY, TIME_SENSITIVE_WORDS, Policy
from gateway.providers import MOST_PROVIDERS, ProviderSettings, Upstream
from tests.cast import ACTOR, new_caller, new_tenant
from tests.client import Client
from tests.processes import RunningServer

SECRET = "sk-a-credential-of-the-tests"
OPENAI = ProviderSettings(kind="openai")
OTHER = ProviderSettings(kind="other", base_url="https://ai.example.com/v2")


@pytest.fixture
def tenant() -> Tenant:
    return new_tenant()


def put(tenant: Tenant, name: str, wanted: ProviderSettings) -> Provider:
    return providers.put_provider(tenant.id, name, wanted, ACTOR)[0]


def credential(tenant: Tenant, name: str) -> bytes | None:
    return sealed.get(tenant.id, f"gateway:{name}")


def refusal(tenant: Tenant, wanted: ProviderSettings, name: str = "one") -> str:
    """Why it is refused; then nothing has changed."""
    rows = Provider.objects.filter(tenant_id=tenant.id).order_by("name").values()
    before = list(rows.all()), credential(tenant, name)
    with pytest.raises(ValueError, match=": ") as refused:
        put(tenant, name, wanted)
    assert (list(rows.all()), credential(tenant, name)) == before
    return str(refused.value)


def test_kinds_know_where_they_are_and_how_credentials_are_sent(tenant: Tenant) -> None:
    one = put(tenant, "one", OPENAI)
    two = put(tenant, "two", ProviderSettings(kind="anthropic"))
    three = put(tenant, "three", replace(OTHER, base_url="https://ai.example.com/v2/", credential_header="API-Key"))
    assert (one.base_url, one.credential_header) == ("https://api.openai.com", "authorization")
    assert (two.base_url, two.credential_header) == ("https://api.anthropic.com", "x-api-key")
    assert (three.base_url, three.credential_header) == ("https://ai.example.com/v2", "api-key")
    assert "base_url: give where" in refusal(tenant, ProviderSettings(kind="other"))


def test_credential_is_sealed_kept_replaced_and_removed(tenant: Tenant) -> None:
    put(tenant, "one", replace(OPENAI, credential=SECRET.encode()))
    row = TenantSecret.objects.get(tenant=tenant, name="gateway:one")
    assert SECRET.encode() not in bytes(row.sealed)
    assert credential(tenant, "one") == SECRET.encode()
    put(tenant, "one", OPENAI)
    assert credential(tenant, "one") == SECRET.encode()
    put(tenant, "one", replace(OPENAI, credential=b"another"))
    assert credential(tenant, "one") == b"another"
    assert providers.with_credential(tenant.id) == {"one"}
    put(tenant, "one", replace(OPENAI, credential=b""))
    assert credential(tenant, "one") is None
    assert providers.with_credential(tenant.id) == set()


def test_nothing_that_is_printed_shows_a_credential(tenant: Tenant) -> None:
    wanted = replace(OPENAI, credential=SECRET.encode())
    provider = put(tenant, "one", wanted)
    upstream = Upstream(
        tenant_id=1,
        name="one",
        kind="openai",
        base_url="https://api.openai.com",
        credential=SECRET.encode(),
        credential_header="authorization",
        policy=DEFAULT_POLICY,
        fallbacks=(),
        revision=1,
    )
    events = AuditEvent.objects.filter(tenant_id=tenant.id).values_list("details", flat=True)
    assert SECRET not in f"{wanted!r} {provider!r} {provider} {upstream!r} {upstream} {list(events)}"


def test_credential_is_not_sent_to_another_host(tenant: Tenant) -> None:
    """Whoever may change the URL must not learn the credential by having it sent to a server of their own."""
    put(tenant, "one", replace(OTHER, credential=SECRET.encode()))
    for url in ("https://evil.example.com/v2", "https://ai.example.com:8443/v2"):
        assert refusal(tenant, replace(OTHER, base_url=url)).startswith("credential: it was given for https://ai.exam")
    assert put(tenant, "one", replace(OTHER, base_url="https://ai.example.com/v3")).base_url.endswith("/v3")
    put(tenant, "one", replace(OTHER, base_url="https://new.example.com", credential=b"the new one's"))
    assert credential(tenant, "one") == b"the new one's"
    put(tenant, "one", replace(OTHER, credential=b""))
    put(tenant, "one", replace(OTHER, base_url="https://new.example.com"))  # there is nothing to send


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        (replace(OPENAI, kind="google"), "kind: there is no 'google'; choose from openai, anthropic, other"),
        (replace(OTHER, base_url="http://ai.example.com"), "base_url: give a URL that starts with https://"),
        (replace(OTHER, base_url="ftp://ai.example.com"), "base_url: give a URL that starts with https://"),
        (replace(OTHER, base_url="https://a:b@ai.example.com"), "base_url: a URL with a name or password"),
        (replace(OTHER, base_url="https://ai.example.com/?key=1"), "base_url: leave out the ?"),
        (replace(OTHER, base_url="https://ai.example.com/#x"), "base_url: leave out what is after #"),
        (replace(OTHER, base_url="https://ai.example.com/ä"), "base_url: write it in ASCII"),
        (replace(OTHER, base_url="https://ai.example.com/" + "x" * 500), "base_url: it has 523 characters"),
        (replace(OTHER, base_url="https://ai.example.com/\r\nx: y"), "base_url: leave out"),
        (replace(OTHER, credential_header="content-length"), "credential_header: give a header's name"),
        (replace(OTHER, credential_header="x: y\r\nz"), "credential_header: give a header's name"),
        (replace(OTHER, credential=b"line\r\nbreak"), "credential: give at most 8000 characters"),
        (replace(OTHER, credential=b" around "), "credential: give at most 8000 characters"),
        (replace(OTHER, credential="schlüssel".encode()), "credential: give at most 8000 characters"),
        (replace(OTHER, credential=b"x" * 8001), "credential: give at most 8000 characters"),
        (replace(OTHER, credential=b"Bearer sk-1"), "credential: leave out 'Bearer'"),
        (replace(OTHER, policy=Policy(personal_patterns=("a", "(b"))), "personal_patterns[1]: missing ): (b"),
        (replace(OTHER, policy=Policy(time_sensitive_words=("now", " "))), "time_sensitive_words[1]: give a word"),
        (replace(OTHER, policy=Policy(time_sensitive_words=("a\x00b",))), "time_sensitive_words[0]: give a word"),
        (replace(OTHER, policy=Policy(personal_patterns=("a\x00b",))), "personal_patterns[0]: write a control"),
        (replace(OTHER, fallbacks=("one",)), "fallbacks: 'one' cannot fall back on itself"),
        (replace(OTHER, fallbacks=("two",)), "fallbacks: there is no provider 'two'"),
        (replace(OTHER, fallbacks=("openai",)), "fallbacks: 'openai' is of the kind openai, and this one other"),
        (replace(OTHER, fallbacks=("a", "b", "c", "d", "e", "f")), "fallbacks: 6 are too many; at most 5"),
    ],
)
def test_refuses(tenant: Tenant, wanted: ProviderSettings, why: str) -> None:
    put(tenant, "openai", OPENAI)
    assert refusal(tenant, wanted).startswith(why)
    put(tenant, "one", replace(OTHER, credential=b"former"))
    assert refusal(tenant, wanted).startswith(why)


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", "a/b", "ä", "a\n", "a\x00", "x" * 33])
def test_refuses_a_name_that_is_no_part_of_a_url(tenant: Tenant, name: str) -> None:
    with pytest.raises(ValueError, match="name: give 1 to 32 of a to z"):
        put(tenant, name, OPENAI)
    assert providers.find_provider(tenant.id, name) is None


def test_another_tenants_provider_is_no_fallback(tenant: Tenant) -> None:
    put(new_tenant(), "theirs", OTHER)
    assert "there is no provider 'theirs'" in refusal(tenant, replace(OTHER, fallbacks=("theirs",)))


def test_fallback_stays_what_others_rely_on(tenant: Tenant) -> None:
    put(tenant, "second", OTHER)
    put(tenant, "first", replace(OTHER, fallbacks=("second", "second")))
    assert Provider.objects.get(tenant_id=tenant.id, name="first").fallbacks == ["second"]
    assert "kind: 'first' would fall back on it" in refusal(tenant, OPENAI, "second")
    with pytest.raises(ValueError, match="name: 'first' would fall back on it"):
        providers.delete_provider(tenant.id, "second", ACTOR)
    assert providers.delete_provider(tenant.id, "first", ACTOR)
    assert providers.delete_provider(tenant.id, "second", ACTOR)


def test_deleting_takes_the_credential_and_prices_along(tenant: Tenant) -> None:
    for name in ("one", "two"):
        put(tenant, name, replace(OPENAI, credential=SECRET.encode()))
        ModelPrice.objects.create(tenant_id=tenant.id, provider=name, model="m", per_call="0.5")
    assert providers.delete_provider(tenant.id, "one", ACTOR)
    assert not providers.delete_provider(tenant.id, "one", ACTOR)
    assert [each.name for each in providers.list_providers(tenant.id)] == ["two"]
    assert providers.with_credential(tenant.id) == {"two"}
    assert list(ModelPrice.objects.filter(tenant_id=tenant.id).values_list("provider", flat=True)) == ["two"]


def test_bounded_number(tenant: Tenant) -> None:
    for number in range(MOST_PROVIDERS):
        put(tenant, f"p{number}", OPENAI)
    assert refusal(tenant, OPENAI).startswith("name: there are 100 providers already")
    put(tenant, "p0", replace(OPENAI, policy=Policy(ttl=60)))


def test_policy_is_kept_without_its_defaults(tenant: Tenant) -> None:
    policy = Policy(ttl=60, cache=True, personal_data=("email",), time_sensitive_words=TIME_SENSITIVE_WORDS)
    provider = put(tenant, "one", replace(OPENAI, policy=policy))
    provider.refresh_from_db()
    assert provider.policy == {"ttl": 60, "personal_data": ["email"]}
    assert providers.policy_of(provider.policy) == policy
    assert providers.policy_of({"ttl": 5, "of_a_newer_version": 1}) == Policy(ttl=5)
    assert providers.settings_of(provider) == ProviderSettings(
        kind="openai", base_url="https://api.openai.com", credential_header="authorization", policy=policy
    )


def test_each_change_is_recorded_and_is_another_revision(tenant: Tenant) -> None:
    revisions = [put(tenant, "one", OPENAI).updated_at for _ in range(3)]
    assert revisions == sorted(set(revisions))
    put(tenant, "one", replace(OPENAI, credential=b"x"))
    put(tenant, "one", replace(OPENAI, credential=b""))
    providers.delete_provider(tenant.id, "one", ACTOR)
    events = AuditEvent.objects.filter(tenant_id=tenant.id, target="one").order_by("at", "id")
    assert [(each.actor, each.action, each.details.get("credential")) for each in events] == [
        (ACTOR, "provider.create", "unchanged"),
        (ACTOR, "provider.update", "unchanged"),
        (ACTOR, "provider.update", "unchanged"),
        (ACTOR, "provider.update", "set"),
        (ACTOR, "provider.update", "none"),
        (ACTOR, "provider.delete", None),
    ]


# The API


@pytest.fixture(params=["server", "server_without_lane"])
def client(request: pytest.FixtureRequest) -> Any:
    server: RunningServer = request.getfixturevalue(request.param)
    with Client(server.url, new_caller().token) as made:
        yield made


def send(client: Client, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    content = b"" if body is None else json.dumps(body).encode()
    headers = {} if body is None else {"content-type": "application/json"}
    answer = client.send(method, f"/api/v1/providers{path}", content, headers)
    assert SECRET.encode() not in answer.body
    return answer.status, answer.json()


def test_api_sets_shows_lists_and_deletes(client: Client) -> None:
    assert send(client, "GET", "") == (200, {"providers": []})
    status, made = send(client, "PUT", "/main", {"kind": "openai", "credential": SECRET, "policy": {"ttl": 60}})
    assert status == 201
    assert made == {
        "name": "main",
        "kind": "openai",
        "base_url": "https://api.openai.com",
        "credential_header": "authorization",
        "has_credential": True,
        "policy": {**msgspec.to_builtins(msgspec.structs.asdict(DEFAULT_POLICY)), "ttl": 60,
                   "time_sensitive_words": list(TIME_SENSITIVE_WORDS), "personal_data": [], "personal_patterns": []},
        "fallbacks": [],
        "created_at": made["created_at"],
        "updated_at": made["updated_at"],
    }  # fmt: skip
    assert send(client, "GET", "/main") == (200, made)
    assert send(client, "GET", "") == (200, {"providers": [made]})
    # The answer's own members are taken back, but for those that say who and when.
    own = {name: made[name] for name in ("kind", "base_url", "credential_header", "policy", "fallbacks")}
    status, same = send(client, "PUT", "/main", own)
    assert (status, {**same, "updated_at": ""}) == (200, {**made, "updated_at": ""})
    assert send(client, "PUT", "/main", {"kind": "openai", "credential": ""})[1]["has_credential"] is False
    assert send(client, "DELETE", "/main") == (200, {"name": "main", "deleted": True})
    assert send(client, "DELETE", "/main") == (200, {"name": "main", "deleted": False})
    assert send(client, "GET", "/main")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        ("/main", {"kind": "google"}, "kind: Invalid enum value 'google'; send one of openai, anthropic, other."),
        ("/main", {"kind": "openai", "key": "x"}, "key: the object contains unknown field `key`; correct it."),
        ("/main", {"kind": "openai", "credential": f"{SECRET}\n"}, "credential: give at most 8000 characters"),
        ("/main", {"kind": "openai", "policy": {"ttl": 0}}, "policy.ttl: expected `int` >= 1; correct it."),
        ("/main", {"kind": "openai", "policy": {"retries": 9}}, "policy.retries: expected `int` <= 5; correct it."),
        ("/main", {"kind": "openai", "policy": {"fly": 1}}, "policy: the object contains unknown field `fly`; send an"),
        ("/main", {"kind": "openai", "policy": {"personal_patterns": ["("]}}, "personal_patterns[0]: missing ): ("),
        ("/main", {"kind": "openai", "base_url": "ftp://x"}, "base_url: "),
        ("/main", {"kind": "openai", "fallbacks": ["x"]}, "fallbacks: there is no provider 'x'"),
        ("/Main", {"kind": "openai"}, "name: give 1 to 32 of a to z"),
        ("/a%00", {"kind": "openai"}, "name: give 1 to 32 of a to z"),
    ],
)
def test_api_names_the_field_that_is_wrong(client: Client, path: str, body: Any, message: str) -> None:
    status, answer = send(client, "PUT", path, body)
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    assert answer["error"]["message"].startswith(message)
    assert send(client, "GET", "") == (200, {"providers": []})


def test_api_knows_only_names_that_are_there(client: Client) -> None:
    assert send(client, "GET", "/none")[0] == 404
    assert send(client, "DELETE", "/none") == (200, {"name": "none", "deleted": False})
    for name in ("a%00b", "%F0%9F%A6%8A", "Main", "x" * 1000):
        assert send(client, "GET", f"/{name}")[0] == 404
        assert send(client, "DELETE", f"/{name}")[1]["error"]["message"].startswith("name: give 1 to 32")


def test_api_records_who_asked(client: Client) -> None:
    status, _ = send(client, "PUT", "/recorded-by-its-key", {"kind": "openai"})
    assert status == 201
    [event] = AuditEvent.objects.filter(target="recorded-by-its-key", action="provider.create").order_by("-at")[:1]
    assert event.actor.startswith("API key ")
    assert event.address == "127.0.0.1"


# The command


def run(*arguments: str) -> str:
    output = StringIO()
    call_command("provider", *arguments, stdout=output)
    assert SECRET not in output.getvalue()
    return output.getvalue()


def test_command_adds_sets_lists_and_removes(tenant: Tenant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_tenant, file = ("--tenant", tenant.name), tmp_path / "credential"
    file.write_text(f"{SECRET}\n")
    run("add", *of_tenant, "--name", "main", "--kind", "openai", "--credential-file", str(file))
    assert credential(tenant, "main") == SECRET.encode()
    monkeypatch.setattr("sys.stdin", StringIO("from stdin\n"))
    other = ("--kind", "openai", "--base-url", "https://ai.example.com", "--credential-file", "-")
    run("add", *of_tenant, "--name", "second", *other, "--credential-header", "api-key")
    assert credential(tenant, "second") == b"from stdin"
    run("set", *of_tenant, "--name", "main", "--fallback", "second", "--policy", '{"ttl": 60}')
    assert run("list", *of_tenant) == (
        'main  openai  https://api.openai.com  authorization  then second  {"ttl":60}\n'
        "second  openai  https://ai.example.com  api-key\n"
    )
    assert credential(tenant, "main") == SECRET.encode()
    run("set", *of_tenant, "--name", "main", "--fallback", "none", "--no-credential")
    assert run("list", *of_tenant).splitlines()[0] == 'main  openai  https://api.openai.com  no credential  {"ttl":60}'
    assert run("remove", *of_tenant, "--name", "second") == "Provider second removed.\n"
    assert [each.name for each in providers.list_providers(tenant.id)] == ["main"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("add", "--name", "x"), "the following arguments are required: --kind"),
        (("add", "--name", "main", "--kind", "openai"), "name: there is a provider 'main' already"),
        (("add", "--name", "x", "--kind", "other"), "base_url: give where"),
        (("add", "--name", "x", "--kind", "openai", "--credential-file", "/nowhere"), "--credential-file: cannot read"),
        (
            ("add", "--name", "x", "--kind", "openai", "--credential-file", "/dev/null"),
            "--credential-file: it is empty",
        ),
        (("set", "--name", "main", "--policy", '{"ttl": 0}'), "--policy: Expected `int` >= 1 - at `$.ttl`"),
        (("set", "--name", "main", "--policy", "ttl"), "--policy: "),
        (("set", "--name", "x"), "--name: there is no provider 'x'. Providers: main."),
        (("remove", "--name", "x"), "--name: there is no provider 'x'. Providers: main."),
    ],
)
def test_command_says_what_to_change(tenant: Tenant, arguments: tuple[str, ...], why: str) -> None:
    put(tenant, "main", OPENAI)
    with pytest.raises(CommandError) as refused:
        run(*arguments, "--tenant", tenant.name)
    assert why in str(refused.value)
    assert [each.name for each in providers.list_providers(tenant.id)] == ["main"]
