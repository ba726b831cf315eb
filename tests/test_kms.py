"""The master key in AWS KMS: what is bound to what, outages and refusals, rotation, and that nothing of it is shown."""

import asyncio
import base64
import importlib.util
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from asgiref.sync import sync_to_async
from django.core.cache import cache
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from pytest_django.fixtures import Settings
from structlog.testing import capture_logs

from accounts import keyring, keys, kms, sealed, second_factors
from accounts.keyring import CannotUnwrap, MasterKeys, MasterKeyUnavailable, WrappedKey
from accounts.models import DataKey, Tenant, TenantSecret
from cacheservice.entries.store import Store
from cacheservice.errors import Unavailable
from gateway.directory import Directory
from tests import test_gateway_directory as directories
from tests.cast import new_key
from tests.client import Client
from tests.console_cast import code_of, new_person
from tests.kms_server import CREDENTIALS, KMS, kms_server
from tests.processes import ROOT, wait_for
from tests.servers import environment_here, own_server
from tests.signing_in_cast import sign_in
from tests.store_cast import entry, new_caller, new_tenant, query, run_with_store, scaled
from tests.test_console_second_factors import with_totp
from tests.test_rotation import Users, in_thread

ARN = "arn:aws:kms:eu-central-1:123456789012:key/6d4b1d2e-0000-4000-8000-000000000000"


class Clock:
    """What pauses go by: only by hand."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture
def alone() -> Iterator[None]:
    """The keys and secrets of other tests' tenants, which may be thousands, are elsewhere: a rotation calls KMS for
    each that there is."""
    tables = (DataKey._meta.db_table, TenantSecret._meta.db_table, Authenticator._meta.db_table)
    for table in tables:
        query(f"create table others_{table} as table {table}")
        query(f"delete from {table}")
    yield
    for table in tables:
        query(f"insert into {table} select * from others_{table}")
        query(f"drop table others_{table}")


@pytest.fixture
def aws(alone: None, monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator[KMS]:
    monkeypatch.setattr(kms, "time", CLOCK)
    for name in ("CONNECT_SECONDS", "READ_SECONDS"):  # a busy machine is no outage
        monkeypatch.setattr(kms, name, 30)
    with kms_server(monkeypatch) as running:
        settings.KMS_ENDPOINT = running.url
        yield running


@pytest.fixture
def arn(aws: KMS, settings: Settings) -> Iterator[str]:
    """The newest master key is in AWS KMS; afterwards everything is wrapped with the run's own again."""
    local, created = settings.MASTER_KEY, aws.new_key()
    settings.MASTER_KEY = f"aws-kms:{created} {local}"
    yield created
    settings.MASTER_KEY = f"{local} aws-kms:{created}"
    rewrap_when_there_again()


@pytest.fixture
def key_file(aws: KMS, settings: Settings, tmp_path: Path) -> Iterator[Path]:
    """The run's master key in a file of its own; afterwards everything is wrapped with it again."""
    local = settings.MASTER_KEY
    path = settings.MASTER_KEY_FILE = tmp_path / "master.key"
    path.write_text(f"{local}\n")
    yield path
    path.write_text(f"{local}\n{path.read_text()}")
    rewrap_when_there_again()


def rewrap_when_there_again() -> None:
    eventually(lambda: keys.rewrap_data_keys("tests"))


def eventually(work: Callable[[], Any]) -> Any:
    """What it returns once the pause after a failed call is over."""
    for _ in range(100):
        CLOCK.now += kms.PAUSE_SECONDS
        try:
            return work()
        except MasterKeyUnavailable:
            threading.Event().wait(0.05)
    return work()


async def eventually_async(work: Callable[[], Any]) -> Any:
    for _ in range(100):
        CLOCK.now += kms.PAUSE_SECONDS
        try:
            return await work()
        except MasterKeyUnavailable:
            await asyncio.sleep(0.05)
    return await work()


@contextmanager
def silent(aws: KMS, arn: str) -> Iterator[None]:
    """It takes connections and does not answer, and whoever calls does not wait long."""
    key = kms.key(arn, aws.url)
    with pytest.MonkeyPatch.context() as patched, aws.failing("silence"):
        patched.setattr(kms, "READ_SECONDS", 1)
        key._client = None  # the next one is made with that
        yield
    key._client = None


def only(arn: str) -> MasterKeys:
    return MasterKeys(f"aws-kms:{arn}", "test")


# What is wrapped


def test_data_key_opens_as_its_tenants_version_only(aws: KMS, arn: str) -> None:
    master_keys = only(arn)
    data_key = keyring.new_data_key()
    wrapped = master_keys.wrap(data_key, 7, 1)
    assert aws.calls == ["GenerateDataKey"]
    assert master_keys.unwrap(wrapped, 7, 1) == data_key
    assert data_key not in wrapped.wrapped
    assert master_keys.wrap(data_key, 7, 1) != wrapped
    for tenant_id, version in ((8, 1), (7, 2), (1, 7)):
        with pytest.raises(CannotUnwrap, match="InvalidCiphertextException"):  # KMS itself refuses
            master_keys.unwrap(wrapped, tenant_id, version)
    with pytest.raises(CannotUnwrap):
        master_keys.open_secret(wrapped, 7, "1")
    with pytest.raises(CannotUnwrap, match="not among"):
        only(aws.new_key()).unwrap(wrapped, 7, 1)
    assert not master_keys.failed  # what does not open says nothing against KMS


def test_secrets_open_as_what_they_are_only(arn: str) -> None:
    master_keys = only(arn)
    long = b"s" * 8000  # more than KMS would encrypt
    wrapped = master_keys.seal_secret(long, 7, "gateway:main")
    assert master_keys.open_secret(wrapped, 7, "gateway:main") == long
    for tenant_id, name in ((7, "gateway:other"), (8, "gateway:main")):
        with pytest.raises(CannotUnwrap):
            master_keys.open_secret(wrapped, tenant_id, name)
    text = master_keys.seal("a secret", "second factor")
    assert master_keys.is_current(text)
    assert master_keys.open(text, "second factor") == "a secret"
    for wrong, purpose in ((text, "first API key"), (text[:-8], "second factor"), (f"{text[:17]}é", "second factor")):
        with pytest.raises(CannotUnwrap):
            master_keys.open(wrong, purpose)


def test_what_was_changed_does_not_open(arn: str) -> None:
    master_keys = only(arn)
    [good, other] = (master_keys.wrap(keyring.new_data_key(), 7, version) for version in (1, 2))
    length = 2 + int.from_bytes(good.wrapped[:2], "big")
    wrong = [good.wrapped[:end] for end in (0, 1, 2, 3, length, length + 5, len(good.wrapped) - 1)]
    wrong += [bytes(flipped(good.wrapped, place)) for place in (0, 1, length - 1, length, -1)]
    wrong += [good.wrapped[:length] + other.wrapped[length:], other.wrapped[:length] + good.wrapped[length:]]
    for each in wrong:
        with pytest.raises(CannotUnwrap):
            master_keys.unwrap(WrappedKey(each, good.master_key_id), 7, 1)
    assert master_keys.unwrap(good, 7, 1)


def flipped(data: bytes, place: int) -> bytearray:
    changed = bytearray(data)
    changed[place] ^= 1
    return changed


# Outages


def test_unlocked_tenants_are_served_while_it_is_down(aws: KMS, arn: str) -> None:
    unlocked, locked = new_caller(), new_caller()

    async def write(store: Store) -> None:
        for caller in (unlocked, locked):
            await store.put(caller, "key", entry(b"1"))

    async def scenario(store: Store) -> None:
        await asyncio.gather(*(store.get(unlocked, "key") for _ in range(20)))
        assert aws.calls == ["Decrypt"]  # one for all of them
        with aws.down():
            for number in range(5):
                assert (await store.get(unlocked, "key")) is not None
                await store.put(unlocked, f"more {number}", entry(b"2"))
            for _ in range(3):
                with pytest.raises(MasterKeyUnavailable) as refusal:
                    await store.get(locked, "key")
                assert (refusal.value.status, refusal.value.code) == (503, "unavailable")
                with pytest.raises(MasterKeyUnavailable):
                    await store.put(locked, "other", entry(b"2"))
        hit = await eventually_async(lambda: store.get(locked, "key"))
        assert hit.value == b"1"

    run_with_store(write)
    aws.calls.clear()
    with capture_logs() as logs:
        run_with_store(scenario)
    assert [line["event"] for line in logs] == ["master_key_unavailable"]  # the pause lasts until it is back
    # What was charged for values that were not given is given back: one hit is left.
    [(hits, units)] = query("select sum(hits), sum(units) from receipt where tenant_id = %s", [locked.tenant_id])
    assert (hits, units) == (1, 1)


def test_slow_service_holds_nobody_else_up(aws: KMS, arn: str) -> None:
    unlocked, large = new_caller(), base64.b64encode(bytes(300_000))
    locked = [new_caller() for _ in range(kms.CONNECTIONS + 4)]

    async def write(store: Store) -> None:
        for caller in (unlocked, *locked):
            await store.put(caller, "key", entry(large))

    async def scenario(store: Store) -> None:
        assert await store.get(unlocked, "key")
        with aws.failing("silence"):
            waiting = [asyncio.create_task(store.get(caller, "key")) for caller in locked]
            while "Decrypt" not in aws.calls[1:]:
                await asyncio.sleep(0.01)
            for _ in range(10):  # large values are opened in asyncio's threads, which are free
                assert await store.get(unlocked, "key")
            assert not any(task.done() for task in waiting)
            aws.fault = "cut"
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {MasterKeyUnavailable}
        assert await eventually_async(lambda: store.get(locked[0], "key"))

    run_with_store(write)
    aws.calls.clear()
    with capture_logs():
        run_with_store(scenario)


OUTAGES = ("silence", "cut", "garbage", "KMSInternalException", "ThrottlingException", "KeyUnavailableException")
REFUSALS = (
    "AccessDeniedException",
    "DisabledException",
    "KMSInvalidStateException",  # it is to be deleted
    "UnrecognizedClientException",
)


@pytest.mark.parametrize("fault", [*OUTAGES, *REFUSALS])
def test_faults(aws: KMS, arn: str, fault: str) -> None:
    master_keys = only(arn)
    wrapped = master_keys.wrap(b"a data key", 7, 1)
    aws.calls.clear()
    failing = silent(aws, arn) if fault == "silence" else aws.failing(fault)
    with failing, capture_logs() as logs:
        for _ in range(3):
            with pytest.raises(MasterKeyUnavailable):
                master_keys.unwrap(wrapped, 7, 1)
        with pytest.raises(MasterKeyUnavailable):
            master_keys.wrap(b"a data key", 7, 1)
        assert master_keys.failed
    if fault in REFUSALS:
        assert len(aws.calls) == 4
    else:
        assert len(aws.calls) <= kms.ATTEMPTS  # then a pause
    [line] = logs
    assert line["event"] == ("master_key_refused" if fault in REFUSALS else "master_key_unavailable")
    assert (line["key"], line["operation"]) == (arn, "decrypt")
    assert eventually(lambda: master_keys.unwrap(wrapped, 7, 1)) == b"a data key"
    assert not master_keys.failed


def test_no_credentials(aws: KMS, arn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in CREDENTIALS:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with capture_logs() as logs, pytest.raises(MasterKeyUnavailable):
        only(arn).wrap(b"a data key", 7, 1)
    assert logs[0]["reason"] == "NoCredentialsError"


def assert_failing(client: Client, count: int) -> None:
    """What the metrics say, at most seconds later."""
    line = f"cacheservice_key_service_failing {count:.1f}"
    wait_for(lambda: line in client.send("GET", "/metrics").body.decode().splitlines(), 30, line)


def manage(environment: Mapping[str, str], *command: str) -> "subprocess.CompletedProcess[str]":
    """As operators run it, on the tests' database."""
    return subprocess.run(
        [sys.executable, "manage.py", *command],
        cwd=ROOT,
        env=environment_here(**environment),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_server_starts_and_recovers(aws: KMS, arn: str, tmp_path: Path, settings: Settings) -> None:
    """It starts without KMS, is ready, says what it cannot, and can once KMS is there; people's second factors too."""
    caller, person = new_key(new_tenant()), new_person()
    secret = with_totp(person.user)
    environment = {"CACHE_MASTER_KEY": settings.MASTER_KEY, "CACHE_KMS_ENDPOINT": aws.url}
    second = "/console/account/2fa/authenticate/"
    cache.clear()
    with aws.down(), own_server(tmp_path, **environment) as server, Client(server.url, caller.token) as client:
        assert client.send("GET", "/readyz").status == 200
        answer = client.put("key", 1)
        assert answer.status == 503
        assert answer.header("retry-after") == "5"
        assert "The service that keeps the master key cannot be used just now" in answer.error_message()
        someone, _ = sign_in(server, person.user)
        refused = someone.post(second, {"code": code_of(secret)})
        assert refused.status_code == 503
        assert "The service that keeps the master key cannot be used just now" in refused.text
        ready = client.send("GET", "/readyz")
        assert (ready.status, list(ready.json())) == (200, ["status", "warnings"])
        assert_failing(client, 1)
        command = manage(environment, "create_tenant", "nobody")
        assert command.returncode == 1
        assert command.stderr.splitlines()[-1].startswith("unavailable: The service that keeps the master key")
        assert "Traceback" not in command.stderr
        aws.start()
        wait_for(lambda: client.put("key", 1).status == 201, 60, "serving again")
        assert client.get("key").json()["value"] == 1
        assert someone.post(second, {"code": code_of(secret)}).status_code == 302
        assert client.send("GET", "/readyz").json() == {"status": "ready"}
        assert_failing(client, 0)
    log = (tmp_path / "server.log").read_text()
    assert "master_key_unavailable" in log
    assert "Traceback" not in log
    Authenticator.objects.filter(user=person.user).delete()


def test_providers_credentials(aws: KMS, arn: str) -> None:
    """One that is unlocked stays so, whatever changes beside it; the others are tried again."""
    tenant = new_tenant()
    directories.put(tenant, "one")

    async def scenario(directory: Directory, database: directories.Counted, clock: directories.Clock) -> None:
        async def providers() -> Any:
            clock.now += 1
            return (await directory.get(tenant.id)).providers

        assert (await providers())["one"].credential == directories.SECRET
        await directories.put_async(tenant, "two", replace(directories.OPENAI, credential=b"of two"))
        with aws.down():
            found = await providers()
            assert (found["one"].credential, found["one"].unusable) == (directories.SECRET, "")
            assert found["two"].credential is None
            assert "'two' cannot be opened now" in found["two"].unusable
        CLOCK.now += kms.PAUSE_SECONDS
        found = await providers()
        assert found["two"].credential == b"of two"

    with capture_logs() as logs:
        directories.run(scenario)
    assert {line["event"] for line in logs} == {"master_key_unavailable"}
    TenantSecret.objects.filter(tenant=tenant).delete()


def test_data_key_is_wrapped_before_the_tenant_is_locked(aws: KMS, arn: str) -> None:
    """A service that hangs while a data key is rotated must not hold the tenant's requests up."""
    tenant = new_tenant()
    caller = new_caller(tenant)

    async def scenario(store: Store) -> None:
        await store.put(caller, "key", entry(b"1"))
        aws.calls.clear()
        with aws.failing("silence"):
            rotating = asyncio.create_task(in_thread(lambda: keys.rotate_data_key(tenant, "tests")))
            while not aws.calls:
                await asyncio.sleep(0.01)
            for number in range(5):
                await store.put(caller, f"key {number}", entry(b"2"))
                assert await store.get(caller, "key")
            assert not rotating.done()
            aws.fault = "cut"
            with pytest.raises(MasterKeyUnavailable):
                await rotating
        assert await eventually_async(lambda: in_thread(lambda: keys.rotate_data_key(tenant, "tests"))) == 2

    with capture_logs():
        run_with_store(scenario)


def test_data_keys_rotated_at_once_get_different_versions() -> None:
    tenant = new_tenant()

    async def several() -> list[int]:
        return list(await asyncio.gather(*(in_thread(lambda: keys.rotate_data_key(tenant, "tests")) for _ in range(4))))

    assert sorted(asyncio.run(several())) == [2, 3, 4, 5]
    assert Tenant.objects.get(pk=tenant.pk).data_key_version == 5


# Rotation


def rotate(*arguments: str) -> str:
    output = StringIO()
    call_command("rotate_master_key", *arguments, stdout=output)
    return output.getvalue()


def test_rotation_into_kms_and_on_while_it_is_read(aws: KMS, key_file: Path, settings: Settings) -> None:
    """From a file to KMS, to other keys there, and back: what is read meanwhile is right, and nothing is left over."""
    # KMS, its client and the store share this process.
    settings.QUEUE_TIMEOUT_SECONDS = settings.STATEMENT_TIMEOUT_SECONDS = 60
    local = key_file.read_text().strip()
    tenants = [new_tenant() for _ in range(3)]
    callers = [new_caller(tenant) for tenant in tenants]
    person = new_person()
    secret = with_totp(person.user)
    sealed.put(tenants[0].id, "webhook", b"a webhook's")
    arns = [aws.new_key() for _ in range(scaled(2, 20))]

    def rotations() -> None:
        for arn in arns:
            rotate("--kms", arn)

    async def scenario(store: Store) -> None:
        users = Users(store, callers)
        await users.during(rotations)
        assert min(users.reads, users.writes) > 10
        late = await sync_to_async(new_caller)()
        await store.put(late, "key", entry(b"1"))
        assert await store.get(late, "key")

    run_with_store(scenario)
    newest = only(arns[-1])
    assert key_file.read_text().split() == [*(f"aws-kms:{arn}" for arn in reversed(arns)), local]
    for model in (DataKey, TenantSecret):
        assert set(model.objects.values_list("master_key_id", flat=True)) == {newest.current}
    key_file.write_text(f"aws-kms:{arns[-1]}\n")  # the newest alone opens everything
    assert sealed.get(tenants[0].id, "webhook") == b"a webhook's"
    totp = Authenticator.objects.get(user=person.user, type=Authenticator.Type.TOTP)
    assert second_factors.unseal(totp.data["secret"]) == secret
    for data_key in DataKey.objects.filter(tenant__in=tenants):
        wrapped = WrappedKey(bytes(data_key.wrapped), data_key.master_key_id)
        assert len(newest.unwrap(wrapped, data_key.tenant_id, data_key.version)) == 32
    assert f"wrapped with master key {newest.current}" in rotate("--kms", arns[-1])  # again: it is not put there twice
    assert key_file.read_text() == f"aws-kms:{arns[-1]}\n"
    with pytest.raises(CommandError, match="the newest master key is in AWS KMS"):
        rotate()
    rotate("--local")
    assert keyring.load().newest_is_local
    assert set(DataKey.objects.values_list("master_key_id", flat=True)) == {keyring.load().current}


def test_rotation_that_kms_interrupts_is_repeated(aws: KMS, key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    callers = [new_caller() for _ in range(4)]
    created, rewrap, left = aws.new_key(), keys._rewrap, [2]

    def interrupted(data_key: DataKey, master_keys: MasterKeys) -> None:
        if not left[0]:
            aws.fault = "cut"
        left[0] -= 1
        rewrap(data_key, master_keys)

    with monkeypatch.context() as patched, capture_logs():
        patched.setattr(keys, "_rewrap", interrupted)
        with pytest.raises(CommandError, match="What was wrapped so far stays so: run this again"):
            rotate("--kms", created)
    aws.fault = ""
    current = keyring.load().current
    assert DataKey.objects.filter(master_key_id=current).count() == 2
    CLOCK.now += kms.PAUSE_SECONDS
    rotate("--kms", created)
    assert key_file.read_text().count("aws-kms") == 1
    assert not DataKey.objects.exclude(master_key_id=current).exists()

    async def read(store: Store) -> None:
        await asyncio.gather(*(store.put(caller, "key", entry(b"1")) for caller in callers))

    run_with_store(read)


def test_key_that_does_not_work_is_not_put_first(aws: KMS, key_file: Path) -> None:
    before = key_file.read_text()
    for arn, reason in (
        (ARN, "cannot be used just now"),  # there is no such key
        ("arn:aws:kms:eu-central-1:123456789012:alias/main", "an alias will not do"),
        ("main", "takes a key's ARN"),
    ):
        with capture_logs(), pytest.raises(CommandError, match=reason):
            rotate("--kms", arn)
    assert key_file.read_text() == before


def test_keys_in_the_variable_are_the_operators_to_put(aws: KMS, arn: str) -> None:
    tenant = new_tenant()
    for arguments in (("--local",), ("--kms", arn)):
        with pytest.raises(CommandError, match="CACHE_MASTER_KEY: put the new one first there yourself"):
            rotate(*arguments)
    assert "data keys and secrets wrapped with master key" in rotate()
    assert tenant.data_keys.get().master_key_id == only(arn).current


# Settings


@pytest.mark.parametrize(
    "line",
    [
        "aws-kms:",
        "aws-kms:alias/main",
        "aws-kms:arn:aws:kms:eu-central-1:123456789012:alias/main",
        "aws-kms:arn:aws:s3:::bucket",
        f"aws-kms:{ARN}/",
        f"AWS-KMS:{ARN}",
    ],
)
def test_line_that_names_no_key_is_refused(line: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^CACHE_MASTER_KEY: key 1: "):
        MasterKeys(line, "CACHE_MASTER_KEY")


@pytest.mark.parametrize(
    ("endpoint", "allowed"),
    [
        ("https://vpce-1.kms.eu-central-1.vpce.amazonaws.com", True),
        ("http://127.0.0.1:5000", True),
        ("http://localhost:5000", True),
        ("", True),
        ("http://kms.example.com", False),
        ("http://127.0.0.1.example.com", False),
        ("kms.example.com", False),
        ("ftp://localhost", False),
    ],
)
def test_endpoint_may_not_carry_keys_in_clear(endpoint: str, allowed: bool, settings: Settings) -> None:
    settings.KMS_ENDPOINT = endpoint
    if allowed:
        assert repr(MasterKeys(f"aws-kms:{ARN}", "test")) == f"MasterKeys(KMSKey({ARN}))"
        return
    with pytest.raises(ImproperlyConfigured, match="CACHE_KMS_ENDPOINT must be an https:// URL"):
        MasterKeys(f"aws-kms:{ARN}", "test")


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    settings.KMS_ENDPOINT = "https://kms.example.com/without-boto3"  # not known to this process yet
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImproperlyConfigured, match="needs the package boto3"):
        MasterKeys(f"aws-kms:{ARN}", "test")


def test_nothing_of_a_key_is_shown(arn: str, caplog: pytest.LogCaptureFixture) -> None:
    """botocore logs what it sends and gets at DEBUG."""
    caplog.set_level(logging.DEBUG)
    master_keys, canary = only(arn), "canary-of-a-secret-9040"
    text = master_keys.seal(canary, "second factor")
    master_keys.open(text, "second factor")
    with pytest.raises(CannotUnwrap) as refusal:
        master_keys.open(text, "another purpose")
    shown = caplog.text + str(refusal.value) + repr(refusal.value) + repr(master_keys) + repr(vars(master_keys))
    secrets = (canary, CREDENTIALS["AWS_SECRET_ACCESS_KEY"], '"Plaintext"', "Plaintext")
    assert [secret for secret in secrets if secret in shown] == []
    assert base64.b64encode(canary.encode()).decode() not in shown


def test_unavailable_is_what_the_store_raises() -> None:
    assert issubclass(MasterKeyUnavailable, Unavailable)
