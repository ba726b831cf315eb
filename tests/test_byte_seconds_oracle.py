"""Byte-seconds are exactly those of a naive replay, whatever happened in whatever order, on any UTC day."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fake_clock import FakeClock
from tests.faults.oracle import API_KEYS, DAY, KEYS, START, TAGS, TENANTS, Operation, Trial
from tests.faults.outcome import Outcome
from tests.running_stores import RunningStores
from tests.store_cast import scaled

EXAMPLES = scaled(20, 1000)
HOUR = 3600


@pytest.fixture(scope="module")
def clock(django_db_setup: None) -> Iterator[FakeClock]:
    with FakeClock(START) as clock:
        yield clock


@pytest.fixture(scope="module")
def stores(clock: FakeClock) -> Iterator[RunningStores]:
    with RunningStores(1, clock.dsn) as stores:
        yield stores


pauses = st.one_of(
    st.integers(0, 2), st.integers(0, 2 * HOUR * 10**6), st.sampled_from((DAY - 1, DAY, DAY + 1, 3 * DAY))
)
operations = st.builds(
    Operation,
    what=st.sampled_from(("put", "put", "put", "patch", "delete", "bulk", "book")),
    api_key=st.integers(0, TENANTS * API_KEYS - 1),
    key=st.sampled_from(KEYS[:3]),
    size=st.integers(0, 1000),
    ttl=st.one_of(st.sampled_from((1, HOUR, 24 * HOUR)), st.integers(1, 100 * HOUR)),
    tag=st.sampled_from(("", *TAGS)),
)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(history=st.lists(st.tuples(pauses, operations), max_size=30), last=pauses)
def test_any_short_history(
    stores: RunningStores, clock: FakeClock, history: list[tuple[int, Operation]], last: int
) -> None:
    outcome = Outcome(len(history))
    trial = Trial(stores, clock, outcome)
    for pause, operation in history:
        clock.advance(timedelta(microseconds=pause))
        trial.run([operation])
    clock.advance(timedelta(microseconds=last))
    trial.compare()
    assert outcome.deviations == []
