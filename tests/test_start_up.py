"""What a server has done by the time it says that it is ready: the first requests find it as fast as the next."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, descendants
from tests.servers import environment_here, own_server

# Starts as granian starts it, then prices a call and asks Django for something: prints what that had to import.
FIRST_REQUESTS = """
import asyncio, gc, sys
from cacheservice.asgi import application
from gateway import pricing
from gateway.apis.base import Usage

async def main():
    told, messages, body = asyncio.Queue(), asyncio.Queue(), asyncio.Queue()
    await messages.put({"type": "lifespan.startup"})
    server = asyncio.create_task(application({"type": "lifespan"}, messages.get, told.put))
    assert (await told.get())["type"] == "lifespan.startup.complete"
    before, objects = set(sys.modules), len(gc.get_objects())
    assert pricing.price("openai", "gpt-4o-mini", Usage(input_tokens=1_000_000), None) > 0
    await body.put({"type": "http.request", "body": b"", "more_body": False})
    await application(REQUEST, body.get, told.put)
    assert (await told.get())["status"] == 401
    await told.get()
    await messages.put({"type": "lifespan.shutdown"})
    assert (await told.get())["type"] == "lifespan.shutdown.complete"
    print(objects, *sorted(name for name in set(sys.modules) - before if not name.startswith("encodings.")))
    server.cancel()

REQUEST = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "scheme": "http",
    "path": "/api/v1/account", "raw_path": b"/api/v1/account", "query_string": b"", "root_path": "",
    "headers": [(b"host", b"127.0.0.1")], "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "state": {},
}
asyncio.run(main())
"""


def test_first_requests_import_little_and_leave_garbage_collections_short() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FIRST_REQUESTS],
        cwd=ROOT,
        env=environment_here(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    objects, *imported = done.stdout.split()
    assert len(imported) < 20, imported  # of which there were hundreds
    assert int(objects) < 20_000  # that a full collection walks: with what is imported later it was 60,000


@pytest.mark.skipif(sys.platform != "linux", reason="the policies are Linux's")
def test_threads_of_a_server_let_others_finish_when_they_wake_up(committed_db: None, tmp_path: Path) -> None:
    with own_server(tmp_path) as server:
        threads = [
            (pid, (task / "comm").read_text().strip(), os.sched_getscheduler(int(task.name)))
            for pid in descendants(server.process.pid)
            for task in Path(f"/proc/{pid}/task").iterdir()
        ]
        workers = {pid for pid, name, _ in threads if name == "tokio-rt-worker"}
        mains = {os.sched_getscheduler(pid) for pid in workers}
    assert mains == {policy for _, name, policy in threads if name == "tokio-rt-worker"} == {os.SCHED_BATCH}, threads
