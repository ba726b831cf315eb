"""What the gateway's tests need: a server that may call the tests' upstream, and a tenant with providers there."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from ipaddress import ip_network
from typing import Any

import anthropic
import httpx
import openai
import pytest
from django.test import override_settings

from accounts.models import Tenant
from cacheservice.entries.models import Entry, Space
from gateway import providers
from gateway.models import Kind, SpendEvent, SpendState
from gateway.policy import Policy
from gateway.providers import ProviderSettings
from tests.cast import ACTOR, Key, new_key, new_tenant
from tests.client import NO_TLS
from tests.conftest import server_environment
from tests.processes import RunningServer, running_server, wait_for
from tests.store_cast import query
from tests.upstreams import RunningUpstream

LOOPBACK = "127.0.0.0/8"


_open: list[openai.OpenAI | anthropic.Anthropic] = []  # a stream that broke off leaves its connection to its client


@dataclass(frozen=True)
class Client:
    """A tenant with one API key, and the providers `openai` and `anthropic` at the tests' upstream."""

    server: RunningServer
    upstream: RunningUpstream
    tenant: Tenant
    key: Key

    def provider(self, name: str, kind: str = Kind.OPENAI, **changes: Any) -> None:
        """Make it, or change it: what is not said here is as `ProviderSettings` has it. Holds within a second."""
        changes.setdefault("base_url", self.upstream.url)
        changes.setdefault("credential", self.upstream.credential.encode())
        with override_settings(GATEWAY_ALLOW_NETWORKS=[ip_network(LOOPBACK)]):
            providers.put_provider(self.tenant.id, name, ProviderSettings(kind=kind, **changes), ACTOR)

    def policy(self, **policy: Any) -> None:
        """Of both providers."""
        for name, kind in (("openai", Kind.OPENAI), ("anthropic", Kind.ANTHROPIC)):
            self.provider(name, kind, policy=Policy(**policy))

    @property
    def url(self) -> str:
        return f"{self.server.url}/gateway"

    def openai(self, **options: Any) -> openai.OpenAI:
        """The official SDK: only base URL and key are ours. Closed at the end of the test."""
        sdk = openai.OpenAI(
            **{
                "base_url": f"{self.url}/openai/v1",
                "api_key": self.key.token,
                "max_retries": 0,
                "timeout": 30,
                "http_client": openai.DefaultHttpxClient(verify=NO_TLS),
                **options,
            }
        )
        _open.append(sdk)
        return sdk

    def anthropic(self, **options: Any) -> anthropic.Anthropic:
        sdk = anthropic.Anthropic(
            **{
                "base_url": f"{self.url}/anthropic",
                "api_key": self.key.token,
                "max_retries": 0,
                "timeout": 30,
                "http_client": anthropic.DefaultHttpxClient(verify=NO_TLS),
                **options,
            }
        )
        _open.append(sdk)
        return sdk

    def post(self, body: Any, path: str = "openai/v1/chat/completions", **headers: str) -> httpx.Response:
        """One request; underscores of the headers' names become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with httpx.Client(timeout=30, verify=NO_TLS) as http:
            return http.post(
                f"{self.url}/{path}", json=body, headers={"Authorization": f"Bearer {self.key.token}", **named}
            )

    def events(self, count: int) -> list[SpendEvent]:
        """The tenant's spend events, oldest first, once there are so many that are settled."""
        found = (
            SpendEvent.objects.filter(tenant_id=self.tenant.id).exclude(state=SpendState.RESERVED).order_by("at", "id")
        )
        wait_for(lambda: found.count() >= count, 10, f"{count} spend events")
        return list(found)

    def entries(self, count: int = 0) -> list[Entry]:
        """The gateway's, oldest first, once there are so many: an answer is stored while it is on its way."""
        found = Entry.objects.filter(tenant_id=self.tenant.id, space=Space.GATEWAY).order_by("created_at")
        wait_for(lambda: found.count() >= count, 10, f"{count} entries")
        return list(found)


def question(text: str | None = None, **members: Any) -> dict[str, Any]:
    """A chat request that may be cached; with a text of its own each time unless it is given one."""
    message = {"role": "user", "content": text or f"What is {secrets.token_hex(8)}?"}
    return {"model": "gpt-4o-mini", "temperature": 0, "messages": [message], **members}


def usd(text: str) -> Decimal:
    return Decimal(text)


@pytest.fixture(scope="session")
def gateway_server(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A real server that may call providers on this machine."""
    environment = {**server_environment(lane="on"), "CACHE_GATEWAY_ALLOW_NETWORKS": LOOPBACK}
    with running_server(tmp_path_factory.mktemp("gateway") / "server.log", environment) as running:
        yield running


@pytest.fixture
def client(gateway_server: RunningServer, upstream: RunningUpstream, committed_db: None) -> Iterator[Client]:
    """A client of its own, and the upstream as if nobody had called it yet."""
    upstream.reset()
    yield new_client(gateway_server, upstream)
    while _open:
        _open.pop().close()
    upstream.reset()


def new_client(server: RunningServer, upstream: RunningUpstream) -> Client:
    tenant = new_tenant()
    client = Client(server, upstream, tenant, new_key(tenant, ["gateway"]))
    client.policy()
    return client


def ledger_waits() -> bool:
    """For a lock on this test's database."""
    waiting = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    return bool(query(f"{waiting} and application_name = 'cacheservice ledger'"))
