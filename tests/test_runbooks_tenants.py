"""docs/runbooks/tenant-export-and-deletion.md and month-close.md: executed; and what an export has."""

import base64
import json
import re
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from cacheservice_client.cli import lines
from django.core.management import CommandError, call_command

from accounts import tokens
from accounts.models import APIKey, AuditEvent, random_id
from billing.invoices import last_over
from cacheservice.entries.crypto import Identity, seal
from cacheservice.entries.reseal import ciphers_of
from cacheservice.entries.store import Store
from cacheservice.tenant_export import PARTS, export_tenant
from tests.conftest import server_environment
from tests.processes import ROOT
from tests.runbooks import PAGES, Installation
from tests.store_cast import database_dsn, entry, new_caller, new_tenant, query, run_with_store, scaled

ENTRIES = scaled(1_000, 1_000_000)
MOST_KILOBYTES = 250_000  # of a command's process, most of which Django is


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_export_has_every_value_byte_for_byte_as_cachectl_imports_it(tmp_path: Path) -> None:
    tenant, other = new_tenant(), new_caller()
    caller = new_caller(tenant)
    values = {
        "plain": (b'{"a": 1.0,  "b": 123456789012345678901234567890}', None),
        "lines": (b'{\n  "a": 1\n}', None),
        "image": (bytes(range(256)) * 20, "image/png"),
        "long": (b'"' + b"x" * 5000 + b'"', None),
        "ключ/\U0001f511": (b"null", None),
    }

    async def write(store: Store) -> None:
        for key, (value, content_type) in values.items():
            await store.put(caller, key, entry(value, tags=["one", "two"], content_type=content_type))
        await store.put(caller, "gone", entry(b"1", ttl=1))
        await store.put(other, "other's", entry(b"1"))

    run_with_store(write)
    query("update entry set expires_at = now() where tenant_id = %s and key = 'gone'", [tenant.id])
    output = tmp_path / "export"
    assert export_tenant(tenant, output, "tests", values=True) == (len(values), 0)
    parsed = [lines.parse(line, 1) for line in (output / "entries.jsonl").read_bytes().splitlines()]
    assert [each.key for each in parsed] == sorted(values)
    assert {each.key: (each.value.body, each.value.content_type) for each in parsed} == values
    assert all(each.tags == ["one", "two"] and 3500 < (each.ttl or 0) <= 3600 for each in parsed)


def test_export_without_values_tells_of_entries(tmp_path: Path) -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def write(store: Store) -> None:
        await store.put(caller, "key", entry(b'"secret value"', tags=["one"]))

    run_with_store(write)
    call_command("export_tenant", tenant.name, "--output", str(tmp_path / "export"), stdout=StringIO())
    [told] = read(tmp_path / "export" / "entries.jsonl")
    assert told.keys() == {"key", "size_bytes", "content_type", "tags", "cost", "created_at", "expires_at"}
    assert (told["key"], told["size_bytes"], told["tags"]) == ("key", 14, ["one"])
    event = AuditEvent.objects.get(tenant_id=tenant.id, action="tenant.export")
    assert event.details == {"values": False}
    [api_key] = read(tmp_path / "export" / "api_keys.jsonl")
    assert api_key.keys() == {field.attname for field in APIKey._meta.local_concrete_fields} - {
        "tenant_id", "digest", "previous_digest"
    }  # fmt: skip
    assert api_key["id"] == tokens.encode_id(caller.api_key_id)
    assert [each["action"] for each in read(tmp_path / "export" / "audit_log.jsonl")].count("tenant.export") == 1


def test_export_is_private_and_overwrites_nothing(tmp_path: Path) -> None:
    tenant = new_tenant()
    output = tmp_path / "export"
    call_command("export_tenant", tenant.name, "--output", str(output), stdout=StringIO())
    assert output.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in output.iterdir()} == {0o600}
    for place in (output, tmp_path / "no" / "parent"):
        with pytest.raises(CommandError, match="--output: cannot write to"):
            call_command("export_tenant", tenant.name, "--output", str(place))


def test_entry_that_does_not_open_is_left_out_and_said(tmp_path: Path) -> None:
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def write(store: Store) -> None:
        for key in ("good", "bad"):
            await store.put(caller, key, entry(b"1"))

    run_with_store(write)
    query("update entry set value = value || '\\x00' where tenant_id = %s and key = 'bad'", [tenant.id])
    with pytest.raises(CommandError, match="1 entries do not open"):
        call_command("export_tenant", tenant.name, "--output", str(tmp_path / "export"), "--values")
    assert [each["key"] for each in read(tmp_path / "export" / "entries.jsonl")] == ["good"]


def _peak_kilobytes(pid: int) -> int:
    with suppress(FileNotFoundError, ProcessLookupError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text()):
            return int(found[1])
    return 0


def test_memory_does_not_grow_with_the_entries(tmp_path: Path) -> None:
    tenant = new_tenant()
    [cipher] = ciphers_of(tenant).values()
    columns = "tenant_id, space, key, value, data_key_version, size, tags, version, api_key_id, created_at, expires_at"
    now = datetime.now(UTC)
    with (
        psycopg.connect(database_dsn()) as connection,
        connection.cursor().copy(f"copy entry ({columns}) from stdin".encode()) as copy,
    ):
        for number in range(ENTRIES):
            value = b'"%d %s"' % (number, b"x" * 1000)
            sealed = seal(cipher, Identity(tenant.id, 0, f"key {number}", 1, number, None), value)
            until = now + timedelta(days=1)
            copy.write_row((tenant.id, 0, f"key {number}", sealed, 1, len(value), "{}", number, 1, now, until))
    command = [sys.executable, "manage.py", "export_tenant", tenant.name, "--values", "--output", str(tmp_path / "all")]
    process = subprocess.Popen(command, cwd=ROOT, env=server_environment(lane="on"), stdout=subprocess.DEVNULL)
    most = 0  # wait4 would tell of this process too, whose memory the other one had for a moment
    while process.poll() is None:
        most = max(most, _peak_kilobytes(process.pid))
        time.sleep(0.02)
    assert process.returncode == 0
    with (tmp_path / "all" / "entries.jsonl").open() as exported:
        assert sum(1 for _ in exported) == ENTRIES
    assert 0 < most < MOST_KILOBYTES
    query("delete from entry where tenant_id = %s", [tenant.id])


def test_every_file_is_described() -> None:
    page = (PAGES / "tenant-export-and-deletion.md").read_text()
    files = {*PARTS, "tenant", "entries", "gateway_answers"}
    assert set(re.findall(r"`(\w+)\.jsonl`", page)) == files


def test_tenant_is_exported_and_deleted(tmp_path: Path) -> None:
    page = "tenant-export-and-deletion.md"
    with Installation(tmp_path) as here:
        token = here.new_token()
        here.start_servers(1)
        headers = {"Authorization": f"Bearer {token}"}
        entries = f"{here.url}/api/v1/cache"
        assert httpx.put(f"{entries}/greeting", json={"value": "Hello!"}, headers=headers).is_success
        assert httpx.get(f"{entries}/greeting", headers=headers).json()["hit"]
        told = here.run(page)
        assert "1 entries, and all else that there is" in told
        assert "everything adds up" in told
        assert httpx.get(f"{entries}/greeting", headers=headers).status_code == 401
        [left] = here.query("select (select count(*) from entry), (select count(*) from data_key)")
        assert left == (0, 0)
        exported = {path.stem: path.read_text() for path in (tmp_path / "exports" / here.tenant).iterdir()}
        assert '"value":"Hello!"' in exported["entries"]
        assert sum(each["hits"] for each in read(tmp_path / "exports" / here.tenant / "usage_not_rolled_up.jsonl")) == 1
        [(digest,)] = here.query("select encode(digest, 'hex') from api_key where not internal")
        secrets = (token, str(digest), base64.b64encode(bytes.fromhex(str(digest))).decode())
        assert [name for name, text in exported.items() if any(secret in text for secret in secrets)] == []


def test_month_is_closed_again_after_a_failure(tmp_path: Path) -> None:
    page = "month-close.md"
    missing, close, alone, again = range(1, 5)
    month = last_over()
    with Installation(tmp_path) as here:
        here.new_token()
        here.manage("create_tenant", "other", "--plan", "pro")
        here.query("update account set plan = 'pro'")
        here.query("update tenant set created_at = %s", [datetime(month.year, month.month, 1, tzinfo=UTC)])
        for (tenant_id,) in here.query("select id from tenant"):
            at = datetime(month.year, month.month, 3, tzinfo=UTC) + timedelta(hours=1)
            receipt = "insert into receipt (tenant_id, id, api_key_id, at, hits, units) values (%s, %s, 1, %s, %s, %s)"
            here.query(receipt, [tenant_id, random_id(), at, 500_000, 500_000])
        here.query("update account set balance = balance - 500000")
        here.more_places = {"2026-10": f"{month:%Y-%m}"}
        here.run(page, missing)
        broken = "update account a set plan = 'gone' from tenant t where t.id = a.tenant_id and t.name = %s"
        here.query(broken, [here.tenant])
        assert "some could not be closed" in here.run(page, close)
        first = invoices(here)
        assert [(name, total) for name, total, *_ in first] == [("other", "5.00")]
        here.query("update account set plan = 'pro'")
        assert "1 invoices issued" in here.run(page, alone)
        both = invoices(here)
        assert set(first) < set(both)
        assert len(both) == 2
        told = here.run(page, again)
        assert "0 invoices issued" in told
        assert "everything adds up" in told
        assert invoices(here) == both


def invoices(here: Installation) -> list[tuple[object, ...]]:
    """Each with all that it says, and the transaction that wrote its row."""
    return here.query(
        "select t.name, i.total::text, i.number, i.document::text, i.issued_at::text, i.xmin::text "
        "from invoice i join tenant t on t.id = i.tenant_id order by t.name"
    )
