"""The fault programs with small counts; at full counts by `make faults`, which collects what they tell."""

import json
import os
from pathlib import Path

import pytest

from tests.faults import beats, cuts, kills, midnight, oracle, races, revocations, rotations
from tests.faults.outcome import Outcome
from tests.processes import RunningServer
from tests.store_cast import scaled

SEED = int(os.environ.get("CACHE_FAULTS_SEED", "1"))


def check(outcome: Outcome, request: pytest.FixtureRequest) -> None:
    """Nothing deviated. `make faults` names a file that wants to know what happened."""
    if "CACHE_FAULTS_RESULTS" in os.environ:
        line = {"test": request.node.name, **vars(outcome)}
        with Path(os.environ["CACHE_FAULTS_RESULTS"]).open("a") as results:
            results.write(json.dumps(line) + "\n")
    assert outcome.deviations == []


def test_credits_for_some_hits_pay_for_exactly_those(request: pytest.FixtureRequest) -> None:
    outcome = races.credits(scaled(5, 500), SEED)
    check(outcome, request)
    assert outcome.seen["hits paid"] == 100 * outcome.count


def test_writers_straddling_the_quota_never_pass_it(request: pytest.FixtureRequest) -> None:
    outcome = races.quota(scaled(5, 500), SEED)
    check(outcome, request)
    assert min(outcome.seen.values()) > outcome.count


def test_byte_seconds_are_those_of_a_replay(request: pytest.FixtureRequest) -> None:
    outcome = oracle.byte_seconds(scaled(2_000, 100_000), SEED)
    check(outcome, request)
    assert outcome.seen["days compared"] > 100


def test_connections_cut_at_commit_charge_nobody_for_nothing(request: pytest.FixtureRequest) -> None:
    outcome = cuts.cuts(scaled(20, 1000), SEED)
    check(outcome, request)
    assert outcome.seen["cuts"] > outcome.count / 2
    assert outcome.seen["of them unavailable"] > outcome.count


def test_killed_servers_lose_nothing_and_charge_for_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    outcome = kills.server_kills(scaled(2, 200), SEED, tmp_path)
    check(outcome, request)
    assert outcome.seen["answers lost"] >= outcome.count
    assert outcome.seen["hits acknowledged"] > 100 * outcome.count


def test_killed_database_loses_nothing_and_charges_for_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    outcome = kills.database_kills(scaled(1, 50), SEED, tmp_path)
    check(outcome, request)
    assert outcome.seen["answers of 503"] >= outcome.count
    assert outcome.seen["hits acknowledged"] > 100 * outcome.count


def test_requests_over_midnight_are_each_in_one_day(request: pytest.FixtureRequest) -> None:
    outcome = midnight.midnights(scaled(5, 500), SEED)
    check(outcome, request)
    assert min(outcome.seen.values()) > outcome.count


def test_tasks_that_run_twice_have_their_effects_once(request: pytest.FixtureRequest) -> None:
    outcome = beats.two_beats(scaled(1, 50), SEED)
    check(outcome, request)


def test_killed_rotations_leave_everything_readable(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    outcome = rotations.rotation_kills(scaled(2, 60), SEED, tmp_path)
    check(outcome, request)
    assert outcome.seen["reads by others meanwhile"] > 10 * outcome.count


def test_deleted_tenants_open_nowhere(request: pytest.FixtureRequest) -> None:
    outcome = rotations.deleted_tenants(scaled(2, 200), SEED)
    check(outcome, request)
    assert len(outcome.seen) == 2


def test_revoked_keys_are_refused_by_every_process(
    request: pytest.FixtureRequest, server: RunningServer, server_without_lane: RunningServer
) -> None:
    outcome = revocations.revocations(scaled(3, 500), SEED, [server, server_without_lane])
    check(outcome, request)
