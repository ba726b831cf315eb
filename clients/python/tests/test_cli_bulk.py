"""Imports and exports of a service that is not at its best."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import API_KEY
from fake_service import CUT, Answer, FakeService, error

pytest.importorskip("typer")

from cacheservice_client import Forbidden, StorageQuotaExceeded
from cacheservice_client.cli import exits, importing, patience
from cacheservice_client.cli.credentials import Credentials
from cacheservice_client.cli.importing import Importer, Report, State
from cacheservice_client.cli.service import AsyncService


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LONGEST", 0.01)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "lines"
    path.write_text("".join(json.dumps({"key": f"k{number}", "value": number}) + "\n" for number in range(1000)))
    return path


def imported(service: FakeService, source: Path, state: Path | None = None, connections: int = 1) -> Report:
    """Raises what ends it."""
    report = Report()

    async def run() -> None:
        caller = AsyncService(Credentials(service.url, API_KEY), timeout=20)
        try:
            with source.open("rb") as file:
                importer = Importer(caller, connections, State(state), report, lambda _: None)
                await importer.run(importing.lines_of(file.fileno()))
        finally:
            await caller.close()

    asyncio.run(run())
    return report


def of_batch(*results: Answer) -> Answer:
    content: dict[str, Any] = {"results": [{"status": r.status, "body": json.loads(r.body)} for r in results]}
    return Answer(200, json.dumps(content).encode())


def test_a_lost_connection_costs_nothing(service: FakeService, source: Path) -> None:
    service.next_answers += [CUT, error(503, "unavailable")]
    assert imported(service, source).stored == 1000
    assert len(service.entries) == 1000


def test_what_the_rate_limit_kept_out_is_sent_again(service: FakeService, source: Path) -> None:
    limited = error(429, "rate_limit_exceeded")
    service.next_answers.append(of_batch(*[Answer(201, b"{}")] * 200, *[limited] * 56))
    assert imported(service, source).stored == 1000
    assert len(service.entries) == 800  # the first 200 were said to be stored


def test_a_full_quota_ends_it_and_another_run_goes_on(service: FakeService, source: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    service.next_answers += [of_batch(*[Answer(201, b"{}")] * 256)]
    service.next_answers += [of_batch(*[Answer(201, b"{}")] * 6, *[error(402, "storage_quota_exceeded")] * 250)]
    with pytest.raises(StorageQuotaExceeded):
        imported(service, source, state)
    assert json.loads(state.read_text())["lines"] == 256
    assert imported(service, source, state).stored == 744
    assert json.loads(state.read_text())["lines"] == 1000
    assert imported(service, source, state).stored == 0


def test_a_state_is_of_one_file(service: FakeService, source: Path, tmp_path: Path) -> None:
    imported(service, source, tmp_path / "state")
    source.write_text(source.read_text().replace("k1", "x1"))
    with pytest.raises(exits.Failure, match="another file"):
        imported(service, source, tmp_path / "state")


def test_a_batch_that_the_service_does_not_take_is_cut_until_the_line_is_found(
    service: FakeService, source: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source.write_text("".join(source.read_text().splitlines(keepends=True)[:4]))
    service.next_answers += [error(400, "invalid_request")] * 3  # of 4, of the first 2, of the first
    report = imported(service, source)
    assert (report.stored, report.failed) == (3, 1)
    assert capsys.readouterr().err == "line 1: 400 invalid_request: invalid_request it is. (request request-1)\n"


def test_a_key_that_may_not_write_ends_it(service: FakeService, source: Path) -> None:
    service.next_answers.append(error(403, "forbidden"))
    with pytest.raises(Forbidden):
        imported(service, source)


def test_the_last_line_of_a_key_wins(service: FakeService, source: Path) -> None:
    source.write_text("".join(json.dumps({"key": "k", "value": number}) + "\n" for number in range(50)))
    assert imported(service, source, connections=8).stored == 50
    assert service.entries["k"].value == b"49"


def test_a_long_line_without_an_end(service: FakeService, source: Path) -> None:
    value = "x" * 700_000
    source.write_text(json.dumps({"key": "a", "value": 1}) + "\n\n" + json.dumps({"key": "b", "value": value}))
    assert imported(service, source).stored == 2
    assert json.loads(service.entries["b"].value) == value
