"""on_error="miss": a cache that is out never takes the application down, nor slows it much."""

import logging
import time
from typing import Any

import pytest
from conftest import API_KEY, NewCache
from fake_service import Answer, FakeService, error

from cacheservice_client import Delete, Get, InvalidRequest, Miss, PreconditionFailed, Put, Unreachable
from cacheservice_client.circuit import Circuit

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def dead(new_cache: NewCache) -> Any:
    return new_cache(url=NOBODY, on_error="miss")


def test_calls_for_entries_go_on(dead: Any) -> None:
    assert dead.get("k") == Miss()
    assert dead.put("k", 1) is None
    assert dead.touch("k", ttl=1) is None
    assert dead.delete("k") is False
    assert dead.release("k", "token") is None
    assert dead.batch([Get("k"), Put("k", 1), Delete("k")]) == [Miss(), None, False]
    assert dead.get_or_create("k", lambda: "made") == "made"


def test_calls_that_ask_for_an_answer_raise(dead: Any) -> None:
    for call in (lambda: list(dead.list()), lambda: dead.clear(all=True), dead.usage):
        with pytest.raises(Unreachable):
            call()


@pytest.mark.parametrize(
    "answer",
    [
        error(401, "invalid_api_key"),
        error(402, "insufficient_credits"),
        error(402, "storage_quota_exceeded"),
        error(403, "forbidden"),
        error(413, "value_too_large"),
        error(429, "rate_limit_exceeded", retry_after="60"),
        error(500, "internal_error"),
        error(503, "unavailable", retry_after="60"),
        Answer(200, b"<html>"),
    ],
    ids=lambda answer: str(answer.status),
)
def test_what_can_befall_a_running_application_is_a_miss(
    new_cache: NewCache, service: FakeService, answer: Answer
) -> None:
    service.next_answers.append(answer)
    cache = new_cache(on_error="miss", retries=0)
    assert cache.get_or_create("k", lambda: "made") == "made"
    assert "k" not in service.entries


def test_a_fill_that_fails_loses_no_value(new_cache: NewCache, service: FakeService) -> None:
    def make() -> str:
        service.next_answers.append(error(402, "storage_quota_exceeded"))
        return "made"

    assert new_cache(on_error="miss").get_or_create("k", make) == "made"


def test_mistakes_and_answers_are_no_outage(new_cache: NewCache, service: FakeService) -> None:
    cache = new_cache(on_error="miss")
    service.next_answers.append(error(400, "invalid_request"))
    with pytest.raises(InvalidRequest):
        cache.get("")
    service.next_answers.append(error(412, "precondition_failed"))
    with pytest.raises(PreconditionFailed):
        cache.put("k", 1, if_absent=True)
    with pytest.raises(TypeError):
        cache.put("k", object())


def test_a_hanging_cache_costs_one_call_its_timeout(new_cache: NewCache, service: FakeService) -> None:
    service.next_answers += [Answer(503, b"", after_seconds=3)] * 100
    cache = new_cache(on_error="miss", timeout=0.3)
    began = time.monotonic()
    assert cache.get_or_create("k", lambda: "made") == "made"
    assert 0.25 < time.monotonic() - began < 0.6
    for _ in range(300):
        assert not cache.get("k")
    assert time.monotonic() - began < 1
    assert len(service.received) == 1


def test_a_cache_that_is_back_is_used_again(new_cache: NewCache, service: FakeService) -> None:
    cache = new_cache(on_error="miss", retries=0)
    cache.put("k", 1)
    service.next_answers.append(error(503, "unavailable"))
    assert not cache.get("k")
    assert not cache.get("k")  # not tried
    time.sleep(1.1)
    assert cache.get("k").value == 1
    assert cache.get("k").value == 1
    assert len(service.received) == 4


def test_the_log_tells_it_once_and_without_secrets(dead: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for _ in range(50):
            dead.get("secret-key")
    (warning,) = [record for record in caplog.records if record.name == "cacheservice_client"]
    assert warning.levelname == "WARNING"
    assert f"No answer from {NOBODY}: ConnectError" in warning.getMessage()
    assert API_KEY not in caplog.text
    assert "secret-key" not in caplog.text


class TestCircuit:
    now = 100.0

    def circuit(self) -> Circuit:
        return Circuit(trial_seconds=5, clock=lambda: self.now)

    def test_it_opens_for_longer_each_time_and_lets_one_call_try(self) -> None:
        circuit = self.circuit()
        for pause in (1, 2, 4, 8, 16, 30, 30):
            assert circuit.lets_through()
            circuit.failed(self.now, None)
            self.now += pause - 0.1
            assert not circuit.lets_through()
            self.now += 0.2
        assert circuit.lets_through()
        assert not circuit.lets_through()
        self.now += 5  # the trial was never heard of again
        assert circuit.lets_through()
        circuit.succeeded()
        assert circuit.lets_through()
        assert circuit.lets_through()

    def test_calls_that_were_under_way_when_it_opened_do_not_prolong_it(self) -> None:
        circuit = self.circuit()
        began, self.now = self.now, self.now + 1
        for _ in range(50):
            circuit.failed(began, None)
        self.now += 1
        assert circuit.lets_through()

    def test_it_leaves_the_service_alone_for_as_long_as_that_asks(self) -> None:
        circuit = self.circuit()
        circuit.failed(self.now, 40)
        self.now += 39
        assert not circuit.lets_through()
        self.now += 2
        assert circuit.lets_through()
        circuit.failed(self.now, 1e9)
        self.now += 61
        assert circuit.lets_through()
