"""`python -m bench`: measure the server on this machine, beside pgbench on the same PostgreSQL.

Everything runs on 127.0.0.1 and in a temporary directory, and ends with the run. `synchronous_commit` and `fsync` are
on. See docs/performance.md.
"""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench import aims, clients, console, entries, gateway, metering, purging, report, sizes, throughput, variants, wrk
from bench.measurement import BenchError
from bench.service import (
    Owner,
    new_owner,
    require_linux,
    running_database,
    running_service,
    server_memory,
    setting,
    vacuum,
)
from bench.service import copy_of_database as copied
from bench.throughput import say
from cacheservice.embedded import EmbeddedError
from cacheservice.supervisor import Failed, StopRequested, stop_on_signals

PARTS = ("throughput", "metering", "clients", "gateway", "console", "sizes", "purge")
ON_ENTRIES = {"throughput", "metering", "clients", "purge"}  # of one server with ENTRIES
ENTRIES = 10_000
SIZES = (1_000, 100_000, 1_000_000)
EXPIRED = 1_000_000
LOAD = 0.30  # of the capacity at LOAD_CONNECTIONS, while purging
LOAD_CONNECTIONS = 32


def main() -> int:
    options = _options()
    try:
        require_linux()
        wrk.require_wrk()
        with stop_on_signals():
            _run(options)
    except (BenchError, EmbeddedError, Failed) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except StopRequested:
        return 130
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3, help="length of a run, whole (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each kind, of which the median counts (3)")
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--only", choices=PARTS, action="append", help="a part of it; may be repeated")
    parser.add_argument("--variants", action="store_true", help="compare the server's own settings instead")
    parser.add_argument("--quick", action="store_true", help="one short round, small tables: does it work at all?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    options = parser.parse_args()
    options.sizes, options.expired = SIZES, EXPIRED
    if options.quick:
        options.seconds, options.rounds, options.sizes, options.expired = 1, 1, (1_000, 20_000), 50_000
    return options


def _run(options: argparse.Namespace) -> None:
    directory = Path(tempfile.mkdtemp(prefix="cacheservice-bench-"))
    results: dict[str, Any] = {"machine": report.machine()}
    try:
        with running_database(directory) as dsn:
            results["settings"] = {
                name: setting(dsn, name) for name in ("fsync", "synchronous_commit", "server_version")
            }
            print(results["machine"], results["settings"], flush=True)
            owner = new_owner("bench")
            if options.variants:
                _measure_variants(options, dsn, owner, results)
            else:
                _measure_parts(options, dsn, owner, results)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        if options.json is not None:
            report.write_json(options.json, results)


def _measure_parts(options: argparse.Namespace, template: str, owner: Owner, results: dict[str, Any]) -> None:
    results["aims"] = []
    try:
        _measure_all(options, template, owner, results)
    finally:  # of what was measured before something failed, too
        report.aims(results["aims"])


def _measure_all(options: argparse.Namespace, template: str, owner: Owner, results: dict[str, Any]) -> None:
    parts, reached = options.only or PARTS, results["aims"]
    if ON_ENTRIES & set(parts):
        _measure_on_entries(options, template, owner, results)
    if "gateway" in parts:
        results["gateway"] = through = gateway.measure(template, owner, options.seconds, options.rounds)
        report.gateway(through)
        reached += aims.of_gateway(through)
    if "console" in parts:
        results["console"] = pages = console.measure(template, owner, options.sizes[-1])
        reached += aims.of_console(pages)
    if "sizes" in parts:
        results["sizes"] = by_size = sizes.measure(template, owner, options.sizes, options.seconds, options.rounds)
        report.sizes(by_size)
        reached.append(aims.of_sizes(by_size))


def _measure_on_entries(options: argparse.Namespace, template: str, owner: Owner, results: dict[str, Any]) -> None:
    parts, reached = options.only or PARTS, results["aims"]
    other = new_owner("expired")
    dsn = copied(template, "bench")
    with running_service(dsn, owner) as service:
        say(f"loading {ENTRIES:,} entries")
        entries.write_entries(service, ENTRIES)
        vacuum(dsn)
        wrk.requests_of(service, "hit", LOAD_CONNECTIONS, options.seconds, ENTRIES)  # to warm up
        if "throughput" in parts:
            with running_service(dsn, owner, application="bench.bare:application") as bare:
                results["throughput"] = rows = throughput.measure(
                    service,
                    bare,
                    dsn,
                    owner,
                    connections=options.connections,
                    seconds=options.seconds,
                    rounds=options.rounds,
                    entries=ENTRIES,
                )
            report.throughput(rows)
            results["memory"] = memory = server_memory(service)
            reached += [*aims.of_throughput(rows), aims.of_memory(memory)]
        if "metering" in parts:
            results["metering"] = metered = metering.measure(service, dsn, ENTRIES, options.seconds)
            reached += aims.of_metering(metered)
        if "clients" in parts:
            results["clients"] = used = clients.measure(service, Path(os.environ["CACHE_VAR_DIR"]), options.rounds)
            reached += aims.of_clients(used)
        if "purge" in parts:
            capacity = wrk.requests_of(service, "hit", LOAD_CONNECTIONS, options.seconds, ENTRIES).rate
            results["purge"] = purge = purging.measure(
                service,
                dsn,
                other,
                expired=options.expired,
                rate=LOAD * capacity,
                live=ENTRIES,
                window_seconds=max(4 * options.seconds, 4),
            )
            report.purge(purge)
            reached.append(aims.of_purge(purge))


def _measure_variants(options: argparse.Namespace, template: str, owner: Owner, results: dict[str, Any]) -> None:
    dsn = copied(template, "bench")
    with running_service(dsn, owner) as service:
        entries.write_entries(service, ENTRIES)
    vacuum(dsn)
    connections = [count for count in options.connections if count != 8]
    results["variants"] = rows = variants.measure(
        dsn, owner, connections=connections, seconds=options.seconds, rounds=options.rounds, entries=ENTRIES
    )
    report.variants(rows, connections)


if __name__ == "__main__":
    sys.exit(main())
