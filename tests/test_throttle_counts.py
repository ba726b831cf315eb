"""The counts that throttle signing in: shared, exact when asked at once, and never run as a program."""

import base64
import pickle
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection, connections

from accounts.models import random_id

THREADS = 6


class Planted:
    """What unpickling would run."""

    ran = False

    def __reduce__(self) -> tuple[Any, ...]:
        return (setattr, (Planted, "ran", True))


@pytest.fixture
def key() -> str:
    return f"key-{random_id()}"


def row(key: str) -> str:
    return cache.make_key(key)


@pytest.mark.parametrize("value", [True, [], [1763750000.1234567, 0.1], "text", {"a": None}, 0])
def test_what_is_kept_comes_back(key: str, value: object) -> None:
    assert cache.get(key, "nothing") == "nothing"
    cache.set(key, value, 60)
    assert cache.get(key) == value
    assert key in cache
    assert cache.delete(key)
    assert not cache.delete(key)
    assert cache.get(key) is None


def test_what_json_cannot_say_is_refused(key: str) -> None:
    with pytest.raises(TypeError):
        cache.set(key, {1, 2}, 60)


def test_a_planted_row_is_not_run(key: str) -> None:
    """Django's own cache would have done so."""
    pickled = pickle.dumps(Planted())
    pickle.loads(pickled)
    assert Planted.ran
    Planted.ran = False
    with connection.cursor() as cursor:
        text = base64.b64encode(pickled).decode()
        cursor.execute("insert into django_cache values (%s, %s, now() + interval '1 hour')", [row(key), text])
    with pytest.raises(ValueError, match="Expecting value"):
        cache.get(key)
    assert not Planted.ran
    cache.delete(key)


def test_what_has_expired_is_gone_and_can_be_added_again(key: str) -> None:
    assert cache.add(key, "first", 60)
    assert not cache.add(key, "second", 60)
    assert cache.get(key) == "first"
    cache.set(key, "first", 0)
    assert cache.get(key) is None
    assert not cache.touch(key, 60)
    assert cache.add(key, "second", None)
    assert cache.touch(key, 60)
    assert cache.get(key) == "second"


def test_expired_rows_are_dropped_by_later_writes_and_others_stay(key: str) -> None:
    cache.set(f"{key}-stays", 1, 60)
    for number in range(15):
        cache.set(f"{key}-{number}", number, 0)
    with connection.cursor() as cursor:
        for _ in range(20):  # the tests of others leave some too
            cache.set(key, 1, 60)
        cursor.execute("select count(*) from django_cache where cache_key like %s", [f"{row(key)}-%"])
        assert cursor.fetchone() == (1,)
    assert cache.get(f"{key}-stays") == 1


def test_of_many_at_once_one_adds(key: str) -> None:
    """The locks around the counts are taken so."""
    barrier = Barrier(THREADS)

    def add(number: int) -> bool:
        try:
            barrier.wait(30)
            return cache.add(key, number, 60)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(THREADS) as threads:
        assert sorted(threads.map(add, range(THREADS))) == [False] * (THREADS - 1) + [True]
