"""The version before goes on with the new schema, beside the new one: full counts only, for it starts everything twice.

`CACHE_OLD_COMMIT` names the old code; by default it is the last commit that lacks the newest migration.
"""

import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from cacheservice.supervisor import Child, wait_until_ready
from tests.processes import HOST, ROOT, free_port
from tests.runbooks import Installation
from tests.steady_clients import CLIENTS, KEYS, Clients
from tests.store_cast import FULL, scaled

REQUESTS = scaled(500, 1_000)
MIGRATIONS = "*/migrations/[0-9]*.py"

pytestmark = pytest.mark.skipif(not FULL, reason="full counts only: it runs an older commit beside this one")


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def old_commit() -> str:
    if named := os.environ.get("CACHE_OLD_COMMIT"):
        return named
    if git("status", "--porcelain", "--", MIGRATIONS):  # the newest is not committed yet
        return "HEAD"
    return git("log", "-1", "--format=%H", "--", MIGRATIONS).decode().strip() + "~"


def old_code(directory: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(git("archive", old_commit()))) as archive:
        archive.extractall(directory, filter="data")
    return directory


def old_command(here: Installation, old: Path, arguments: Sequence[str]) -> str:
    command = [sys.executable, "manage.py", *arguments]
    done = subprocess.run(command, cwd=old, env=here.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{arguments}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_old_code_works_with_the_new_schema_beside_the_new_code(tmp_path: Path) -> None:
    old = old_code(tmp_path / "old")
    with Installation(tmp_path / "new") as here, ExitStack() as running:
        token = here.new_token()
        here.start_servers(1)
        port = free_port()
        log_path = tmp_path / "old.log"
        say = "import json; from cacheservice.supervisor import server_command; "
        say += f"print(json.dumps(server_command('{HOST}', {port})))"
        command = json.loads(subprocess.check_output([sys.executable, "-c", say], cwd=old))
        child = Child.start("old server", command, log_path=log_path, directory=old, environment=here.environment)
        running.callback(child.stop)
        wait_until_ready(HOST, port, [child], 60)
        old_url = f"http://{HOST}:{port}"

        with Clients(old_url, token, "old-") as older, Clients(here.url, token, "new-") as newer:
            for _ in range(2):
                older.wait_for(REQUESTS // 2)
                newer.wait_for(REQUESTS // 2)
                old_command(here, old, ["rollup"])
                here.manage("rollup")
        assert older.failures + newer.failures == []

        # What one wrote, the other reads, lists, and meters alike.
        headers = {"Authorization": f"Bearer {token}"}
        for url, prefix in ((old_url, "new-"), (here.url, "old-")):
            listed = httpx.get(f"{url}/api/v1/cache", params={"prefix": prefix, "limit": 1000}, headers=headers).json()
            assert len(listed["keys"]) == listed["total"] == CLIENTS * KEYS
            read = {"operations": [{"op": "get", "key": each["key"]} for each in listed["keys"][:256]]}
            answer = httpx.post(f"{url}/api/v1/batch", json=read, headers=headers).json()
            assert all(each["body"]["hit"] for each in answer["results"])
        used = [httpx.get(f"{url}/api/v1/usage", headers=headers).json()["total"] for url in (old_url, here.url)]
        counts = "hits", "misses", "writes", "deletes", "credits"  # stored bytes go on counting
        assert [used[0][name] for name in counts] == [used[1][name] for name in counts]

        for command in (["purge"], ["rollup"], ["close_month"], ["reconcile"]):
            told = old_command(here, old, command), here.manage(*command)
        assert all("everything adds up" in each for each in told)
