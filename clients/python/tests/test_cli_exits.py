"""How `cachectl` ends when something is wrong, as a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import API_KEY
from fake_service import Answer, Entry, FakeService, error

pytest.importorskip("typer")

from cacheservice_client.cli import exits

SOURCE = Path(__file__).parent.parent / "src"


def cachectl(service: FakeService, home: Path, *arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(SOURCE),
        "CACHE_URL": service.url,
        "CACHE_API_KEY": API_KEY,
        **changes,
    }
    command = [sys.executable, "-m", "cacheservice_client.cli", *arguments]
    done = subprocess.run(command, input="", capture_output=True, text=True, env=environment, cwd=home, timeout=60)
    assert API_KEY not in done.stdout + done.stderr
    return done


def test_a_mistake_of_its_own_is_no_miss(service: FakeService, tmp_path: Path) -> None:
    """Python's own exit code is 1, which a script would take for a miss."""
    service.next_answers.append(Answer(200, b"{}"))
    done = cachectl(service, tmp_path, "ls")
    assert (done.returncode, "Traceback" in done.stderr) == (exits.BUG, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_no_miss(service: FakeService, tmp_path: Path) -> None:
    service.next_answers.append(Answer(200, b'"x"', {"content-type": "application/json"}))
    command = f"exec {sys.executable} -m cacheservice_client.cli get k > /dev/full"
    environment = {"PYTHONPATH": str(SOURCE), "CACHE_URL": service.url, "CACHE_API_KEY": API_KEY}
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, env=environment, timeout=60)
    assert (done.returncode, done.stderr) == (
        exits.USAGE,
        "cachectl: cannot write to stdout: No space left on device\n",
    )


@pytest.mark.parametrize("url", ["http://localhost:port", "http://[::1", "http://"])
def test_a_url_that_is_none(service: FakeService, tmp_path: Path, url: str) -> None:
    done = cachectl(service, tmp_path, "get", "k", CACHE_URL=url)
    assert done.returncode == exits.USAGE
    assert done.stderr.count("\n") == 1


def test_login_does_not_show_the_password_of_a_url(service: FakeService, tmp_path: Path) -> None:
    done = cachectl(service, tmp_path, "login", "--url", "http://user:hunter2@example.com")
    assert done.returncode == exits.USAGE
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize("reason", ["not logged in", "refused"])
def test_an_export_that_cannot_begin_leaves_the_file(service: FakeService, tmp_path: Path, reason: str) -> None:
    backup = tmp_path / "backup"
    backup.write_text("the last one\n")
    service.next_answers.append(error(401, "invalid_api_key"))
    changes = {"CACHE_URL": ""} if reason == "not logged in" else {}
    assert cachectl(service, tmp_path, "export", "--force", "backup", **changes).returncode == exits.AUTH
    assert backup.read_text() == "the last one\n"


def test_an_export_takes_the_place_of_a_longer_one(service: FakeService, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    row = b'{"key":"k","size_bytes":1,"expires_at":"2026-11-27T10:00:00Z","tags":[]}'
    service.entries["k"] = Entry(b"1", None, '"etag"')
    for rows, lines in ((row, ['{"key":"k","value":1,"expires_at":"2026-11-27T10:00:00Z"}']), (b"", [])):
        backup.write_text("the last one\n" * 100)
        service.next_answers.append(Answer(200, b'{"keys":[%s],"total":1,"next_cursor":null}' % rows))
        assert cachectl(service, tmp_path, "export", "--force", "backup").returncode == exits.OK
        assert backup.read_text().splitlines() == lines
