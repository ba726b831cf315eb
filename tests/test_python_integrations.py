"""The Python client's integrations and recipes against the real service, with each library's published tests.

cachelib has its tests in its sdist alone, not in the wheel that is installed here: so what they ask for is stated here
anew. Those of cachelib 0.17.0 (tests/common.py, has.py, clear.py, serializer.py) were run by hand against the real
service on 2026-11-22: with pickle 20 of 20 pass, with JSON 11 of 20. The nine others all store one dict that has an
integer for a name, which JSON would bring back as a text, and which is refused on purpose.
"""

import asyncio
import importlib.util
import inspect
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from cachelib.base import BaseCache as CachelibCache
from cachelib.serializers import BaseSerializer
from cacheservice_client import Cache
from cacheservice_client.integrations.cachelib import CacheServiceCache
from cacheservice_client.integrations.dogpile import CacheServiceBackend
from cacheservice_client.integrations.langchain import LLMCache
from dogpile.testing.fixtures import (
    _GenericBackendFixture,
    _GenericBackendTestSuite,
    _GenericMutexTestSuite,
    _GenericSerializerTestSuite,
)
from flask import Flask, Response, abort
from flask_caching import Cache as FlaskCache
from langchain_core.outputs import Generation
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite

from tests.cast import new_caller
from tests.processes import ROOT, RunningServer

PYTHON = ROOT / "clients" / "python"
RECIPES = PYTHON / "recipes"
NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def api_key() -> str:
    return new_caller().token


@pytest.fixture
def client(server: RunningServer, api_key: str) -> Iterator[Cache]:
    """Of a tenant that has nothing else."""
    with Cache(url=server.url, api_key=api_key) as client:
        yield client


def process_environment(server: RunningServer, api_key: str) -> dict[str, str]:
    """In which a process finds the client and the service."""
    return {**os.environ, "PYTHONPATH": str(PYTHON / "src"), "CACHE_URL": server.url, "CACHE_API_KEY": api_key}


# LangChain


class TestLangChain(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, client: Cache) -> LLMCache:
        return LLMCache(client)


@pytest.mark.anyio
class TestLangChainAsync(AsyncCacheTestSuite):
    @pytest.fixture
    def anyio_backend(self) -> str:
        return "asyncio"

    @pytest.fixture
    def cache(self, client: Cache) -> LLMCache:
        return LLMCache(client)


def test_clear_leaves_the_entries_of_others(client: Cache) -> None:
    client.put("mine", 1)
    caches = [LLMCache(client), LLMCache(client, version="v1")]
    for cache in caches:
        cache.update("prompt", "llm", [Generation(text="Hello!")])
    caches[1].clear()
    assert caches[1].lookup("prompt", "llm") is None
    assert caches[0].lookup("prompt", "llm") == [Generation(text="Hello!")]
    asyncio.run(caches[0].aclear())
    assert [entry.key for entry in client.list()] == ["mine"]


# dogpile.cache


class _Dogpile:
    """What dogpile's suites need of a backend. They make it where they stand."""

    backend = "cacheservice"
    config_args: dict[str, Any] = {}

    @classmethod
    def setup_class(cls) -> None:
        """In place of the suite's, which makes a backend before there is a server."""

    @pytest.fixture(autouse=True)
    def _of_a_new_tenant(self, client: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(type(self), "config_args", {"arguments": {"cache": client}})

    def teardown_method(self, method: object) -> None:
        """In place of the suite's, which deletes what it stored: the tenant is the test's own."""


class TestDogpileBackend(_Dogpile, _GenericBackendTestSuite):
    pass


class TestDogpileSerializer(_Dogpile, _GenericSerializerTestSuite, _GenericBackendFixture):
    pass


class TestDogpileMutex(_Dogpile, _GenericMutexTestSuite):
    pass


MAKER = """
import sys, time
from dogpile.cache import make_region
import cacheservice_client.integrations.dogpile

region = make_region().configure("cacheservice", expiration_time=60)

def make():
    print("made", flush=True)
    time.sleep(1)
    return 42

assert region.get_or_create("cold", make) == 42
"""


def test_processes_make_a_dogpile_value_once(server: RunningServer, api_key: str) -> None:
    environment = process_environment(server, api_key)
    makers = [
        subprocess.Popen([sys.executable, "-c", MAKER], env=environment, stdout=subprocess.PIPE) for _ in range(4)
    ]
    outputs = [maker.communicate(timeout=60)[0] for maker in makers]
    assert [maker.returncode for maker in makers] == [0] * 4
    assert sorted(outputs) == [b"", b"", b"", b"made\n"]


def test_a_dogpile_lock_is_handed_over_at_once(client: Cache) -> None:
    first, second = (CacheServiceBackend({"cache": client}).get_mutex("k") for _ in range(2))
    assert first is not None
    assert second is not None
    first.acquire()
    with ThreadPoolExecutor(1) as pool:
        acquired = pool.submit(lambda: (second.acquire(), time.monotonic()))
        time.sleep(0.5)
        assert not acquired.done()
        first.release()
        released_at = time.monotonic()
        assert acquired.result()[1] - released_at < 1.5
    assert first.locked()
    second.release()
    assert not first.locked()
    assert list(client.list()) == []


# cachelib

SAMPLES: dict[str, Any] = {
    "text": "täxt",
    "an empty one": "",
    "number": 2**70,
    "fraction": -1.5,
    "false": False,
    "list": [1, [2, None], {}],
    "dict": {"a": {"b": ["c"]}, "": None},
    "bytes": b"\0\xff",
    "view//path?a=b\n": "a key that is no entry's",
    "k" * 2000: "a long one",
}


@pytest.fixture(params=["json", "pickle"])
def backend(request: pytest.FixtureRequest, client: Cache) -> CacheServiceCache:
    return CacheServiceCache(client, serializer=BaseSerializer() if request.param == "pickle" else None)


def test_cachelib_has_every_method_of_the_base(backend: CacheServiceCache) -> None:
    for name, method in inspect.getmembers(CachelibCache, inspect.isfunction):
        if not name.startswith("_") and name not in ("get_dict",):
            assert getattr(CacheServiceCache, name) is not method, name


def test_cachelib_set_get_delete(backend: CacheServiceCache) -> None:
    for key, value in SAMPLES.items():
        assert not backend.has(key)
        assert backend.get(key) is None
        assert not backend.delete(key)
        assert backend.set(key, value)
        assert backend.has(key)
        assert backend.get(key) == value
        assert type(backend.get(key)) is type(value)
        assert backend.delete(key)
        assert backend.get(key) is None


def test_cachelib_many(backend: CacheServiceCache) -> None:
    assert backend.set_many(SAMPLES) == list(SAMPLES)
    assert backend.get_many(*SAMPLES, "absent") == [*SAMPLES.values(), None]
    assert backend.get_dict(*SAMPLES) == SAMPLES
    assert backend.delete_many(*SAMPLES, "absent") == [*SAMPLES, "absent"]
    assert backend.get_many(*SAMPLES) == [None] * len(SAMPLES)
    assert backend.set_many({}) == backend.get_many() == backend.delete_many() == []


def test_cachelib_none_is_there(backend: CacheServiceCache) -> None:
    backend.set("none", None)
    assert backend.get("none") is None
    assert backend.has("none")


def test_cachelib_add_does_not_replace(backend: CacheServiceCache) -> None:
    assert backend.add("k", "first")
    assert not backend.add("k", "second")
    assert backend.get("k") == "first"


def test_cachelib_clear_leaves_the_entries_of_others(backend: CacheServiceCache, client: Cache) -> None:
    backend.set_many(SAMPLES)
    client.put("mine", 1)
    assert backend.clear()
    assert backend.get_many(*SAMPLES) == [None] * len(SAMPLES)
    assert [entry.key for entry in client.list()] == ["mine"]


def test_cachelib_inc_dec(backend: CacheServiceCache) -> None:
    for number in (0, 1, 7, 10**20):
        assert backend.inc(f"inc {number}", number) == number
        assert backend.dec(f"dec {number}", number) == -number
        assert backend.inc(f"dec {number}") == backend.get(f"dec {number}") == 1 - number


def test_cachelib_increments_are_not_lost(client: Cache) -> None:
    backend = CacheServiceCache(client)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: backend.inc("k"), range(40)))
    assert sorted(result or 0 for result in results) == list(range(1, 41))


def test_cachelib_timeouts(backend: CacheServiceCache, client: Cache) -> None:
    backend.set("short", 1, timeout=1)
    backend.set("never", 1, timeout=0)
    backend.set("default", 1)
    backend.set("counter", 1, timeout=1000)
    backend.inc("counter")
    seconds = {round((entry.expires_at - entry.created_at).total_seconds()) for entry in client.list()}
    assert {1, 300, 31_536_000} < seconds
    assert seconds - {1, 300, 31_536_000} <= {998, 999, 1000}
    time.sleep(1.5)
    assert backend.get("short") is None
    assert not backend.has("short")
    assert backend.get("never") == 1


# Flask-Caching


@contextmanager
def flask_app(url: str, api_key: str) -> Iterator[tuple[Flask, FlaskCache]]:
    app = Flask("app")
    with Cache(url=url, api_key=api_key, on_error="miss", timeout=2) as client:
        app.config["CACHE_TYPE"] = "cacheservice_client.integrations.cachelib.CacheServiceCache"
        app.config["CACHE_ARGS"] = [client]
        app.config["CACHE_OPTIONS"] = {"key_prefix": "app"}
        yield app, FlaskCache(app)


def visits(app: Flask, cache: FlaskCache) -> list[str]:
    """Adds routes. What was made, for as long as it lives."""
    made: list[str] = []

    @app.route("/<name>")
    @cache.cached(query_string=True)
    def view(name: str) -> Any:
        made.append(name)
        if name == "absent":
            abort(404)
        return {"dict": {"name": name}, "response": Response("a response"), "tuple": ("no", 418)}.get(name, name)

    return made


@pytest.mark.parametrize(("name", "times"), [("text", 1), ("dict", 1), ("tuple", 2), ("response", 2), ("absent", 2)])
def test_flask_views(server: RunningServer, api_key: str, name: str, times: int) -> None:
    """What JSON does not bring back as it was is made anew, and is right all the same."""
    with flask_app(server.url, api_key) as (app, cache):
        made = visits(app, cache)
        answers = [app.test_client().get(f"/{name}?a=1") for _ in range(2)]
        assert answers[0].data == answers[1].data
        assert answers[0].status == answers[1].status
        assert made == [name] * times


def test_flask_memoize_and_its_deletion(server: RunningServer, api_key: str) -> None:
    with flask_app(server.url, api_key) as (app, cache), app.app_context():
        made: list[int] = []

        @cache.memoize(timeout=60)
        def double(number: int) -> int:
            made.append(number)
            return 2 * number

        assert [double(2), double(2), double(3)] == [4, 4, 6]
        cache.delete_memoized(double, 2)
        assert [double(2), double(3)] == [4, 6]
        cache.delete_memoized(double)
        assert [double(2), double(3)] == [4, 6]
        assert made == [2, 3, 2, 2, 3]
        assert cache.clear()


def test_flask_serializer(server: RunningServer, api_key: str) -> None:
    with flask_app(server.url, api_key) as (app, _), app.app_context():
        cache = FlaskCache(app, config={"CACHE_SERIALIZER": BaseSerializer})
        made = visits(app, cache)
        answers = [app.test_client().get("/response").data for _ in range(2)]
        assert answers == [b"a response"] * 2
        assert made == ["response"]


def test_flask_without_the_cache() -> None:
    with flask_app(NOBODY, "ck_live_none") as (app, cache):
        made = visits(app, cache)
        assert [app.test_client().get("/text").data for _ in range(2)] == [b"text"] * 2
        assert made == ["text"] * 2


# Recipes


class Upstream:
    """A model behind HTTP on localhost."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        self.status = 200

    @contextmanager
    def running(self) -> Iterator[str]:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                upstream.asked.append(body)
                time.sleep(0.3)
                answer = json.dumps({"description": f"{len(body)} bytes", "content": "A store of answers."}).encode()
                self.send_response(upstream.status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: Any) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
            thread = threading.Thread(target=httpd.serve_forever, args=(0.01,))
            thread.start()
            yield f"http://127.0.0.1:{httpd.server_address[1]}/"
            httpd.shutdown()
            thread.join()


def test_a_picture_under_three_names_is_described_once(server: RunningServer, api_key: str, tmp_path: Path) -> None:
    for name, content in {"a.png": b"picture", "b.png": b"picture", "c.png": b"picture", "d.png": b"other"}.items():
        (tmp_path / name).write_bytes(content)
    upstream = Upstream()
    with upstream.running() as url:
        environment = process_environment(server, api_key) | {"VISION_URL": url}

        def run(*names: str) -> str:
            command = [sys.executable, str(RECIPES / "describe_pictures.py"), *names]
            return subprocess.check_output(command, cwd=tmp_path, env=environment, text=True, timeout=60)

        assert run("a.png", "b.png", "c.png") == "a.png: 7 bytes\nb.png: 7 bytes\nc.png: 7 bytes\n"
        assert run("c.png", "d.png") == "c.png: 7 bytes\nd.png: 5 bytes\n"
        assert upstream.asked == [b"picture", b"other"]
        environment["CACHE_URL"] = NOBODY
        assert run("a.png") == "a.png: 7 bytes\n"


@contextmanager
def flask_recipe(monkeypatch: pytest.MonkeyPatch, **environment: str) -> Iterator[ModuleType]:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    spec = importlib.util.spec_from_file_location("flask_chat", RECIPES / "flask_chat.py")
    assert spec is not None
    assert spec.loader is not None
    recipe = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(recipe)
    try:
        yield recipe
    finally:
        recipe.cache.close()
        recipe.upstream.close()


def test_a_chat_route_asks_its_model_once(server: RunningServer, api_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream()
    body = {"messages": [{"role": "user", "content": "What is a cache?"}]}
    with (
        upstream.running() as url,
        flask_recipe(monkeypatch, CACHE_URL=server.url, CACHE_API_KEY=api_key, CHAT_URL=url) as recipe,
    ):

        def post(body: Any = body) -> tuple[int, Any]:
            answer = recipe.app.test_client().post("/chat", json=body)
            return answer.status_code, answer.get_json(silent=True)

        upstream.status = 500
        assert post() == (502, {"error": "The model does not answer."})
        upstream.status = 200
        upstream.asked.clear()
        with ThreadPoolExecutor(10) as pool:
            answers = list(pool.map(lambda _: post(), range(10)))
        assert {status for status, _ in answers} == {200}
        assert {reply["content"] for _, reply in answers} == {"A store of answers."}
        assert len(upstream.asked) == 1
        assert post({"messages": []})[0] == 400
        (entry,) = recipe.cache.list(tag="chat")
        assert (entry.expires_at - entry.created_at).days == 7


def test_a_chat_route_goes_on_without_the_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    upstream = Upstream()
    with (
        upstream.running() as url,
        flask_recipe(monkeypatch, CACHE_URL=NOBODY, CACHE_API_KEY="ck_live_none", CHAT_URL=url) as recipe,
    ):
        answer = recipe.app.test_client().post("/chat", json={"messages": [{"role": "user", "content": "Hello?"}]})
        assert answer.status_code == 200
