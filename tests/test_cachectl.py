"""`cachectl` as a process of its own against the real service: what it prints, where, and its exit codes."""

import base64
import fcntl
import hashlib
import json
import os
import pty
import re
import signal
import stat
import struct
import subprocess
import sys
import termios
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cacheservice_client import Cache, Put

from tests.cast import Cast, cast_fixture, new_caller, new_key, new_tenant
from tests.processes import ROOT, RunningServer, wait_for

__all__ = ["cast_fixture"]

COMMAND = [sys.executable, "-m", "cacheservice_client.cli"]
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def api_key() -> str:
    return new_caller().token


@pytest.fixture
def cache(server: RunningServer, api_key: str) -> Iterator[Cache]:
    """To arrange and to look, without a process."""
    with Cache(url=server.url, api_key=api_key) as cache:
        yield cache


@pytest.fixture
def environment(server: RunningServer, api_key: str, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "XDG_CONFIG_HOME": str(tmp_path / "config"),
        "PYTHONPATH": str(ROOT / "clients" / "python" / "src"),
        "CACHE_URL": server.url,
        "CACHE_API_KEY": api_key,
    }


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    def run(*arguments: object, stdin: bytes = b"", **changes: str | None) -> "subprocess.CompletedProcess[bytes]":
        changed = {name: text for name, text in {**environment, **changes}.items() if text is not None}
        command = [*COMMAND, *map(str, arguments)]
        done = subprocess.run(command, input=stdin, capture_output=True, env=changed, cwd=tmp_path, timeout=60)
        assert b"Traceback" not in done.stderr, done.stderr.decode()
        assert b"ck_live_" not in done.stdout + done.stderr.replace("ck_live_…".encode(), b"")
        return done

    return run


def keys(cache: Cache) -> list[str]:
    return [entry.key for entry in cache.list()]


def raw(server: RunningServer, token: str, key: str) -> tuple[bytes, str]:
    request = urllib.request.Request(
        f"{server.url}/api/v1/cache/{key}?raw=true", headers={"authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.read(), answer.headers["content-type"]


def test_json_comes_back_byte_for_byte(run: Run) -> None:
    value = '{ "b": 1.0,\t"a": [123456789012345678901234567890, "\\u00e9 é"] }'
    assert run("put", "k", value, "--ttl", "1d", "--tag", "t", "--cost", "0.04").returncode == 0
    assert run("get", "k").stdout == value.encode() + b"\n"
    assert run("get", "k", "--raw").stdout == value.encode()


def test_what_is_no_json_is_text_and_what_is_no_text_is_bytes(
    run: Run, server: RunningServer, api_key: str, tmp_path: Path
) -> None:
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n")
    run("put", "text", "-", stdin="Grüße\n".encode())
    run("put", "picture", "--file", "cat.png")
    run("put", "--", "number", "-5")
    assert raw(server, api_key, "text") == ('"Grüße\\n"'.encode(), "application/json")
    assert raw(server, api_key, "picture") == (b"\x89PNG\r\n", "image/png")
    assert raw(server, api_key, "number") == (b"-5", "application/json")
    assert run("get", "picture").stdout == b"\x89PNG\r\n"


def test_a_miss_prints_nothing_and_exits_with_1(run: Run) -> None:
    done = run("get", "missing")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"")


def test_keys_of_dot_segments_and_other_letters(run: Run, cache: Cache) -> None:
    named = ["..", "a/../b", "ключ ?&#%"]
    assert run("put", named[2], "1").returncode == 0
    assert cache.get(named[2])
    cache.batch(Put(key, 1) for key in named)
    assert run("get", named[1]).stdout == b"1\n"
    assert run("rm", *named).returncode == 0
    assert keys(cache) == []
    assert run("rm", named[0]).returncode == 1


def test_lists_as_table_and_as_json(run: Run, cache: Cache) -> None:
    cache.batch(Put(f"list/{number}", True, tags="even" if number % 2 == 0 else "odd") for number in range(3))
    table = run("ls", "--prefix", "list/", "--limit", "2")
    assert [row.split()[0] for row in table.stdout.decode().splitlines()] == ["KEY", "list/0", "list/1"]
    assert b"1 more" in table.stderr
    rows = [json.loads(row) for row in run("ls", "--tag", "even", "--json", "--stats").stdout.splitlines()]
    assert [(row["key"], row["tags"], row["hits"]) for row in rows] == [
        ("list/0", ["even"], 0),
        ("list/2", ["even"], 0),
    ]


def test_a_list_of_many_pages_is_whole(run: Run, cache: Cache) -> None:
    expected = [f"k{number:04d}" for number in range(1100)]
    cache.batch(Put(key, 1) for key in expected)
    assert [json.loads(row)["key"] for row in run("ls", "--json").stdout.splitlines()] == expected


def test_purge_never_deletes_without_yes_where_nobody_can_be_asked(run: Run, cache: Cache) -> None:
    cache.batch([Put("p/1", 1, tags="x"), Put("q/1", 1)])
    for arguments in (["--prefix", "p/"], ["--tag", "", "--yes"], ["--all", "--tag", "x", "--yes"]):
        assert run("purge", *arguments).returncode == 2
    assert keys(cache) == ["p/1", "q/1"]
    assert run("purge", "--tag", "x", "--yes").stderr == b"1 deleted\n"
    assert run("purge", "--all", "--yes").stderr == b"1 deleted\n"


@pytest.mark.parametrize(("answer", "code", "left"), [("n\n", 130, 1), ("y\n", 0, 0)])
def test_purge_asks_on_a_terminal(cache: Cache, environment: dict[str, str], answer: str, code: int, left: int) -> None:
    cache.put("k", 1, tags="x")
    terminal, other_side = pty.openpty()
    command = [*COMMAND, "purge", "--tag", "x"]
    with subprocess.Popen(command, stdin=other_side, stderr=other_side, stdout=other_side, env=environment) as process:
        os.close(other_side)
        asked = b""
        while b"[y/N]" not in asked:
            asked += os.read(terminal, 1000)
        os.write(terminal, answer.encode())
        assert process.wait(timeout=30) == code
    os.close(terminal)
    assert b"1 entry with the tag x" in asked
    assert len(keys(cache)) == left


def test_login_checks_the_key_and_keeps_it_for_its_owner_alone(
    run: Run, server: RunningServer, api_key: str, tmp_path: Path
) -> None:
    stored = tmp_path / "config" / "cachectl" / "credentials.json"
    alone = {"CACHE_URL": None, "CACHE_API_KEY": None}
    assert run("ls", **alone).returncode == 3
    assert run("login", "--url", server.url, stdin=b"ck_live_wrong\n", **alone).returncode == 3
    assert not stored.exists()
    done = run("login", "--url", server.url, stdin=api_key.encode() + b"\n", **alone)
    assert (done.returncode, done.stdout) == (0, b"")
    assert stat.S_IMODE(stored.stat().st_mode) == 0o600
    assert json.loads(stored.read_text()) == {"url": server.url, "api_key": api_key}
    assert run("put", "k", "1", **alone).returncode == 0
    assert run("get", "k", CACHE_URL=None, CACHE_API_KEY=new_caller().token).returncode == 1  # the environment wins
    other = run("get", "k", CACHE_URL="http://127.0.0.1:1", CACHE_API_KEY=None)
    assert (other.returncode, b"stored key" in other.stderr) == (3, True)  # it goes nowhere else


def test_exit_codes(run: Run, cast: Cast) -> None:
    def refused(code: int, *arguments: str, **changes: str) -> str:
        done = run(*arguments, **changes)
        assert (done.returncode, done.stdout) == (code, b"")
        assert done.stderr.count(b"\n") == 1
        return done.stderr.decode()

    assert "--ttl" in refused(2, "put", "k", "1", "--ttl", "soon")
    assert "invalid_request" in refused(2, "put", "k", "1", "--ttl", "0")
    refused(2, "put", "k", "{", "--type", "application/json")
    assert "invalid_api_key" in refused(3, "get", "k", CACHE_API_KEY=cast.outsider)
    assert "(request " in refused(3, "put", "k", "1", CACHE_API_KEY=cast.without["write"].token)
    assert "No answer" in refused(5, "get", "k", CACHE_URL="http://127.0.0.1:1")
    shown = re.findall(r"(?m)^ +(\d+) {2,}\S", run("--help").stdout.decode().partition("Exit codes:")[2])
    documented = re.findall(r"(?m)^\| (\d+) \|", (ROOT / "docs" / "clients" / "cli.md").read_text())
    assert shown == documented
    assert "141" in shown


def test_limits_exit_with_4(run: Run) -> None:
    key = new_key(new_tenant())
    key.row.storage_quota = 10
    key.row.save()
    done = run("put", "k", json.dumps("x" * 100), CACHE_API_KEY=key.token)
    assert (done.returncode, b"402 storage_quota_exceeded" in done.stderr) == (4, True)


def test_stats_and_usage(run: Run, cache: Cache) -> None:
    cache.put("k", 1, cost="0.04")
    assert cache.get("k")
    assert not cache.get("missing")
    stats = run("stats").stdout.decode()
    assert "50.0%" in stats
    assert "0.04" in stats
    assert json.loads(run("stats", "--json").stdout)["usage"]["total"]["hits"] == 1
    assert json.loads(run("usage", "--by", "api_key", "--json").stdout)["usage"][0]["hits"] == 1
    assert run("usage", "--from", "2026-01-01", "--to", "2027-01-01", "--group-by", "month", "--csv").stdout.startswith(
        b"start,"
    )


def test_an_export_imported_again_is_the_same(run: Run, server: RunningServer, cache: Cache, tmp_path: Path) -> None:
    values = [b'{"x":1.0,  "\xc3\xa9": "\\u00e9"}', b"null", b"[1,\n 2]", '"\u2028"'.encode()]
    for number, value in enumerate(values):
        cache.put(f"json {number}", value, content_type="application/json", tags="t", ttl=3600)
    cache.put("bytes", bytes(range(256)), content_type="image/png", tags="t")
    cache.put("other", 1)
    done = run("export", "first.jsonl", "--tag", "t")
    assert b"5 written" in done.stderr
    assert run("export", "first.jsonl").returncode == 2  # it is there
    exported = (tmp_path / "first.jsonl").read_bytes()
    target = new_caller().token
    assert run("import", "-", stdin=exported, CACHE_API_KEY=target).returncode == 0
    for number, value in enumerate(values):
        assert raw(server, target, f"json%20{number}") == (value, "application/json")
    assert raw(server, target, "bytes") == (bytes(range(256)), "image/png")
    again = [json.loads(line) for line in run("export", CACHE_API_KEY=target).stdout.splitlines()]
    assert timeless(again) == timeless([json.loads(line) for line in exported.splitlines()])


def timeless(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what a moment between two requests changes."""
    return [{name: content for name, content in line.items() if name != "expires_at"} for line in lines]


def test_an_export_goes_on_behind_its_last_whole_line(run: Run, cache: Cache, tmp_path: Path) -> None:
    cache.batch(Put(f"k{number:04d}", number) for number in range(700))
    run("export", "whole")
    whole = (tmp_path / "whole").read_bytes()
    assert len(whole.splitlines()) == 700
    (tmp_path / "part").write_bytes(whole[: len(whole) // 2])
    assert run("export", "part", "--resume").returncode == 0
    assert (tmp_path / "part").read_bytes() == whole


def test_an_import_tells_its_failing_lines_and_stores_the_others(run: Run, server: RunningServer, api_key: str) -> None:
    lines = [
        b'{"key": "good", "value": [1.0]}',
        b"{not JSON}",
        b"",
        b'{"key": "bad ttl", "value": 1, "ttl": 99999999999}',
        b'{"key": "\\ud800", "value": 1}',
        b'{"key": "what", "value": 1, "colour": "red"}',
        b'{"key": "old", "value": 1, "expires_at": "2020-01-01T00:00:00Z"}',
        b'{"key": "bytes", "value_base64": "%s", "content_type": "text/css"}' % base64.b64encode(b"\xff\x00"),
        b'{"key": "good", "value": "the last one"}',
    ]
    done = run("import", "-", "--connections", "3", stdin=b"\n".join(lines))
    errors = done.stderr.decode().splitlines()
    assert done.returncode == 6
    assert sorted(error.split(":")[0] for error in errors[:-1]) == ["line 2", "line 4", "line 5", "line 6"]
    assert errors[-1].startswith("3 stored, 4 lines failed, 1 had expired")
    assert raw(server, api_key, "good") == (b'"the last one"', "application/json")
    assert raw(server, api_key, "bytes") == (b"\xff\x00", "text/css")


def test_an_import_that_was_interrupted_goes_on(
    run: Run, cache: Cache, environment: dict[str, str], tmp_path: Path
) -> None:
    lines = [json.dumps({"key": f"r{number:04d}", "value": number}).encode() + b"\n" for number in range(600)]
    state = tmp_path / "state"
    command = [*COMMAND, "import", "-", "--resume", str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        assert process.stdin is not None and process.stderr is not None
        process.stdin.write(b"".join(lines[:400]))
        process.stdin.flush()
        wait_for(lambda: len(keys(cache)) == 256, 20, "the first batch is stored")
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read().decode()
        assert process.wait(timeout=20) == 130
    assert errors.endswith("cachectl: interrupted\n")
    assert json.loads(state.read_text())["lines"] in (0, 256)  # whether it has had the answer
    state.write_text(
        json.dumps({"lines": 256, "bytes": 0, "sha256": hashlib.sha256(b"".join(lines[:256])).hexdigest()})
    )
    assert run("import", "-", "--resume", str(state), stdin=b"other\n").returncode == 2
    done = run("import", "-", "--resume", str(state), stdin=b"".join(lines))
    assert done.stderr.startswith(b"344 stored, 0 lines failed, 256 lines done before")
    assert len(keys(cache)) == 600


def test_no_colour_off_a_terminal_and_with_no_color(run: Run, cache: Cache, environment: dict[str, str]) -> None:
    cache.put("k", 1)
    for no_color, coloured in (("", True), ("1", False)):
        terminal, other_side = pty.openpty()
        changed = {**environment, "NO_COLOR": no_color, "TERM": "xterm"}
        with subprocess.Popen([*COMMAND, "ls"], stdout=other_side, env=changed) as process:
            os.close(other_side)
            assert process.wait(timeout=30) == 0
            assert (b"\x1b[" in os.read(terminal, 10_000)) == coloured
        os.close(terminal)


def on_terminal(columns: int, environment: dict[str, str], *arguments: str, **streams: Any) -> list[str]:
    """The lines that come on a terminal of that width as stderr, without their colours."""
    terminal, other_side = pty.openpty()
    fcntl.ioctl(other_side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, **streams}
    shown = b""
    with subprocess.Popen(
        [*COMMAND, *arguments], stderr=other_side, env={**environment, "TERM": "xterm"}, **streams
    ) as process:
        os.close(other_side)
        with suppress(OSError):  # its end, as Linux tells it
            while block := os.read(terminal, 10_000):
                shown += block
        assert process.wait(timeout=30) == 0
    os.close(terminal)
    return re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode()))


@pytest.mark.parametrize("columns", [80, 40])
def test_a_bar_fits_the_terminal_and_stands_in_no_output(
    cache: Cache, environment: dict[str, str], tmp_path: Path, columns: int
) -> None:
    cache.batch(Put(f"k{number:04d}", number) for number in range(600))
    lines = tmp_path / "lines"
    exported = on_terminal(columns, environment, "export", str(lines))
    assert any(re.match("Export .*[0-9]+/600 ", line) for line in exported)
    with lines.open("rb") as file:
        imported = on_terminal(columns, environment, "import", "-", stdin=file)
    assert any(re.match("Import .*100%", line) for line in imported)
    with subprocess.Popen(["cat", str(lines)], stdout=subprocess.PIPE) as cat:  # of which no part is known
        piped = on_terminal(columns, environment, "import", "-", stdin=cat.stdout)
    assert any(re.match("Import .* [0-9.]+ kB ", line) for line in piped)
    bars = [line for line in exported + imported + piped if line.startswith(("Export ", "Import "))]
    assert max(map(len, bars)) <= columns
    (summary, end) = on_terminal(columns, environment, "export", stdout=subprocess.PIPE)
    assert re.match("600 written: ", summary)
    assert end == ""


def test_a_reader_that_has_enough_is_no_error(cache: Cache, environment: dict[str, str]) -> None:
    cache.batch(Put(f"k{number:04d}", "x" * 500) for number in range(500))
    with subprocess.Popen(
        [*COMMAND, "export"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(timeout=30) == 141


def test_completion_is_there(run: Run) -> None:
    done = run("--show-completion", "bash")
    assert b"cachectl" in done.stdout
    words = run(_CACHECTL_COMPLETE="complete_bash", COMP_WORDS="cachectl ex", COMP_CWORD="1").stdout
    assert words.split() == [b"export"]
