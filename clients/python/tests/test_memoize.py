"""`memoize`: the keys of calls, and functions and coroutines that find their results."""

import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import API_KEY
from fake_service import FakeService

import cacheservice_client
from cacheservice_client import AsyncCache, Cache, content_key
from cacheservice_client.memoize import CallKey


@pytest.fixture
def cache(service: FakeService) -> Any:
    with Cache(url=service.url, api_key=API_KEY) as cache:
        yield cache


def test_a_function_is_called_once_for_the_same_arguments(cache: Cache, service: FakeService) -> None:
    calls = []

    @cache.memoize(ttl=60, tags=["greetings"])
    def greet(name: str, *, times: int = 1) -> str:
        """Greet."""
        calls.append(name)
        return f"Hello {name}! " * times

    assert greet("Ada") == greet(name="Ada") == greet("Ada", times=1) == "Hello Ada! "
    assert greet("Ada", times=2) == "Hello Ada! Hello Ada! "
    assert greet("Bob") == "Hello Bob! "
    assert calls == ["Ada", "Ada", "Bob"]
    assert greet.cache_key("Ada") == greet.cache_key(name="Ada", times=1) in service.entries
    assert greet.invalidate("Ada")
    assert not greet.invalidate("Ada")
    assert greet("Ada") == "Hello Ada! "
    assert calls == ["Ada", "Ada", "Bob", "Ada"]
    assert greet.__doc__ == "Greet."
    assert list(inspect.signature(greet).parameters) == ["name", "times"]
    assert {received.body[-30:] for received in service.received if received.method == "PUT"} == {
        b',"ttl":60,"tags":["greetings"]}'[-30:]
    }


def test_a_coroutine_function(service: FakeService) -> None:
    calls = []

    async def use() -> None:
        async with AsyncCache(url=service.url, api_key=API_KEY) as cache:

            @cache.memoize()
            async def square(number: int) -> int:
                calls.append(number)
                await asyncio.sleep(0.1)
                return number * number

            assert await asyncio.gather(*[square(3)] * 20, square(4)) == [9] * 20 + [16]
            assert await square.invalidate(3)
            assert not await square.invalidate(3)
            assert await square(3) == 9
            assert inspect.iscoroutinefunction(square)

    asyncio.run(use())
    assert sorted(calls) == [3, 3, 4]


def test_none_is_a_result_like_another(cache: Cache) -> None:
    calls = []

    @cache.memoize()
    def nothing() -> None:
        calls.append(1)

    assert nothing() is None
    assert nothing() is None
    assert len(calls) == 1


def test_a_key_of_ones_own(cache: Cache, tmp_path: Path) -> None:
    calls = []

    @cache.memoize(key=lambda picture: content_key(picture))
    def describe(picture: Path) -> str:
        calls.append(picture)
        return "a cat"

    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for path in paths:
        path.write_bytes(b"\x89PNG")
    assert [describe(path) for path in paths] == ["a cat"] * 3
    assert len(calls) == 1
    assert describe.cache_key(paths[0]).endswith(content_key(b"\x89PNG"))


def test_methods(cache: Cache) -> None:
    class Model:
        calls = 0

        @cache.memoize(key=lambda self, prompt: prompt)
        def ask(self, prompt: str) -> str:
            self.calls += 1
            return prompt.upper()

    model = Model()
    assert model.ask("a") == model.ask("a") == "A"
    assert model.calls == 1
    assert Model.ask.invalidate(model, "a")


def key_of(function: Any, *args: Any, version: Any = None, **kwargs: Any) -> str:
    return CallKey(function, None, version)(*args, **kwargs)


def example(first: Any, *more: Any, **named: Any) -> None: ...


def test_keys_differ_by_what_a_result_depends_on() -> None:
    keys = [
        key_of(example, 1),
        key_of(example, "1"),
        key_of(example, 1, 2),
        key_of(example, [1, 2]),
        key_of(example, 1, first_2=2),
        key_of(example, b"1"),
        key_of(example, content_key(b"1")),
        key_of(example, None),
        key_of(example, 2**60),
        key_of(example, 2**60 + 1),
        key_of(example, 1, version=2),
        key_of(example, 1, version="gpt-4.1"),
        key_of(key_of, 1),
    ]
    assert len(set(keys)) == len(keys)
    assert key_of(example, {"a": 1, "b": 2}) == key_of(example, {"b": 2, "a": 1})
    assert key_of(example, 1, version=2) == key_of(example, 1, version="2")
    assert key_of(example, 1).startswith("memo:test_memoize.example:")
    assert key_of(example, 1, version=2).startswith("memo:test_memoize.example:2:")


@pytest.mark.parametrize("argument", [object(), {1: 2}, {1, 2}, float("nan"), "\ud800", Path("a")])
def test_arguments_that_make_no_key(argument: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=r"example: argument 'first': .*; or give memoize a key="):
        key_of(example, argument)


def test_functions_that_cannot_be_memoized(cache: Cache) -> None:
    async def coroutine() -> None: ...

    def generator() -> Any:
        yield 1

    async def asynchronous_generator() -> Any:
        yield 1

    functions: list[Any] = [coroutine, generator, asynchronous_generator, lambda: 1]
    for function in functions:
        with pytest.raises(TypeError, match="memoize: "):
            cache.memoize()(function)
    asynchronous = AsyncCache(url="http://localhost", api_key=API_KEY)
    others: list[Any] = [generator, asynchronous_generator, example, lambda: 1]
    for other in others:
        with pytest.raises(TypeError, match="memoize: "):
            asynchronous.memoize()(other)


def test_scripts_have_keys_of_their_own(tmp_path: Path) -> None:
    code = (
        "from cacheservice_client.memoize import CallKey\ndef f(): ...\nprint(CallKey(f, None, None)().split(':')[1])\n"
    )
    (tmp_path / "package").mkdir()
    names = ["one.py", "two.py", "package/__main__.py"]
    for name in names:
        (tmp_path / name).write_text(code)
    commands: list[list[Any]] = [[tmp_path / "one.py"], [tmp_path / "two.py"], ["-m", "package"], ["-c", code]]
    environment = {**os.environ, "PYTHONPATH": str(Path(cacheservice_client.__file__).parent.parent)}
    printed = [
        subprocess.run([sys.executable, *command], cwd=tmp_path, env=environment, check=True, stdout=subprocess.PIPE)
        for command in commands
    ]
    assert [done.stdout.decode().strip() for done in printed] == ["one.f", "two.f", "package.__main__.f", "__main__.f"]
