"""The commands on tenants and keys: what they print, what they refuse, what they record, and that no secret stays."""

import base64
import errno
import os
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.db.utils import ProgrammingError
from django.utils import timezone
from pytest_django import Settings

from accounts import audit, keyring, keys, second_factors, tokens
from accounts.models import SCOPES, APIKey, AuditEvent, DataKey, Tenant, TenantSecret
from cacheservice.entries.models import Entry, Space
from tests.cast import Cast, cast_fixture, new_caller, new_key, new_tenant  # noqa: F401  a fixture
from tests.client import Client
from tests.console_cast import new_user
from tests.processes import RunningServer, wait_for

TOKEN = re.compile(r"ck_live_[0-9A-Za-z]{11}_[0-9A-Za-z]{49}")
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"


def run(command: str, *arguments: str) -> str:
    """What the command prints."""
    output = StringIO()
    call_command(command, *arguments, stdout=output, no_color=True)
    return output.getvalue()


def refusal(command: str, *arguments: str) -> str:
    """Why the command refuses: one line. Nothing is recorded."""
    before = AuditEvent.objects.count()
    with pytest.raises(CommandError) as raised, transaction.atomic():
        run(command, *arguments)
    assert AuditEvent.objects.count() == before
    message = str(raised.value)
    assert "\n" not in message
    return message


def events(tenant: Tenant) -> list[tuple[str, str, dict[str, Any]]]:
    found = AuditEvent.objects.filter(tenant_id=tenant.id).order_by("at")
    assert all(re.fullmatch(r"operator( \S+)?|the tests", event.actor) for event in found)
    return [(event.action, event.target, event.details) for event in found]


@pytest.fixture
def name() -> str:
    return f"acme {secrets.token_hex(6)}"


@pytest.fixture
def tenant(db: None) -> Tenant:
    return new_tenant()


# create_tenant


def test_create_tenant(db: None, name: str) -> None:
    output = run("create_tenant", f" {name} ")
    assert output == f"Tenant '{name}' created. Now make a key: manage.py create_api_key '{name}'\n"
    tenant = Tenant.objects.get(name=name)
    assert events(tenant) == [("tenant.create", name, {})]
    [data_key] = tenant.data_keys.all()
    assert (data_key.version, data_key.uses, data_key.retired_at) == (1, 0, None)


@pytest.mark.parametrize("bad", ["", "  ", "x" * 101])
def test_create_tenant_refuses_a_bad_name(db: None, bad: str) -> None:
    count = Tenant.objects.count()
    assert refusal("create_tenant", bad) == f"name: it has {len(bad.strip())} characters; 1 to 100 are allowed."
    assert Tenant.objects.count() == count


def test_create_tenant_refuses_a_taken_name(tenant: Tenant) -> None:
    message = refusal("create_tenant", tenant.name)
    assert message == f"name: a tenant '{tenant.name}' exists already; choose another name."


# create_api_key, list_api_keys


def token_in(output: str) -> str:
    [token] = TOKEN.findall(output)
    assert isinstance(token, str)
    return token


def test_create_api_key(tenant: Tenant) -> None:
    output = run("create_api_key", tenant.name)
    token = token_in(output)
    api_key = APIKey.objects.get(tenant=tenant)
    key_id = tokens.encode_id(api_key.id)
    assert output == f"API key {key_id} of tenant '{tenant.name}', shown only now:\n{token}\n"
    assert tokens.parse(token.encode()) == (api_key.id, bytes(api_key.digest))
    assert (api_key.name, api_key.scope_names, api_key.expires_at) == ("key", list(SCOPES), None)
    assert events(tenant)[1:] == [("api_key.create", key_id, {"name": "key", "scopes": list(SCOPES)})]


def test_create_api_key_with_everything(tenant: Tenant) -> None:
    before = timezone.now()
    run("create_api_key", tenant.name, "--name", "x" * 150, "--scopes", "read, delete,", "--days", "30")
    api_key = APIKey.objects.get(tenant=tenant)
    assert (api_key.name, api_key.scope_names) == ("x" * 100, ["read", "delete"])
    assert api_key.expires_at is not None
    assert before + timedelta(days=30) <= api_key.expires_at <= timezone.now() + timedelta(days=30)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--scopes", "read,fly"], "scopes: unknown scope 'fly'; choose from read, write, delete, gateway, admin"),
        (["--scopes", ""], "scopes: no scope; choose from read, write, delete, gateway, admin"),
        (["--days", "0"], "--days: 0 is not allowed; give 1 to 36500, or leave it out for a key without end."),
        (["--days", "36501"], "--days: 36501 is not allowed; give 1 to 36500, or leave it out for a key without end."),
    ],
)
def test_create_api_key_refuses(tenant: Tenant, arguments: list[str], message: str) -> None:
    assert refusal("create_api_key", tenant.name, *arguments) == message
    assert not APIKey.objects.filter(tenant=tenant).exists()


@pytest.mark.parametrize("command", ["create_api_key", "list_api_keys", "list_audit_events", "rotate_data_key"])
def test_unknown_tenant_is_told_with_the_names_there_are(tenant: Tenant, command: str) -> None:
    Tenant.objects.filter(id=tenant.id).update(name="!first")
    message = refusal(command, "nobody")
    assert message.startswith("tenant: there is no 'nobody'. Tenants: !first")


def test_list_api_keys(tenant: Tenant) -> None:
    one = new_key(tenant)
    other = new_key(tenant, ["read"])
    keys.revoke_api_key(other.row, "the tests")
    foreign = new_caller()
    head, *lines = run("list_api_keys", tenant.name).splitlines()
    titles = ["id", "tenant", "name", "scopes", "created", "last used", "expires", "revoked"]
    assert re.split(r"\s{2,}", head) == titles
    assert len(lines) == 2
    assert re.fullmatch(rf"{one.id} +{tenant.name} +test +read,write,delete,gateway,admin +{TIME} +- +- +-", lines[0])
    assert re.fullmatch(rf"{other.id} +{tenant.name} +test +read +{TIME} +- +- +{TIME}", lines[1])
    everything = run("list_api_keys")
    assert one.id in everything
    assert foreign.id in everything


# rotate_api_key, revoke_api_key


@pytest.mark.parametrize("hours", [None, 0, 2])
def test_rotate_api_key(tenant: Tenant, hours: int | None) -> None:
    key = new_key(tenant)
    former = bytes(APIKey.objects.get(id=key.row.id).digest)
    arguments = [] if hours is None else ["--overlap-hours", str(hours)]
    before = timezone.now()
    output = run("rotate_api_key", key.id, *arguments)
    token, wanted = token_in(output), 24 if hours is None else hours
    assert output == f"The former secret works for {wanted} more hours. The new one, shown only now:\n{token}\n"
    rotated = APIKey.objects.get(id=key.row.id)
    assert token != key.token
    assert bytes(rotated.digest) == tokens.digest(token.encode())
    assert rotated.previous_digest is not None
    assert bytes(rotated.previous_digest) == former
    assert rotated.previous_expires_at is not None
    overlap = timedelta(hours=wanted)
    assert before + overlap <= rotated.previous_expires_at <= timezone.now() + overlap
    assert events(tenant)[-1] == ("api_key.rotate", key.id, {"overlap_seconds": wanted * 3600})


def test_rotate_api_key_refuses(tenant: Tenant) -> None:
    key = new_key(tenant)
    for hours in ("-1", "2161"):
        message = refusal("rotate_api_key", key.id, f"--overlap-hours={hours}")
        assert message == f"--overlap-hours: {hours} is not allowed; give 0 to 2160."
    keys.revoke_api_key(key.row, "the tests")
    message = refusal("rotate_api_key", key.id)
    assert message == f"id: the key '{key.id}' is revoked; make a new one with create_api_key."


def test_revoke_api_key(tenant: Tenant) -> None:
    key = new_key(tenant)
    assert run("revoke_api_key", key.id) == "Revoked.\n"
    revoked_at = APIKey.objects.get(id=key.row.id).revoked_at
    assert revoked_at is not None
    assert events(tenant)[-1] == ("api_key.revoke", key.id, {})
    count = len(events(tenant))
    assert run("revoke_api_key", key.id) == "It was revoked before; nothing changed.\n"
    assert APIKey.objects.get(id=key.row.id).revoked_at == revoked_at
    assert len(events(tenant)) == count


@pytest.mark.parametrize("command", ["rotate_api_key", "revoke_api_key"])
@pytest.mark.parametrize("bad", ["", "x", "0" * 11, "z" * 11, "0" * 10 + "é", "ck_live_" + "0" * 11])
def test_unknown_id_is_told(db: None, command: str, bad: str) -> None:
    assert refusal(command, bad) == f"id: no API key has the id '{bad}'; 'manage.py list_api_keys' shows them."


# list_audit_events


def test_list_audit_events(tenant: Tenant) -> None:
    key = new_key(tenant)
    keys.revoke_api_key(key.row, "the tests")
    newest, middle, oldest = run("list_audit_events", tenant.name).splitlines()
    assert re.fullmatch(rf"{TIME} the tests api_key.revoke {key.id}", newest)
    assert re.fullmatch(rf"{TIME} the tests api_key.create {key.id}  {{.*'scopes': \['read', .*}}", middle)
    assert re.fullmatch(rf"{TIME} the tests tenant.create {tenant.name}", oldest)
    assert run("list_audit_events", tenant.name, "--limit", "1").splitlines() == [newest]
    assert run("list_audit_events", tenant.name, "--limit", "0") == ""
    assert newest in run("list_audit_events", "--limit", "5").splitlines()
    assert run("list_audit_events", new_tenant().name, "--limit=9").count("\n") == 1


# The audit log is append-only


def test_audit_event_is_never_changed_by_the_model(tenant: Tenant) -> None:
    event = AuditEvent.objects.get(tenant_id=tenant.id)
    event.actor = "somebody else"
    for change in (event.save, event.delete, AuditEvent.objects.all().delete):
        with pytest.raises(TypeError, match="audit_event is append-only"):
            change()
    with pytest.raises(TypeError, match="audit_event is append-only"):
        AuditEvent.objects.filter(tenant_id=tenant.id).update(actor="somebody else")
    with pytest.raises(TypeError, match="audit_event is append-only"), transaction.atomic():
        AuditEvent.objects.bulk_update([event], ["actor"])
    assert AuditEvent.objects.get(tenant_id=tenant.id).actor == "the tests"


@pytest.mark.parametrize("table", ["audit_event", "credit_ledger", "invoice"])
@pytest.mark.parametrize("statement", ["update {} set tenant_id = 0", "delete from {}", "truncate {}"])
def test_history_is_append_only_for_the_services_role(tenant: Tenant, table: str, statement: str) -> None:
    """The table's owner lacks the privileges. A superuser is above them: instead of one an ordinary role is made it."""
    with connection.cursor() as cursor:
        cursor.execute("select rolsuper from pg_roles where rolname = current_user")
        if cursor.fetchone() == (True,):
            cursor.execute("create role ordinary nologin")
            cursor.execute(f"alter table {table} owner to ordinary")
            cursor.execute("grant all on schema public to ordinary")
            cursor.execute("set local role ordinary")
        cursor.execute(f"select count(*) from {table} where tenant_id = %s", [tenant.id])
        with pytest.raises(ProgrammingError, match=f"permission denied for table {table}"), transaction.atomic():
            cursor.execute(statement.format(table))
        cursor.execute("select has_table_privilege(%s, 'insert')", [table])
        assert cursor.fetchone() == (True,)


def test_event_stands_or_falls_with_what_it_records(tenant: Tenant) -> None:
    count = AuditEvent.objects.count()
    with pytest.raises(RuntimeError), transaction.atomic():
        keys.create_api_key(tenant, name="x", scopes=["read"], actor="the tests")
        raise RuntimeError
    assert AuditEvent.objects.count() == count
    assert not APIKey.objects.filter(tenant=tenant).exists()


# rotate_master_key, rotate_data_key


@pytest.fixture
def key_file(db: None, tmp_path: Path, settings: Settings) -> Path:
    """The run's master key in a file of its own; the database is rolled back after the test."""
    path = tmp_path / "master.key"
    path.write_text(f"{settings.MASTER_KEY}\n")
    path.chmod(0o600)
    settings.MASTER_KEY_FILE = path
    return path


def plain(data_key: DataKey) -> bytes:
    wrapped = keyring.WrappedKey(bytes(data_key.wrapped), data_key.master_key_id)
    return keyring.load().unwrap(wrapped, data_key.tenant_id, data_key.version)


def wrapped_count() -> int:
    """How many data keys and secrets a rotation has to do with."""
    factors = Authenticator.objects.exclude(type=Authenticator.Type.WEBAUTHN).values_list("data", flat=True)
    sealed = sum(any(isinstance(value, str) for value in data.values()) for data in factors)
    return DataKey.objects.count() + TenantSecret.objects.count() + sealed


def test_rotate_master_key(tenant: Tenant, key_file: Path) -> None:
    former_text, former = key_file.read_text(), keyring.load().current
    [data_key] = tenant.data_keys.all()
    before = plain(data_key)
    output = run("rotate_master_key")
    current = keyring.load().current
    assert current != former
    assert former in keyring.load()
    assert output.startswith(f"{wrapped_count()} data keys and secrets wrapped with master key {current}. Keep the ")
    assert set(DataKey.objects.values_list("master_key_id", flat=True)) == {current}
    new_line, _, rest = key_file.read_text().partition("\n")
    assert rest == former_text
    assert len(base64.b64decode(new_line)) == 32
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == ["master.key"]
    data_key = tenant.data_keys.get()
    assert plain(data_key) == before
    event = AuditEvent.objects.filter(tenant_id=audit.SERVICE).latest("at")
    assert (event.action, event.target) == ("master_key.rotate", current)
    assert event.details == {"rewrapped": wrapped_count()}
    key_file.write_text(f"{new_line}\n")  # the former one is not needed any more
    assert plain(data_key) == before


def test_rotate_master_key_given_as_a_variable(tenant: Tenant, settings: Settings) -> None:
    """The operator puts the new key first; nothing is made."""
    assert settings.MASTER_KEY_FILE is None
    former = keyring.load().current
    settings.MASTER_KEY = f"{keyring.new_master_key_line()}\n{settings.MASTER_KEY}"
    current = keyring.load().current
    assert current != former
    assert f"wrapped with master key {current}." in run("rotate_master_key")
    assert tenant.data_keys.get().master_key_id == current
    assert run("rotate_master_key").startswith(f"0 data keys and secrets wrapped with master key {current}.")


def test_rewrapping_takes_what_a_rotation_could_not_see(tenant: Tenant, key_file: Path) -> None:
    """A sign-up wrapped with the former key, and was committed after the rotation had looked for the last time."""
    former, before = keyring.load(), plain(tenant.data_keys.get())
    run("rotate_master_key")
    lines, current = key_file.read_text(), keyring.load().current
    late = former.wrap(before, tenant.id, 1)
    DataKey.objects.filter(tenant=tenant).update(wrapped=late.wrapped, master_key_id=late.master_key_id)
    factor = Authenticator.objects.create(
        user=new_user(),
        type=Authenticator.Type.TOTP,
        data={"secret": former.seal("a secret", second_factors.PURPOSE)},
    )
    for count in (2, 0):
        output = run("rotate_master_key", "--rewrap")
        assert output.startswith(f"{count} data keys and secrets wrapped with master key {current}.")
    assert key_file.read_text() == lines
    key_file.write_text(lines.split()[0])  # the former one is not needed any more
    assert plain(tenant.data_keys.get()) == before
    factor.refresh_from_db()
    assert second_factors.unseal(factor.data["secret"]) == "a secret"


def test_master_key_file_that_cannot_be_replaced(
    tenant: Tenant, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container: the new line comes from outside, and then wraps."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "/run/secrets/master_key7p2x")

    lines = key_file.read_text()
    monkeypatch.setattr("accounts.keyring.tempfile.mkstemp", refuse)
    assert refusal("rotate_master_key") == (
        f"{key_file} cannot be replaced: Read-only file system. Put the new line first where the file comes from, "
        "recreate the processes, then run this with --rewrap: docs/runbooks/rotate-master-key.md"
    )
    assert key_file.read_text() == lines
    key_file.write_text(f"{keyring.new_master_key_line()}\n{lines}")
    run("rotate_master_key", "--rewrap")
    assert tenant.data_keys.get().master_key_id == keyring.load().current


@pytest.fixture
def caller_client(server: RunningServer, cast: Cast, committed_db: None) -> Iterator[tuple[Tenant, Client]]:
    caller = new_caller()
    with Client(server.url, caller.token) as client:
        yield caller.row.tenant, client


def test_rotate_data_key(caller_client: tuple[Tenant, Client]) -> None:
    tenant, client = caller_client
    for number in range(3):
        assert client.put(f"{number}", number).status == 201
    assert client.put_raw("raw", b"\x00" * 100_000, "image/png").status == 201
    etag = client.get("0").header("etag")
    former = plain(tenant.data_keys.get())
    output = run("rotate_data_key", tenant.name)
    assert output == f"Tenant '{tenant.name}' has data key 2; 4 entries re-sealed with it.\n"
    assert events(tenant)[-1] == ("data_key.rotate", "2", {})
    assert set(Entry.objects.filter(tenant_id=tenant.id).values_list("data_key_version", flat=True)) == {2}
    old, new = tenant.data_keys.order_by("version")
    assert (old.retired_at is None, new.retired_at) == (False, None)
    assert plain(new) != former
    assert [client.get(f"{number}").json()["value"] for number in range(3)] == [0, 1, 2]
    assert client.get("raw", "?raw=true").body == b"\x00" * 100_000
    assert client.get("0").header("etag") == etag
    assert client.put("0", "again").status == 200
    assert Entry.objects.get(tenant_id=tenant.id, key="0").data_key_version == 2
    assert "0 entries" not in run("rotate_data_key", tenant.name)


# purge


def test_purge(db: None, tenant: Tenant) -> None:
    run("purge")

    def entry(key: str, expires_in: float) -> None:
        now = timezone.now()
        Entry.objects.create(
            tenant_id=tenant.id, space=Space.TENANT, key=key, value=b"", data_key_version=1, size=0, version=1,
            api_key_id=1, created_at=now, expires_at=now + timedelta(seconds=expires_in),
        )  # fmt: skip

    for number in range(1200):
        entry(f"expired {number}", -1 - number)
    entry("live", 3600)
    assert Entry.objects.filter(tenant_id=tenant.id).count() == 1201
    removed = re.fullmatch(r"(\d+) expired entries removed\.\n", run("purge"))
    assert removed
    assert int(removed[1]) >= 1200
    assert [each.key for each in Entry.objects.filter(tenant_id=tenant.id)] == ["live"]
    assert run("purge", "--seconds", "0") == "0 expired entries removed.\n"


def test_purge_removes_what_servers_no_longer_show(caller_client: tuple[Tenant, Client]) -> None:
    tenant, client = caller_client
    assert client.put("goes", 1, ttl=1).status == 201
    assert client.put("renewed", 1, ttl=1).status == 201
    assert client.patch("renewed", ttl=60).status == 200
    wait_for(lambda: not client.get("goes").json()["hit"], 10, "the expiry")
    assert Entry.objects.filter(tenant_id=tenant.id).count() == 2
    run("purge")
    assert [each.key for each in Entry.objects.filter(tenant_id=tenant.id)] == ["renewed"]
    assert client.get("renewed").json()["hit"] is True


# Secrets


def whole_database() -> str:
    """Every row of every table as text; bytes in hexadecimal."""
    with connection.cursor() as cursor:
        rows = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'select t::text from "{table}" t')
            rows += [row[0] for row in cursor.fetchall()]
    return "\n".join(rows)


def forms(secret: bytes) -> list[str]:
    """How a secret could stand in text."""
    encoded = base64.b64encode(secret).decode()
    return [secret.hex(), encoded, encoded.rstrip("="), base64.urlsafe_b64encode(secret).decode().rstrip("=")]


def test_no_secret_in_tables_lists_reprs_or_logs(
    caller_client: tuple[Tenant, Client], server: RunningServer, settings: Settings,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    tenant, _ = caller_client
    value = f"a value {secrets.token_hex(16)}"
    issued = [token_in(run("create_api_key", tenant.name))]
    api_key = APIKey.objects.get(id=tokens.parse(issued[0].encode()).api_key_id)
    issued.append(token_in(run("rotate_api_key", tokens.encode_id(api_key.id))))
    forged = issued[0][:-1] + ("A" if issued[0][-1] != "A" else "B")
    for token in [*issued, forged]:
        with Client(server.url, token) as client:
            client.put("k", value)
            client.put_body("k", b'{"value": "%s" oops' % value.encode())
            client.put("k", value, headers={"If-Match": '"0123456789abcdef"'})
            client.get("k")
            client.get("k", f"?nothing={token}")
            client.send("GET", "/api/v1/nowhere", headers={"x-api-key": token})
    run("revoke_api_key", tokens.encode_id(api_key.id))
    with Client(server.url, issued[1]) as client:
        assert client.get("k").error_code() == "invalid_api_key"

    hidden = [text for token in issued for text in (token, token[20:], token.encode().hex())]
    hidden += forms(base64.b64decode(settings.MASTER_KEY))
    hidden += [text for data_key in tenant.data_keys.all() for text in forms(plain(data_key))]
    hidden += [value, value.encode().hex()]
    fresh = APIKey.objects.select_related("tenant").get(id=api_key.id)
    shown = {
        "tables": whole_database(),
        "lists": run("list_api_keys") + run("list_audit_events", "--limit", "1000"),
        "reprs": f"{fresh!r} {fresh} {tenant!r} {tenant.data_keys.get()!r} {keyring.load()!r} {keyring.load()}",
        "server log": server.log_path.read_text(),
        "logs here": caplog.text,
    }
    assert tokens.encode_id(api_key.id) in shown["lists"]
    assert bytes(fresh.digest).hex() in shown["tables"]
    for place, text in shown.items():
        assert [each for each in hidden if each in text] == [], place


def test_search_for_secrets_would_find_one(tenant: Tenant) -> None:
    """The search itself: it sees text, JSON and bytes."""
    secret = secrets.token_bytes(16)
    audit.record(tenant.id, "the tests", "leak", "x", leaked=base64.b64encode(secret).decode())
    APIKey.objects.create(tenant=tenant, name="leak", scopes=1, digest=secret)
    found = [each for each in forms(secret) if each in whole_database()]
    assert secret.hex() in found
    assert base64.b64encode(secret).decode() in found
