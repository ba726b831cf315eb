"""What is soaked: `manage.py up` with a flushing database, an upstream for the gateway, a tenant, its API keys."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import django

from cacheservice.supervisor import Child, wait_until_ready
from tests.processes import HOST, ROOT, free_port
from tests.upstreams import RunningUpstream, running_upstream

CREDITS = 10**9  # units: more than are spent
REQUESTS_PER_MINUTE = 10**6  # more than are made, so that they are counted
UP_SECONDS = 120.0


@dataclass(frozen=True)
class Service:
    port: int
    up: int  # the pid of the supervisor
    tenant_id: int
    tokens: list[str] = field(repr=False)  # of API keys that may do everything; the first is the hot one
    console: str  # the path of the tenant's pages
    cookie: str = field(repr=False)  # of a session of the tenant's owner


@contextmanager
def running_service(directory: Path) -> Iterator[Service]:
    """Django is set up for its database, here and in processes that are started later."""
    os.environ.pop("DATABASE_URL", None)
    os.environ |= {
        "DJANGO_SETTINGS_MODULE": "cacheservice.settings",
        "CACHE_VAR_DIR": str(directory),
        "CACHE_GATEWAY_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    port = free_port()
    command = [sys.executable, "manage.py", "up", "--host", HOST, "--port", str(port)]
    with running_upstream(record=False) as upstream:
        child = Child.start("service", command, log_path=directory / "up.log", directory=ROOT)
        try:
            wait_until_ready(HOST, port, [child], timeout=UP_SECONDS)
            django.setup()
            yield _service(port, child.process.pid, upstream)
        finally:
            child.stop()


def _service(port: int, up: int, upstream: RunningUpstream) -> Service:
    from django.conf import settings
    from django.db import connections

    from billing.limits import set_api_key_limits
    from gateway import providers
    from gateway.models import Kind
    from gateway.providers import ProviderSettings
    from tests.cast import new_key
    from tests.console_cast import new_person
    from tests.meters import prepaid_tenant

    tenant = prepaid_tenant(CREDITS)
    keys = [new_key(tenant) for _ in range(4)]
    set_api_key_limits(keys[0].row, requests_per_minute=REQUESTS_PER_MINUTE, credit_limit=CREDITS, actor="soak")
    wanted = ProviderSettings(kind=Kind.OPENAI, base_url=upstream.url, credential=upstream.credential.encode())
    providers.put_provider(tenant.id, "openai", wanted, "soak")
    person = new_person(tenant=tenant)
    connections.close_all()
    cookie = f"{settings.SESSION_COOKIE_NAME}={person.session}"
    return Service(port, up, tenant.id, [key.token for key in keys], person.path(), cookie)
