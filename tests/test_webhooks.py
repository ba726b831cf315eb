"""Webhooks: signed, tried again, and never sent into the operator's own network."""

import ipaddress
import json
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from accounts import keyring, sealed
from accounts.keys import rewrap_data_keys
from accounts.models import Tenant, TenantSecret
from cacheservice import environment
from console import alert_delivery, alert_messages, settings_changes, webhook_client, webhooks
from console.models import Delivery
from console.webhook_client import NotDelivered, Request
from tests.conftest import new_master_key
from tests.store_cast import new_tenant

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "webhooks.md"


class Receiver(BaseHTTPRequestHandler):
    """Keeps what comes, and answers what the test says."""

    received: list[tuple[dict[str, str], bytes]]
    answer: Callable[["Receiver"], None]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        type(self).received.append((dict(self.headers), body))
        type(self).answer(self)

    def log_message(self, *arguments: Any) -> None: ...


def status(code: int, **headers: str) -> Callable[[Receiver], None]:
    def answer(self: Receiver) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    return answer


@pytest.fixture
def receiver() -> Iterator[type[Receiver]]:
    handler: Any = type("OneReceiver", (Receiver,), {"received": [], "answer": staticmethod(status(200))})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever)
    thread.start()
    handler.url = f"http://127.0.0.1:{server.server_port}/hook?a=b"
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def local(settings: Settings) -> None:
    """The operator allows their own machine."""
    settings.WEBHOOK_ALLOW_NETWORKS = [ipaddress.ip_network("127.0.0.0/8")]


@pytest.fixture(autouse=True)
def nothing_else_due() -> None:
    Delivery.objects.update(next_attempt_at=None)


def with_webhook(url: str) -> tuple[Tenant, str]:
    tenant = new_tenant()
    secret = settings_changes.set_webhook(tenant, url, "tests")
    assert secret is not None
    return tenant, secret


def announce(tenant: Tenant) -> Delivery:
    delivery = alert_messages.send_webhook(tenant.id, "alert.opened", {"alert": {"title": "“quoted” <b>"}})
    assert delivery is not None
    return delivery


def post(url: str) -> int:
    return webhook_client.post(Request(url, {"Content-Type": "application/json"}, b"{}"))


def test_a_delivery_is_signed_and_the_documents_example_verifies_it(local: None, receiver: Any) -> None:
    tenant, secret = with_webhook(receiver.url)
    delivery = announce(tenant)
    alert_delivery.deliver()
    [(headers, body)] = receiver.received
    [example] = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(example, names)
    event = names["verified"](secret, headers["X-Cache-Signature"], body)
    assert (event["type"], event["data"]) == ("alert.opened", {"alert": {"title": "“quoted” <b>"}})
    for wrong in (
        (secret, headers["X-Cache-Signature"], body + b" "),
        (secret + "x", headers["X-Cache-Signature"], body),
        (secret, webhooks.signature(secret.encode(), int(time.time()) - 3600, body), body),
        (secret, "t=1", body),
    ):
        with pytest.raises(ValueError, match="signature"):
            names["verified"](*wrong)
    delivery.refresh_from_db()
    assert (delivery.state, delivery.outcome, delivery.attempts) == ("delivered", "it answered 200", 1)


def test_a_refused_delivery_comes_again_with_the_same_id(local: None, receiver: Any) -> None:
    receiver.answer = staticmethod(status(503))
    delivery = announce(with_webhook(receiver.url)[0])
    alert_delivery.deliver()
    delivery.refresh_from_db()
    assert (delivery.state, delivery.outcome) == ("will be tried again", "it answered 503")
    receiver.answer = staticmethod(status(204))
    assert alert_delivery.deliver() == 0  # not yet
    Delivery.objects.filter(id=delivery.id).update(next_attempt_at=delivery.created_at)
    assert alert_delivery.deliver() == 1
    (_, first), (_, second) = receiver.received
    assert first == second
    delivery.refresh_from_db()
    assert delivery.state == "delivered"


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://localhost/",  # a name that leads to loopback
        "https://2130706433/",  # 127.0.0.1 as one number
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://169.254.169.254/latest/meta-data",
        "https://[fd00:ec2::254]/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://172.16.0.1/",
        "https://100.64.0.1/",
        "https://0.0.0.0/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[fe80::1]/",
        "https://[ff02::1]/",
    ],
)
def test_private_and_reserved_addresses_are_refused(url: str) -> None:
    with pytest.raises(NotDelivered, match="private or reserved"):
        post(url)


def test_a_name_is_refused_if_any_of_its_addresses_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: Any, **__: Any) -> Any:
        return [(0, 0, 0, "", (address, 443)) for address in ("93.184.216.34", "127.0.0.1")]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(NotDelivered, match="private or reserved"):
        post("https://rebinding.example.com/")


def test_the_connection_goes_to_the_address_that_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that resolves differently the second time is not resolved a second time."""
    lookups, connected = [], []

    def resolve(host: str, *_: Any, **__: Any) -> Any:
        lookups.append(host)
        return [(0, 0, 0, "", ("93.184.216.34" if len(lookups) == 1 else "127.0.0.1", 443))]

    def connect(address: tuple[str, int], **_: Any) -> socket.socket:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(NotDelivered, match="refused the connection"):
        post("https://rebinding.example.com/")
    assert (lookups, connected) == (["rebinding.example.com"], [("93.184.216.34", 443)])


def test_redirects_are_not_followed(local: None, receiver: Any) -> None:
    receiver.answer = staticmethod(status(307, Location=receiver.url + "&second=1"))
    with pytest.raises(NotDelivered, match="it answered 307, and redirects are not followed"):
        post(receiver.url)
    assert len(receiver.received) == 1


def test_proxies_of_the_environment_are_not_used(local: None, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert post(receiver.url) == 200


def test_an_answer_that_dribbles_is_cut_off(local: None, receiver: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_client, "ATTEMPT_SECONDS", 0.5)

    def dribble(self: Receiver) -> None:
        try:
            for _ in range(50):
                self.wfile.write(b"H")
                time.sleep(0.1)
        except OSError:
            self.close_connection = True

    receiver.answer = staticmethod(dribble)
    start = time.monotonic()
    with pytest.raises(NotDelivered, match=r"did not answer|too slow|failed"):
        post(receiver.url)
    assert time.monotonic() - start < 3


def test_an_endless_body_is_not_read(local: None, receiver: Any) -> None:
    def endless(self: Receiver) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for _ in range(10_000):
                self.wfile.write(b"x" * 65_536)
        except OSError:
            self.close_connection = True

    receiver.answer = staticmethod(endless)
    start = time.monotonic()
    assert post(receiver.url) == 200
    assert time.monotonic() - start < 3


def test_a_certificate_that_nobody_vouches_for_is_refused(local: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise ssl.SSLCertVerificationError("self-signed")

    monkeypatch.setattr(socket, "create_connection", refuse)
    with pytest.raises(NotDelivered, match="certificate"):
        post("https://127.0.0.1/")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://example.com/", "starts with https://"),
        ("ftp://example.com/", "starts with https://"),
        ("file:///etc/passwd", "starts with https://"),
        ("https://", "starts with https://"),
        ("https://user:password@example.com/", "name or password"),
        ("https://example.com/#part", "leave out"),
        ("https://example.com/a b", "leave out"),
        ("https://example.com:99999/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("not a url", "starts with https://"),
    ],
)
def test_urls_that_are_none_are_refused_with_the_fix(url: str, problem: str) -> None:
    with pytest.raises(NotDelivered, match=problem):
        webhook_client.checked_url(url)


def test_in_clear_only_into_allowed_networks(local: None) -> None:
    with pytest.raises(NotDelivered, match="operator's own networks"):
        post("http://93.184.216.34/")


def test_a_secret_is_sealed_and_survives_a_new_master_key(db: None, settings: Settings) -> None:
    tenant, secret = with_webhook("https://example.com/hook")
    row = TenantSecret.objects.get(tenant=tenant)
    assert secret.encode() not in bytes(row.sealed)
    settings.MASTER_KEY = f"{new_master_key()}\n{settings.MASTER_KEY}"
    rewrap_data_keys("tests")
    row.refresh_from_db()
    assert row.master_key_id == keyring.load().current
    assert sealed.get(tenant.id, webhooks.SECRET_NAME) == secret.encode()


def test_a_secret_opens_only_as_what_it_is() -> None:
    tenant, _ = with_webhook("https://example.com/hook")
    row, master_keys = TenantSecret.objects.get(tenant=tenant), keyring.load()
    key = keyring.WrappedKey(bytes(row.sealed), row.master_key_id)
    attempts: tuple[Callable[[], bytes], ...] = (
        lambda: master_keys.open_secret(key, tenant.id, "another"),
        lambda: master_keys.open_secret(key, tenant.id + 1, webhooks.SECRET_NAME),
        lambda: master_keys.unwrap(key, tenant.id, 1),
    )
    for attempt in attempts:
        with pytest.raises(keyring.CannotUnwrap):
            attempt()


def test_without_a_webhook_what_waits_is_not_sent(local: None, receiver: Any) -> None:
    tenant, _ = with_webhook(receiver.url)
    delivery = announce(tenant)
    assert settings_changes.set_webhook(tenant, "", "tests") is None
    alert_delivery.deliver()
    delivery.refresh_from_db()
    assert delivery.outcome == "there is no webhook any more"
    assert receiver.received == []
    assert not TenantSecret.objects.filter(tenant=tenant).exists()
    assert alert_messages.send_webhook(tenant.id, "alert.opened", {}) is None


def test_the_setting_of_allowed_networks_names_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_WEBHOOK_ALLOW_NETWORKS", "10.0.0.0/8, fd00::/8")
    assert len(environment.networks("CACHE_WEBHOOK_ALLOW_NETWORKS")) == 2
    monkeypatch.setenv("CACHE_WEBHOOK_ALLOW_NETWORKS", "10.0.0.1/8")
    with pytest.raises(ImproperlyConfigured, match=r"CACHE_WEBHOOK_ALLOW_NETWORKS: .*has bits beyond its prefix"):
        environment.networks("CACHE_WEBHOOK_ALLOW_NETWORKS")


def test_bodies_are_json_that_any_parser_reads(local: None, receiver: Any) -> None:
    tenant, _ = with_webhook(receiver.url)
    announce(tenant)
    alert_delivery.deliver()
    [(headers, body)] = receiver.received
    assert headers["Content-Type"] == "application/json"
    assert set(json.loads(body)) == {"id", "type", "created_at", "tenant", "data"}
