"""Disk per entry, and memory and connections per process, for docs/deploy/sizing.md: `python -m bench.footprint`.

Entries are written through the API, as clients write them: in batches,
under keys that are hashes (64 bytes), so that the indexes fill in random order.
"""

import argparse
import hashlib
import http.client
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg

from bench.entries import BATCH, LOADERS, new_value
from bench.service import HOST, Owner, Service, new_owner, running_database, running_service
from tests.processes import ROOT, descendants

TABLES = ("entry", "entry_stats")
STILL_SECONDS = 20
ALONE = 3_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="footprint-") as directory, running_database(Path(directory)) as dsn:
        owner = new_owner("footprint")
        with running_service(dsn, owner) as service, psycopg.connect(dsn, autocommit=True) as database:
            _say("server before, MB", _megabytes(service.process_id))
            _measure_entries(service, database, owner, options.entries)
            _say("server after, MB", _megabytes(service.process_id))
            rows = database.execute(
                "select application_name, count(*) from pg_stat_activity "
                "where backend_type = 'client backend' and pid <> pg_backend_pid() group by 1 order by 1"
            ).fetchall()
            _say("connections of a server process", sum(count for _, count in rows))
            for name, count in rows:
                _say(f"  {name or 'Django'}", count)
            _say("a backend of PostgreSQL, private MB, mean", _backends(database))
        for process in ("worker", "beat"):
            _say(f"{process}, MB", _command_megabytes(process))


def _measure_entries(service: Service, database: psycopg.Connection, owner: Owner, count: int) -> None:
    before = _sizes(database)
    began = time.monotonic()
    _send(service, ({"op": "put", "key": _key(number), "ttl": 86400} for number in range(count)), with_values=True)
    _say("entries", count)
    _say("  written per second", count / (time.monotonic() - began))
    database.execute("vacuum analyze")
    after = _sizes(database)
    sealed = database.execute("select avg(octet_length(value)), avg(size) from entry").fetchone()
    assert sealed is not None
    _say("  value as sent, sealed: bytes", *map(float, sealed[::-1]))
    for name in after:
        _say(f"  {name}: bytes per entry", (after[name] - before[name]) / count)
    hits = min(count, 50_000)
    _send(service, ({"op": "get", "key": _key(number)} for number in range(hits)), with_values=False)
    _manage("rollup")
    database.execute("vacuum analyze")
    hit = _sizes(database)
    _say("entry_stats: bytes per entry that was hit", sum(hit[n] - after[n] for n in hit if "stats" in n) / hits)
    _measure_receipts(service, database)
    tagged = min(count, 20_000)
    tags = (
        {"op": "put", "key": f"t{_key(n)}", "ttl": 60, "tags": [f"model-{n % 7}", f"user-{n % 997}"]}
        for n in range(tagged)
    )
    _send(service, tags, with_values=True)
    database.execute("vacuum analyze")
    _say(
        "entry_tags: bytes per entry with two tags",
        (_sizes(database)["index entry_tags"] - hit["index entry_tags"]) / tagged,
    )


def _measure_receipts(service: Service, database: psycopg.Connection) -> None:
    """Of hits that come alone: each has a receipt of its own then. At full load many share one."""
    size = (
        "select sum(pg_total_relation_size(relid)) from (select 'receipt'::regclass as relid "
        "union select relid from pg_partition_tree('receipt')) as parts"
    )
    [(before,)] = database.execute(size)
    for number in range(ALONE):
        service.get(f"/api/v1/cache/{_key(number)}")
    [(after,)] = database.execute(size)
    _say("receipts: bytes per hit that came alone", (after - before) / ALONE)


def _key(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def _send(service: Service, operations: Iterator[dict[str, object]], *, with_values: bool) -> None:
    """In batches over a few connections."""

    def send(batch: Sequence[dict[str, object]]) -> None:
        texts = []
        for operation in batch:
            text = json.dumps(operation).encode()
            texts.append(text[:-1] + b',"value":%s}' % new_value() if with_values else text)
        connection = http.client.HTTPConnection(HOST, service.port, timeout=120)
        headers = {"Authorization": f"Bearer {service.token}", "Content-Type": "application/json"}
        for _ in range(20):
            connection.request("POST", "/api/v1/batch", b'{"operations":[%s]}' % b",".join(texts), headers)
            answer = json.loads(connection.getresponse().read())
            statuses = [result["status"] for result in answer.get("results", [{"status": 503}])]
            texts = (
                [text for text, status in zip(texts, statuses, strict=True) if status == 503]
                if len(statuses) > 1
                else texts
            )
            if all(status < 300 for status in statuses):
                break
            time.sleep(0.2)
        else:
            raise SystemExit(f"a busy machine: {answer}")
        connection.close()

    listed = list(operations)
    with ThreadPoolExecutor(LOADERS) as pool:
        list(pool.map(send, [listed[first : first + BATCH] for first in range(0, len(listed), BATCH)]))


def _sizes(database: psycopg.Connection) -> dict[str, int]:
    """Bytes of the tables (with what is stored out of line) and of each of their indexes."""
    found = {}
    for table in TABLES:
        for name, size in database.execute(
            "select 'table ' || relname, pg_table_size(oid) from pg_class where relname = %(table)s union all "
            "select 'index ' || indexrelid::regclass, pg_relation_size(indexrelid) from pg_index "
            "where indrelid = %(table)s::regclass",
            {"table": table},
        ):
            found[name] = size
        total = database.execute("select pg_total_relation_size(%s::regclass)", [table]).fetchone()
        assert total is not None
        found[f"total of {table}"] = total[0]
    return found


def _backends(database: psycopg.Connection) -> float:
    pids = [
        pid for (pid,) in database.execute("select pid from pg_stat_activity where backend_type = 'client backend'")
    ]
    return sum(_field(pid, "smaps_rollup", ("Private_Clean", "Private_Dirty")) for pid in pids) / len(pids) / 1024


def _command_megabytes(process: str) -> float:
    """Of deploy/start's process and its children together, once they grow no more: what they do not share, and their
    shares of what they do."""
    environment = {**os.environ, "CELERY_BROKER_URL": "memory://"}
    quiet = subprocess.DEVNULL
    child = subprocess.Popen([ROOT / "deploy" / "start", process], env=environment, stdout=quiet, stderr=quiet)
    try:
        sizes = [0.0, 1.0]
        while sizes[-1] != sizes[-2]:
            time.sleep(STILL_SECONDS)
            assert child.poll() is None, f"{process} ended"
            sizes.append(
                sum(_field(pid, "smaps_rollup", ("Pss",)) // 1024 for pid in {child.pid, *descendants(child.pid)})
            )
        return sizes[-1]
    finally:
        child.terminate()
        child.wait()


def _megabytes(pid: int) -> float:
    """The resident memory of the server's process that serves, in MB."""
    return max(_field(each, "status", ("VmRSS",)) for each in {pid, *descendants(pid)}) / 1024


def _field(pid: int, file: str, names: Sequence[str]) -> int:
    """KiB of these fields, summed."""
    lines = (line.split() for line in Path(f"/proc/{pid}/{file}").read_text().splitlines())
    return sum(int(words[1]) for words in lines if words and words[0].rstrip(":") in names)


def _manage(*arguments: str) -> None:
    subprocess.run([ROOT / "deploy" / "start", "manage", *arguments], check=True, env=os.environ, capture_output=True)


def _say(what: str, *figures: float) -> None:
    print(f"{what:45}", *(f"{figure:12,.1f}" for figure in figures), flush=True)


if __name__ == "__main__":
    main()
