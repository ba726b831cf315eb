"""Several servers against one PostgreSQL, each a machine of its own: what holds over all, and when a link fails."""

import json
import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import NamedTuple

import httpx
import pytest

from cacheservice import embedded
from cacheservice.supervisor import Child, server_command, wait_until_ready
from tests.faults.load import LOST, Books, Load
from tests.meters import discrepancies
from tests.namespaces import BACK, FRONT, Network, Unsupported
from tests.processes import ROOT, wait_for
from tests.store_cast import query, scaled

SERVERS = ("one", "two", "three")
PORT = 8000
CLIENTS = 6
ANSWERED = 200, 201, 404


class Cluster(NamedTuple):
    network: Network
    dsn: str  # of the database, by its socket: for this process, wherever it is
    urls: dict[str, str]  # by machine
    keys: dict[str, "Key"]  # by the names of MAKE

    def ask(self, api_key: "Key", method: str, machine: str, key: str, body: bytes | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {api_key.token}", "Content-Type": "text/plain"}
        url = f"{self.urls[machine]}/api/v1/cache/{key}"
        return httpx.request(method, url, content=body, headers=headers, timeout=30, trust_env=False)


class Key(NamedTuple):
    tenant_id: int
    api_key_id: int
    token: str


# Migrations, and API keys, each of a tenant of its own; only the one that pays in advance has limits.
MAKE = """
import json, django
django.setup()
from django.core.management import call_command
from accounts import keys
from accounts.models import SCOPES
from billing.tenants import create_tenant
call_command("migrate", verbosity=0)
made = {}
for name in ("unlimited", "watching", "revoked", "prepaid"):
    tenant = create_tenant(name, "tests", "free" if name == "prepaid" else "self-hosted")
    key, token = keys.create_api_key(tenant, name=name, scopes=list(SCOPES), actor="tests")
    made[name] = (tenant.id, key.id, token)
print(json.dumps(made))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A machine for PostgreSQL, three for servers; the tests are on that of the clients."""
    directory = tmp_path_factory.mktemp("cluster")
    with ExitStack() as stack:
        try:
            network = stack.enter_context(Network(["database", *SERVERS, "clients"]))
        except Unsupported as error:
            pytest.skip(str(error))
        rules = directory / "pg_hba.conf"
        rules.write_text("local all all trust\nhost all all 10.77.1.0/24 trust\n")
        for path in (rules, directory, *directory.parents[:1]):
            path.chmod(0o755)
        settings = {"fsync": "off", "listen_addresses": network.address("database", BACK), "hba_file": str(rules)}
        with network.on("database"):
            database = stack.enter_context(embedded.Server(directory / "var", settings))
        made = json.loads(run(MAKE, {**os.environ, "DATABASE_URL": database.dsn()}))
        address = f"host={network.address('database', BACK)} port=5432 user=postgres dbname=cacheservice"
        environment = {**os.environ, "DATABASE_URL": address, "CACHE_STATEMENT_TIMEOUT_SECONDS": "1"}
        children: list[Child] = []
        for machine in SERVERS:
            with network.on(machine):
                children.append(
                    Child.start(
                        machine,
                        server_command(network.address(machine, FRONT), PORT),
                        log_path=directory / f"{machine}.log",
                        directory=ROOT,
                        environment=environment,
                    )
                )
            stack.callback(children[-1].stop)
        stack.enter_context(network.on("clients"))
        for machine in SERVERS:
            wait_until_ready(network.address(machine, FRONT), PORT, children, timeout=90)
        urls = {machine: f"http://{network.address(machine, FRONT)}:{PORT}" for machine in SERVERS}
        yield Cluster(network, database.dsn(), urls, {name: Key(*key) for name, key in made.items()})


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(30) as pool:
        yield pool


def run(program: str, environment: dict[str, str]) -> str:
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stderr
    return done.stdout


def everywhere(count: int) -> list[str]:
    """So many machines, one after the other."""
    return [SERVERS[number % len(SERVERS)] for number in range(count)]


def minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


@pytest.fixture
def key(cluster: Cluster) -> Key:
    """Without limits."""
    return cluster.keys["unlimited"]


def test_what_one_writes_all_have(cluster: Cluster, key: Key) -> None:
    for machine in SERVERS:
        assert cluster.ask(key, "PUT", machine, "shared", machine.encode()).status_code in (200, 201)
        assert [cluster.ask(key, "GET", each, "shared?raw=true").text for each in SERVERS] == [machine] * 3


def test_a_rate_limit_is_one_over_all(cluster: Cluster, key: Key, pool: ThreadPoolExecutor) -> None:
    limit = "update api_key set requests_per_minute = %s where id = %s"
    try:
        while True:
            query("delete from rate_window where api_key_id = %s", [key.api_key_id], dsn=cluster.dsn)
            query(limit, [30, key.api_key_id], dsn=cluster.dsn)
            began = minute()
            answers = pool.map(lambda machine: cluster.ask(key, "GET", machine, "absent"), everywhere(60))
            statuses = Counter(answer.status_code for answer in answers)
            if minute() == began:
                break
        assert statuses == {200: 30, 429: 30}
    finally:
        query(limit, [None, key.api_key_id], dsn=cluster.dsn)


def test_one_fills_for_all(cluster: Cluster, key: Key, pool: ThreadPoolExecutor) -> None:
    """Of those that miss on all machines one gets the lease; the others wait where they are, and are told at once."""
    name = f"filled-{secrets.token_hex(4)}"
    asked = [pool.submit(cluster.ask, key, "GET", machine, f"{name}?lease=30&wait=25") for machine in everywhere(9)]
    wait_for(lambda: any(each.done() for each in asked), 30, "the lease is given")
    [holder] = [each for each in asked if each.done()]
    headers = {"Authorization": f"Bearer {key.token}", "Content-Type": "text/plain"}
    lease = holder.result().json()["lease"]
    put = httpx.put(
        f"{cluster.urls['two']}/api/v1/cache/{name}",
        content=b"filled",
        headers={**headers, "X-Cache-Lease": lease},
        timeout=30,
        trust_env=False,
    )
    assert put.status_code == 201
    answers = [each.result().json() for each in asked if each is not holder]
    assert [answer["hit"] for answer in answers] == [True] * 8


def test_credits_are_paid_once_over_all(cluster: Cluster, pool: ThreadPoolExecutor) -> None:
    prepaid = cluster.keys["prepaid"]
    query("update api_key set requests_per_minute = 100000 where id = %s", [prepaid.api_key_id], dsn=cluster.dsn)
    assert cluster.ask(prepaid, "PUT", "one", "a", b"value").status_code == 201
    [(had,)] = query("select balance from account where tenant_id = %s", [prepaid.tenant_id], dsn=cluster.dsn)
    given = 40 - had
    query(
        "insert into credit_ledger (tenant_id, id, kind, units, idempotency_key, at, actor, note) "
        "values (%s, 1, 'correction', %s, 'tests', now(), 'tests', '')",
        [prepaid.tenant_id, given],
        dsn=cluster.dsn,
    )
    query("update account set balance = 40 where tenant_id = %s", [prepaid.tenant_id], dsn=cluster.dsn)
    answers = pool.map(lambda machine: cluster.ask(prepaid, "GET", machine, "a"), everywhere(90))
    assert Counter(answer.status_code for answer in answers) == {200: 40, 402: 50}
    assert query("select balance from account where tenant_id = %s", [prepaid.tenant_id], dsn=cluster.dsn) == [(0,)]
    assert discrepancies(prepaid.tenant_id, dsn=cluster.dsn) == []


def test_a_revoked_key_is_refused_by_all(cluster: Cluster) -> None:
    revoked = cluster.keys["revoked"]
    assert [cluster.ask(revoked, "GET", each, "a").status_code for each in SERVERS] == [200] * 3
    query("update api_key set revoked_at = now() where id = %s", [revoked.api_key_id], dsn=cluster.dsn)
    assert [cluster.ask(revoked, "GET", each, "a").status_code for each in SERVERS] == [401] * 3


def test_a_slow_link_is_served(cluster: Cluster, key: Key) -> None:
    try:
        with cluster.network.slow("two", BACK, 5):
            for number in range(5):
                assert cluster.ask(key, "PUT", "two", f"slow-{number}", b"value").status_code == 201
                assert cluster.ask(key, "GET", "two", f"slow-{number}").json()["hit"] is True
    except Unsupported as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("seed", range(scaled(1, 20)))
def test_a_server_cut_off_from_the_database_refuses_and_the_others_serve(cluster: Cluster, key: Key, seed: int) -> None:
    """Under load, without either end being told. Afterwards what was answered is what is there, and all adds up."""

    def status(machine: str) -> int:
        return cluster.ask(cluster.keys["watching"], "GET", machine, "absent").status_code  # which is not in the books

    books = Books(key.tenant_id, dsn=cluster.dsn)
    urls = list(cluster.urls.values())
    load = Load(
        lambda: urls,
        [key.token],
        books,
        clients=CLIENTS,
        seed=f"cut-{seed}",
        refunded_503=True,
    )
    with load:
        load.wait_for(40, *ANSWERED)
        with cluster.network.cut("one", BACK):
            wait_for(lambda: status("one") == 503, 30, "the one that is cut off refuses")
            load.wait_for(40, *ANSWERED)
            assert [status(machine) for machine in ("two", "three")] == [200, 200]
        wait_for(lambda: status("one") == 200, 60, "it serves again")
        load.wait_for(40, *ANSWERED)
    assert books.statuses[LOST] == 0
    assert books.wrong == []
    with suppress(AssertionError):  # what was in doubt may take a moment to be put right
        wait_for(lambda: books.deviations() == [], 20, "all adds up")
    assert books.deviations() == []
