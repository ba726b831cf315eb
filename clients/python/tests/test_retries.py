"""What is tried again, when, and what the caller learns when that did not help."""

import time
from typing import Any

import pytest
from conftest import NewCache
from fake_service import CUT, LOST, Answer, FakeService, error

from cacheservice_client import (
    Delete,
    Get,
    InternalError,
    InvalidRequest,
    PreconditionFailed,
    Put,
    RateLimitExceeded,
    TimedOut,
    Unavailable,
    UnexpectedAnswer,
    Unreachable,
    retries,
)
from cacheservice_client.errors import seconds
from cacheservice_client.messages import Request


@pytest.mark.parametrize(
    "answer",
    [
        error(429, "rate_limit_exceeded", retry_after="0"),
        error(500, "internal_error"),
        error(503, "unavailable", retry_after="0"),
        Answer(502, b"<html>Bad Gateway</html>"),
        CUT,
    ],
    ids=["429", "500", "503", "502", "cut"],
)
def test_a_passing_failure_is_tried_again(cache: Any, service: FakeService, answer: Answer) -> None:
    service.next_answers += [answer, answer]
    assert cache.put("k", 1).key == "k"
    assert len(service.received) == 3


def test_the_last_failure_is_raised(cache: Any, service: FakeService) -> None:
    service.next_answers += [error(500, "internal_error")] * 3
    with pytest.raises(InternalError) as raised:
        cache.get("k")
    assert (raised.value.status, raised.value.code) == (500, "internal_error")
    assert (raised.value.message, raised.value.request_id) == ("internal_error it is.", "request-1")
    assert str(raised.value) == "500 internal_error: internal_error it is. (request request-1)"
    assert len(service.received) == 3


def test_an_error_that_stays_is_not_tried_again(cache: Any, service: FakeService) -> None:
    service.next_answers.append(error(400, "invalid_request"))
    with pytest.raises(InvalidRequest):
        cache.get("k")
    assert len(service.received) == 1


def test_retry_after_is_waited_for(cache: Any, service: FakeService) -> None:
    service.next_answers.append(error(429, "rate_limit_exceeded", retry_after="1"))
    began = time.monotonic()
    assert not cache.get("k")
    assert 1 <= time.monotonic() - began < 2


def test_a_retry_after_beyond_the_timeout_is_not_waited_for(cache: Any, service: FakeService) -> None:
    service.next_answers.append(error(429, "rate_limit_exceeded", retry_after="40"))
    began = time.monotonic()
    with pytest.raises(RateLimitExceeded) as raised:
        cache.get("k")
    assert raised.value.retry_after == 40
    assert time.monotonic() - began < 1


def test_a_timeout_bounds_the_call(new_cache: NewCache, service: FakeService) -> None:
    service.next_answers += [Answer(503, b"", after_seconds=0.3)] * 10
    began = time.monotonic()
    with pytest.raises(TimedOut):
        new_cache(timeout=0.5, retries=10).get("k")
    assert 0.4 < time.monotonic() - began < 2  # ten answers would take three


def test_nobody_there(new_cache: NewCache) -> None:
    with pytest.raises(Unreachable, match=r"No answer from http://127\.0\.0\.1:1: ConnectError"):
        new_cache(url="http://127.0.0.1:1").get("k")


@pytest.mark.parametrize("if_absent", [True, False])
def test_a_conditional_write_that_may_have_happened_is_not_repeated(
    cache: Any, service: FakeService, if_absent: bool
) -> None:
    service.next_answers.append(CUT)
    with pytest.raises(Unreachable):
        cache.put("k", 1, if_absent=if_absent, if_match=None if if_absent else '"0"')
    assert len(service.received) == 1


def test_a_write_with_a_lease_that_may_have_happened_is_not_repeated(cache: Any, service: FakeService) -> None:
    """It would find the lease used, by itself."""
    lease = cache.get("k", lease=30).lease
    service.next_answers.append(LOST)
    with pytest.raises(Unreachable) as raised:
        cache.put("k", 1, lease=lease)
    assert raised.value.sent
    assert service.entries["k"].value == b"1"
    assert service.count("PUT") == 1


def test_a_write_with_a_lease_that_did_nothing_is_repeated(cache: Any, service: FakeService) -> None:
    lease = cache.get("k", lease=30).lease
    service.next_answers.append(error(429, "rate_limit_exceeded", retry_after="0"))
    assert cache.put("k", 1, lease=lease)


def test_a_conditional_write_that_did_nothing_is_repeated(cache: Any, service: FakeService) -> None:
    service.next_answers.append(error(429, "rate_limit_exceeded", retry_after="0"))
    assert cache.put("k", 1, if_absent=True)
    service.next_answers.append(error(412, "precondition_failed"))
    with pytest.raises(PreconditionFailed):
        cache.put("k", 1, if_absent=True)


def test_a_batch_that_deletes_is_not_repeated(cache: Any, service: FakeService) -> None:
    service.next_answers.append(CUT)
    with pytest.raises(Unreachable):
        cache.batch([Get("k"), Delete("k")])
    service.next_answers.append(CUT)
    assert len(cache.batch([Put("k", 1), Get("k")])) == 2
    assert len(service.received) == 3


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(200, b"<html>Log in to the Wi-Fi</html>"), UnexpectedAnswer),
        (Answer(200, b"[]"), UnexpectedAnswer),
        (Answer(200, b'{"key": "k"}'), UnexpectedAnswer),
        (Answer(302, b"", {"location": "https://example.com"}), UnexpectedAnswer),
        (Answer(404, b"<html>"), UnexpectedAnswer),
        (Answer(404, b'{"error": "no such route"}'), UnexpectedAnswer),
        (Answer(504, b"<html>"), Unavailable),
        (Answer(503, b"[]", {"x-request-id": "r-1"}), Unavailable),
        (Answer(429, b""), RateLimitExceeded),
    ],
)
def test_answers_that_are_not_the_services(
    new_cache: NewCache, service: FakeService, answer: Answer, kind: type[Exception]
) -> None:
    service.next_answers.append(answer)
    with pytest.raises(kind):
        new_cache(retries=0).get("k")


def test_pauses_grow_and_are_random(monkeypatch: pytest.MonkeyPatch) -> None:
    ranges: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        ranges.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", uniform)
    attempts = retries.Attempts(Request("GET", "/"), timeout=100, retries=7)
    pauses = [attempts.pause(Unreachable("", sent=False)) for _ in range(8)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, None]
    assert {low for low, _ in ranges} == {0}


def test_retry_after_in_both_forms() -> None:
    assert seconds("17") == 17
    assert seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert 3e9 < (seconds("Fri, 31 Dec 2126 23:59:59 GMT") or 0) < 4e9
    assert seconds(None) is seconds("soon") is seconds("-1") is seconds("²") is None
