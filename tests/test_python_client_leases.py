"""The Python client's `get_or_create` against the real service's leases, in real processes; and its README."""

import asyncio
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cacheservice_client import AsyncCache, Cache, Miss
from cacheservice_client.filling import RELEASE_SECONDS

from billing.limits import set_tenant_limits
from tests.cast import new_caller, new_key, new_tenant
from tests.processes import ROOT, RunningServer

README = ROOT / "clients" / "python" / "README.md"
PAGE = ROOT / "docs" / "clients" / "python.md"

# A process of many threads that want one key at once. It prints when each had the value, and when it made it itself.
CALLERS = """
import json, sys, threading, time
from concurrent.futures import ThreadPoolExecutor
from cacheservice_client import Cache

url, api_key, threads, start = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
made_at = []
cache = Cache(url=url, api_key=api_key)

def make():
    time.sleep(1)
    made_at.append(time.time())
    return {"made": True}

def call(_):
    assert cache.get_or_create("cold", make) == {"made": True}
    return time.time()

cache.get("warm")
time.sleep(max(0, start - time.time()))
with ThreadPoolExecutor(threads) as pool:
    print(json.dumps({"made_at": made_at, "had_at": list(pool.map(call, range(threads)))}))
"""

HOLDER = """
import sys, time
from cacheservice_client import Cache

print(bool(Cache(url=sys.argv[1], api_key=sys.argv[2]).get("k", lease=int(sys.argv[3])).lease), flush=True)
time.sleep(60)
"""

HOLDERS_LEASE_SECONDS = 2
FOLLOWED_SECONDS = 1  # after a lease's end or return, in which who waits has the next one
FAILING_SECONDS = 0.5
NOISE_SECONDS = 1  # of a machine that has other work


@pytest.fixture
def api_key() -> str:
    return new_caller().token


@pytest.fixture
def cache(server: RunningServer, api_key: str) -> Iterator[Cache]:
    with Cache(url=server.url, api_key=api_key) as cache:
        yield cache


def python(code: str, *arguments: object) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "clients" / "python" / "src")}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def test_callers_in_many_processes_make_one_value(server: RunningServer, api_key: str) -> None:
    start = time.time() + 5
    processes = [python(CALLERS, server.url, api_key, 25, start) for _ in range(4)]
    outcomes: list[dict[str, list[float]]] = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    made_at = [made for outcome in outcomes for made in outcome["made_at"]]
    had_at = [had for outcome in outcomes for had in outcome["had_at"]]
    assert len(made_at) == 1
    assert len(had_at) == 100
    assert max(had_at) - made_at[0] < 1


def test_a_holder_that_is_killed_is_followed_when_its_lease_ends(
    server: RunningServer, api_key: str, cache: Cache
) -> None:
    with python(HOLDER, server.url, api_key, HOLDERS_LEASE_SECONDS) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "True\n"
        held_at = time.monotonic()
        holder.kill()
        assert cache.get_or_create("k", lambda: "mine") == "mine"
        followed_after = time.monotonic() - held_at
        assert followed_after > HOLDERS_LEASE_SECONDS - NOISE_SECONDS
        assert followed_after < HOLDERS_LEASE_SECONDS + FOLLOWED_SECONDS + NOISE_SECONDS
    assert cache.get("k")


def test_an_error_of_make_gives_the_lease_to_another_client(server: RunningServer, api_key: str, cache: Cache) -> None:
    begun = threading.Event()

    def fail() -> str:
        begun.set()
        time.sleep(FAILING_SECONDS)
        raise RuntimeError("the model is out")

    def first() -> None:
        with pytest.raises(RuntimeError), Cache(url=server.url, api_key=api_key) as other:
            other.get_or_create("k", fail, lease=60)

    failing = threading.Thread(target=first)
    failing.start()
    begun.wait(10)
    began_at = time.monotonic()
    assert cache.get_or_create("k", lambda: "made") == "made"
    assert time.monotonic() - began_at < FAILING_SECONDS + FOLLOWED_SECONDS + NOISE_SECONDS
    failing.join()


def test_a_waiter_that_is_cancelled_takes_no_lease_with_it(server: RunningServer, api_key: str) -> None:
    """Neither while its request goes on for a moment (`RELEASE_SECONDS`), nor when that has been cut off."""

    async def make() -> str:
        raise AssertionError("it was cancelled before")

    async def made() -> str:
        return "made"

    async def main(seconds: float) -> None:
        key = f"after {seconds}"
        async with (
            AsyncCache(url=server.url, api_key=api_key) as holder,
            AsyncCache(url=server.url, api_key=api_key) as leaving,
        ):
            held = await holder.get(key, lease=60)
            assert isinstance(held, Miss)
            waiting = asyncio.create_task(leaving.get_or_create(key, make))
            await asyncio.sleep(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await asyncio.sleep(seconds)
            await holder.release(key, str(held.lease))
            began_at = time.monotonic()
            assert await holder.get_or_create(key, made) == "made"
            assert time.monotonic() - began_at < FOLLOWED_SECONDS + NOISE_SECONDS

    for seconds in (0.1, RELEASE_SECONDS + 0.5):
        asyncio.run(main(seconds))


@pytest.mark.parametrize("delete", [lambda cache: cache.delete("k"), lambda cache: cache.clear(all=True)])
def test_a_delete_during_a_fill_wins(cache: Cache, delete: Any) -> None:
    def make() -> str:
        delete(cache)
        return "stale"

    assert cache.get_or_create("k", make) == "stale"
    assert cache.get("k") == Miss()


def test_a_value_that_is_made_too_late_is_not_stored(cache: Cache) -> None:
    def make() -> str:
        time.sleep(1.5)
        return "late"

    assert cache.get_or_create("k", make, lease=1) == "late"
    assert cache.get("k") == Miss()


def test_bytes_fill_a_lease(cache: Cache) -> None:
    for _ in range(2):
        assert cache.get_or_create("k", lambda: b"\x89PNG", content_type="image/png") == b"\x89PNG"


def test_the_lease_protocol_by_hand(cache: Cache) -> None:
    first, second = cache.get("k", lease=30), cache.get("k", lease=30)
    assert isinstance(first, Miss)
    assert first.lease
    assert second == Miss()
    assert cache.get("k", lease=30, wait=1) == Miss()
    cache.release("k", first.lease)
    third = cache.get("k", lease=30)
    assert isinstance(third, Miss)
    assert third.lease
    assert cache.put("k", 1, lease=third.lease)
    assert cache.get("k", lease=30)


def test_the_readme_works(
    server: RunningServer, api_key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACHE_URL", server.url)
    monkeypatch.setenv("CACHE_API_KEY", api_key)
    namespace = ran(README, "readme", blocks=9)
    assert namespace["reply"] == {"role": "assistant", "content": "…"}
    assert namespace["describe"].cache_key(Path(__file__)).startswith("memo:readme.describe:content:")
    assert (namespace["stored"].key, namespace["hit"].value, namespace["deleted"]) == ("a", 1, True)
    printed = capsys.readouterr().out
    assert re.match(r"Hello! \d ", printed)  # and its age, in whole seconds
    assert "cat.png" in printed
    assert "memo:readme.translate:" in printed


def test_the_page_works(
    server: RunningServer, api_key: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CACHE_URL", server.url)
    monkeypatch.setenv("CACHE_API_KEY", api_key)
    namespace = ran(PAGE, "page", blocks=13)
    assert namespace["reply"] == {"role": "assistant", "content": "…"}
    assert namespace["describe"].cache_key(PAGE).startswith("memo:page.describe:content:")
    assert (namespace["stored"].key, namespace["hit"].value) == ("greeting", {"content": "Hello!"})
    assert (namespace["made"].key, namespace["got"].value, namespace["gone"]) == ("a", [1, 2], True)
    printed = capsys.readouterr().out
    assert "greeting 20 ('greetings', 'common')" in printed
    assert "memo:page.translate:" in printed
    assert "No answer from http://localhost:4" in printed


def ran(page: Path, name: str, blocks: int) -> dict[str, Any]:
    """The names after the page's examples, as a module of this name; without those of integrations, which need others'
    applications around them."""
    examples = re.findall(r"```python\n(.*?)```", page.read_text().partition("## Integrations")[0], re.DOTALL)
    assert len(examples) == blocks
    namespace: dict[str, Any] = {"__name__": name}
    for example in examples:
        exec(compile(example, str(page), "exec"), namespace)
    namespace["cache"].close()
    return namespace


def test_a_value_over_the_quota_holds_nobody_up(server: RunningServer) -> None:
    """The lease of a refused fill is given back, which takes no more than the scope `write`."""
    tenant = new_tenant()
    set_tenant_limits(tenant, storage_quota=10, actor="tests")
    token = new_key(tenant, ["read", "write"]).token
    began = time.monotonic()
    with Cache(url=server.url, api_key=token, on_error="miss") as cache:
        for number in range(3):
            made = f"{number}: more than ten bytes"
            assert cache.get_or_create("k", lambda made=made: made) == made  # type: ignore[misc]
    assert time.monotonic() - began < 20
