"""API keys that are revoked while several server processes know them and answer them."""

import random
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack

from tests.cast import Key, new_caller, revoke
from tests.client import Client
from tests.faults.outcome import Outcome, progress
from tests.processes import RunningServer

ASKED_FIRST = 3  # by each server, so that it knows the key


def revocations(count: int, seed: int, servers: Sequence[RunningServer]) -> Outcome:
    """Every server is asked without a pause. What is sent once the revocation is committed is refused."""
    outcome = Outcome(count)
    chance = random.Random(seed)
    for done in range(1, count + 1):
        _revoke_one(outcome, new_caller(), servers, chance.random() * 0.05)
        progress(done, count, outcome)
    return outcome


def _revoke_one(outcome: Outcome, key: Key, servers: Sequence[RunningServer], pause: float) -> None:
    told: list[list[tuple[float, int]]] = [[] for _ in servers]  # when it was sent, and the status
    known, stop = threading.Semaphore(0), threading.Event()

    def ask(number: int) -> None:
        with Client(servers[number].url, key.token) as client:
            while not stop.is_set():
                sent_at = time.monotonic()
                told[number].append((sent_at, client.get("absent").status))
                if len(told[number]) == ASKED_FIRST:
                    known.release()

    with ExitStack() as stack:
        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(servers))]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(stop.set)  # which comes before they are waited for
        for _ in servers:
            known.acquire(timeout=30)
        time.sleep(pause)
        revoke(key)
        revoked_at = time.monotonic()
        asked = [len(each) for each in told]
        while any(len(each) < before + 3 for each, before in zip(told, asked, strict=True)):
            time.sleep(0.001)
    for server, each in enumerate(told):
        later = [status for sent_at, status in each if sent_at > revoked_at]
        outcome.expect(bool(later) and set(later) == {401}, f"server {server}, afterwards: {set(later)}")
        outcome.expect(
            200 in {status for sent_at, status in each if sent_at < revoked_at}, f"server {server}: not known"
        )
        outcome.add("requests before it", len(each) - len(later))
        outcome.add("requests after it, refused", len(later))
