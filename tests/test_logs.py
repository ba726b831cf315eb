"""Canaries sent through every error path: no log, error, metric, message, file, table or dump shows a secret."""

import base64
import json
import random
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from psycopg.conninfo import make_conninfo

from cacheservice import embedded
from tests import canary_paths
from tests.canary_paths import MASTER_KEY, Elsewhere
from tests.failing_database import Service, own_service
from tests.processes import wait_for
from tests.store_cast import query

VALUE = "canary-of-the-value-4862"


@dataclass
class Watched:
    """A service whose every answer is kept."""

    service: Service
    client: httpx.Client
    answers: list[httpx.Response]
    elsewhere: Elsewhere
    settings: dict[str, str]
    directory: Path

    def send(self, method: str, path: str, *, expect: int, **options: object) -> httpx.Response:
        answer = self.client.request(method, path, **options)  # type: ignore[arg-type]
        assert answer.status_code == expect, (method, path, answer.status_code, answer.text[:300])
        self.answers.append(answer)
        return answer

    def sql(self, statement: str) -> None:
        query(statement, dsn=self.service.database.dsn())


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    directory = tmp_path_factory.mktemp("logs")
    with canary_paths.elsewhere() as place:
        settings, password = canary_paths.environment(directory, place), canary_paths.PASSWORD_OF_DATABASE
        with own_service(directory, settings, password) as service, httpx.Client(timeout=60) as client:
            client.base_url = httpx.URL(service.server.url)
            client.headers["Authorization"] = f"Bearer {service.token}"
            settings = {**settings, "DATABASE_URL": make_conninfo(service.database.dsn(), password=password)}
            yield Watched(service, client, [], place, settings, directory)


def everything_that_goes_wrong(watched: Watched) -> None:
    send, token = watched.send, watched.service.token
    cache = "/api/v1/cache"
    send("PUT", f"{cache}/key", expect=201, json={"value": VALUE})
    large = base64.b64encode(random.Random(8).randbytes(90_000)).decode()
    send("PUT", f"{cache}/large", expect=201, json={"value": VALUE + large})

    for body in (
        f'{{"value": "{VALUE}"',
        f'{{"value": "{VALUE}", "ttl": 0}}',
        f'{{"value": "{VALUE}\\ud800"}}',
        f'{{"value": "{VALUE}", "tags": 1}}',
        f'"{VALUE}"',
        f'{{"value": {"[" * 20_000}"{VALUE}"}}',
    ):
        headers = {"Content-Type": "application/json"}
        send("PUT", f"{cache}/key", expect=400, content=body, headers=headers)
        send("POST", "/api/v1/batch", expect=400, content=body, headers=headers)
        send("PATCH", f"{cache}/key", expect=400, content=body, headers=headers)
    send("PUT", f"{cache}/key", expect=415, content=VALUE, headers={"Content-Type": VALUE})
    send(
        "PUT",
        f"{cache}/key",
        expect=400,
        content=b"\xff" + VALUE.encode(),
        headers={"Content-Type": "application/json"},
    )
    send("PUT", f"{cache}/key", expect=413, json={"value": VALUE * 600_000})
    send("PUT", f"{cache}/key", expect=412, json={"value": VALUE}, headers={"If-None-Match": "*"})
    operations = [{"op": "put", "key": "key", "value": VALUE, "ttl": -1}, {"op": "frob", "value": VALUE}]
    send("POST", "/api/v1/batch", expect=200, json={"operations": operations})

    for method, path, status in (
        ("GET", "/nowhere", 404),
        ("POST", "/api/v2/anything", 404),
        ("POST", cache, 405),
        ("PUT", "/api/v1/batch", 405),
        ("GET", f"{cache}?limit=none", 400),
        ("GET", f"{cache}?api_key={token}", 400),
        ("GET", f"{cache}/key?token={token}", 400),
        ("DELETE", cache, 400),
        ("GET", f"{cache}/%ff", 400),
        ("GET", f"{cache}?cursor={token}", 400),
    ):
        send(method, path, expect=status)
    for headers in (
        {"Authorization": f"Bearer {token[:-1]}x"},
        {"Authorization": f"Bearer {token}{token}"},
        {"Authorization": f"Basic {token}"},
        {"Authorization": token},
        {"Authorization": f"Bearer {token} {VALUE}"},
    ):
        send("GET", f"{cache}/key", expect=401, headers=headers)
        send("GET", cache, expect=401, headers=headers)

    watched.sql("update entry set value = value || '\\x00'")
    send("GET", f"{cache}/key", expect=500)
    send("GET", f"{cache}/large", expect=500)
    send("POST", "/api/v1/batch", expect=200, json={"operations": [{"op": "get", "key": "key"}]})
    send("PUT", f"{cache}/key", expect=200, json={"value": VALUE})

    watched.sql("alter table entry rename to hidden")
    try:
        send("GET", cache, expect=500)
        send("DELETE", f"{cache}?all=true", expect=500)
        for method in ("GET", "PUT", "DELETE"):
            sent = {"value": VALUE} if method == "PUT" else None
            answer = watched.client.request(method, f"{cache}/key", json=sent)
            watched.answers.append(answer)
            assert answer.status_code in (200, 500, 503)  # what was planned before may go on, what failed does not
    finally:
        watched.sql("alter table hidden rename to entry")

    watched.service.database.stop()
    send("GET", f"{cache}/key", expect=503)
    send("GET", f"{cache}/large", expect=503)
    send("PUT", f"{cache}/key", expect=503, json={"value": VALUE})
    send("GET", cache, expect=503)
    send("DELETE", f"{cache}?all=true", expect=503)
    send("POST", "/api/v1/batch", expect=503, json={"operations": operations})
    send("GET", "/readyz", expect=503)
    watched.service.database.start()
    wait_for(watched.service.serves, 10, "serving again")
    wait_for(lambda: watched.client.get(cache).status_code == 200, 10, "listing again")


def test_no_secret_is_shown(watched: Watched) -> None:
    token = watched.service.token
    of_people = canary_paths.console_errors(watched.service.server, watched.elsewhere, watched.answers, watched.sql)
    canary_paths.gateway_errors(watched.client, watched.elsewhere, watched.answers)
    said = canary_paths.send_tasks(watched.settings)
    everything_that_goes_wrong(watched)
    metrics = canary_paths.metrics_errors(watched.client, watched.answers)
    log = watched.service.server.log_path.read_bytes()
    for event in (b"request_failed", b"entry_does_not_open", b"database_unreachable", b"email_not_sent"):
        assert event in log  # the paths were taken, and are told
    shown = {
        "the server's log": log,
        "PostgreSQL's log": watched.service.database.log_path.read_bytes(),
        "the errors": b"\n".join(
            str([pair for pair in answer.headers.multi_items() if pair[0] != "set-cookie"]).encode() + answer.content
            for answer in watched.answers
            if answer.status_code >= 400 or b'"error"' in answer.content
        ),
        "the tables": tables(watched),
        "a dump": dump(watched),
        "the metrics": metrics,
        "a task's log": said,
        "the broker's and temporary files": canary_paths.files(
            watched.directory / "data", watched.directory / "temporary"
        ),
    }
    secrets = {
        "token": token,
        "secret": token.rpartition("_")[2],
        "value": VALUE,
        "master key": MASTER_KEY,
        **canary_paths.CANARIES,
        **of_people,
    }
    found = [
        (name, place)
        for place, content in shown.items()
        for name, secret in secrets.items()
        for form in forms(secret)
        if form in content and not (name.startswith("the id of") and place in SESSIONS)
    ]
    assert found == []
    assert all(len(content) > 100 for content in shown.values())


# A session is found by its id, which lies in its row: the database's readers are trusted with that.
SESSIONS = ("the tables", "a dump")


def dump(watched: Watched) -> bytes:
    command = [str(embedded.binary("pg_dump")), "--dbname", watched.service.database.dsn()]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def forms(secret: str) -> list[bytes]:
    """As text, as PostgreSQL prints bytes, and in base 64; a master key's bytes too."""
    raw = [secret.encode()]
    if secret == MASTER_KEY:
        raw.append(base64.b64decode(secret))
    return [form for each in raw for form in (each, each.hex().encode(), base64.b64encode(each).rstrip(b"="))]


def tables(watched: Watched) -> bytes:
    """Every row of every table, as a dump would show it."""
    dsn = watched.service.database.dsn()
    names = query("select format('%%I.%%I', schemaname, tablename) from pg_tables where schemaname = 'public'", dsn=dsn)
    assert ("public.api_key",) in names
    rows = [row for (name,) in names for (row,) in query(f"select t::text from {name} t", dsn=dsn)]
    return "\n".join(rows).encode()


def test_every_line_of_the_log_is_json(watched: Watched) -> None:
    watched.send("GET", "/api/v1/cache/absent", expect=200)
    watched.send("GET", "/api/v1/cache", expect=401, headers={"Authorization": "Bearer none"})
    lines = watched.service.server.log_path.read_text().splitlines()
    assert len(lines) > 2
    ours = [json.loads(line) for line in lines]
    for line in ours:
        assert {"event", "level", "logger", "timestamp"} <= line.keys()
    assert "request" in {line["event"] for line in ours}
    unopened = [line for line in ours if line["event"] == "entry_does_not_open"]
    assert all(line["request_id"] for line in unopened), "logged deep inside, where nobody hands the id on"
