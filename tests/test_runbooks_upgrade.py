"""docs/runbooks/upgrade.md: executed while clients write and read, no request fails; and how a server ends."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from tests.balancer import balancer
from tests.processes import HOST, ROOT, alive, free_port, wait_for
from tests.runbooks import Installation
from tests.steady_clients import Clients
from tests.store_cast import FULL, scaled

REQUESTS = scaled(300, 2_000)  # before the page, and after it


@contextmanager
def caddy(ports: Sequence[int]) -> Iterator[str]:
    """Caddy with the limits of the page: it looks each second, and repeats where the page says so."""
    port = free_port()
    upstreams = " ".join(f"{HOST}:{each}" for each in ports)
    config = f"""{{
        admin off
        auto_https off
    }}
    http://{HOST}:{port} {{
        reverse_proxy {upstreams} {{
            lb_policy round_robin
            lb_try_duration 5s
            lb_retry_match {{
                method GET HEAD PUT DELETE
            }}
            health_uri /readyz
            health_headers {{
                Host localhost
            }}
            health_interval 200ms
        }}
    }}"""
    with _front(["caddy", "run", "--adapter", "caddyfile", "--config"], config, port) as url:
        yield url


@contextmanager
def nginx(ports: Sequence[int]) -> Iterator[str]:
    """nginx, which looks at no `/readyz` of its own accord: it goes by what fails."""
    port = free_port()
    upstreams = "".join(f"server {HOST}:{each} max_fails=1 fail_timeout=1s; " for each in ports)
    config = f"""daemon off; master_process off; pid {tempfile.gettempdir()}/nginx-{port}.pid; error_log stderr crit;
    events {{}}
    http {{
        access_log off;
        upstream cacheservice {{ {upstreams} keepalive 16; }}
        server {{
            listen {HOST}:{port};
            location / {{
                proxy_pass http://cacheservice;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                proxy_set_header Host localhost;
                proxy_next_upstream error timeout http_502;
                client_max_body_size 11m;
            }}
        }}
    }}"""
    with _front(["nginx", "-c"], config, port) as url:
        yield url


@contextmanager
def _front(command: Sequence[str], config: str, port: int) -> Iterator[str]:
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write(config)
        file.flush()
        process = subprocess.Popen([*command, file.name], stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: _answers(port), 60, f"{command[0]} answers")
            yield f"http://{HOST}:{port}"
        finally:
            process.terminate()
            process.wait(30)


def _answers(port: int) -> bool:
    with suppress(OSError, http.client.HTTPException):
        return _ask(port, "/healthz")[0] == 200
    return False


FRONTS: list[object] = [balancer]
for front in (caddy, nginx):
    missing = not FULL or shutil.which(front.__name__) is None
    reason = f"full counts only, where {front.__name__} is installed"
    FRONTS.append(pytest.param(front, marks=pytest.mark.skipif(missing, reason=reason)))


@pytest.mark.parametrize("front", FRONTS)
def test_upgrade_under_load_fails_no_request(tmp_path: Path, front: Callable[[Sequence[int]], object]) -> None:
    with Installation(tmp_path, drain_seconds=scaled(1, 3)) as here:
        token = here.new_token()
        here.start_servers()
        with front(list(here.ports.values())) as url, Clients(url, token) as clients:  # type: ignore[attr-defined]
            clients.wait_for(REQUESTS)
            before = here.processes()
            told = here.run("upgrade.md")
            clients.wait_for(REQUESTS)
            assert set(here.processes().values()).isdisjoint(before.values())
        assert clients.failures == []
        assert clients.answers.total() >= 2 * REQUESTS
    assert "0 migrations to apply" in told
    assert told.count('"ready"') >= len(here.ports)
    assert "everything adds up" in told


def test_server_that_is_told_to_end_answers_until_it_does(tmp_path: Path) -> None:
    """A request is under way when SIGTERM comes, and another comes later on its connection."""
    with Installation(tmp_path, drain_seconds=1) as here:
        token = here.new_token()
        here.start_servers(1)
        [port, _] = here.ports.values()
        process = here.processes()[f"cacheservice-server@{port}"]
        put = (
            f"PUT /api/v1/cache/late HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: 11\r\n\r\n"
        )
        with socket.create_connection((HOST, port)) as slow:
            slow.sendall(put.encode() + b'{"val')
            wait_for(lambda: _answers(port), 30, "it answers")
            os.kill(process, signal.SIGTERM)
            wait_for(lambda: _ask(port, "/readyz") == (503, "close"), 30, "it says that it is about to end")
            slow.sendall(b'ue":1}')
            answer = slow.recv(65536)
            assert answer.startswith(b"HTTP/1.1 201"), answer
            slow.sendall(put.encode() + b'{"value":2}')
            assert b"connection: close" in slow.recv(65536).lower()
            assert slow.recv(1) == b""
        wait_for(lambda: not alive(process), 30, "it has ended")


def _ask(port: int, path: str) -> tuple[int, str | None]:
    """The status, and what is said of the connection."""
    with closing(http.client.HTTPConnection(HOST, port, timeout=5)) as connection:
        connection.request("GET", path, headers={"Host": "localhost"})
        response = connection.getresponse()
        response.read()
        return response.status, response.getheader("connection")


def test_places_of_the_pages_are_listed(tmp_path: Path) -> None:
    listed = (ROOT / "docs" / "runbooks" / "README.md").read_text()
    assert [place for place in Installation(tmp_path).places() if f"`{place}`" not in listed] == []
