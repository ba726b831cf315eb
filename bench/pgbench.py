"""The yardsticks: pgbench reads the same rows, one each by a prepared statement, over the same Unix socket; and it
inserts one small row and commits, which shows what a flush costs here."""

import re
import subprocess
import tempfile
from pathlib import Path

import psycopg

from bench.measurement import BenchError, Measurement, percentile
from cacheservice import embedded

SAMPLING_RATE = 0.05  # of the transactions whose latency is logged; all of them would slow pgbench down
READ = """\\set k random(0, {last})
select value from entry where tenant_id = {tenant_id} and space = 0 and key = 'k' || :k;
"""
INSERT = "insert into bench_row (at) values (now());\n"


def single_row_reads(dsn: str, tenant_id: int, connections: int, seconds: float, entries: int) -> Measurement:
    """Random rows k0 … k<entries-1> of the tenant."""
    return _run(dsn, READ.format(last=entries - 1, tenant_id=tenant_id), connections, seconds)


def single_row_inserts(dsn: str, connections: int, seconds: float) -> Measurement:
    """Each its own transaction, flushed."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("create table if not exists bench_row (at timestamptz)")
    return _run(dsn, INSERT, connections, seconds)


def _run(dsn: str, transaction: str, connections: int, seconds: float) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="pgbench-") as name:
        script, log = Path(name) / "transaction.sql", Path(name) / "log"
        script.write_text(transaction)
        command = [str(embedded.binary("pgbench")), "--no-vacuum", "--protocol=prepared", "--jobs=1"]
        command += [f"--client={connections}", f"--time={seconds:.0f}", f"--file={script}"]
        command += ["--log", f"--log-prefix={log}", f"--sampling-rate={SAMPLING_RATE}", dsn]
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
        rate = re.search(r"^tps = ([0-9.]+)", run.stdout, re.MULTILINE)
        if run.returncode or rate is None or not re.search(r"failed transactions: 0 ", run.stdout):
            raise BenchError(f"pgbench failed: {(run.stderr or run.stdout).strip()[-300:]}")
        latencies = sorted(
            float(line.split()[2]) for path in Path(name).glob("log.*") for line in path.read_text().splitlines()
        )
    return Measurement(float(rate[1]), percentile(latencies, 0.5), percentile(latencies, 0.99))
