"""Through an HTTP proxy a request's target, which goes out by itself, must arrive as part of the whole URL."""

import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import NewCache
from fake_service import FakeService

from cacheservice_client import Miss, Unreachable


class Proxy(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.received: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Proxy

    def do_GET(self) -> None:
        self.server.received.append(self.requestline)
        url = urlsplit(self.path)
        connection = http.client.HTTPConnection(url.netloc)
        connection.request("GET", f"{url.path}?{url.query}", headers=dict(self.headers.items()))
        response = connection.getresponse()
        self.send_response(response.status)
        self.end_headers()
        self.wfile.write(response.read())
        connection.close()

    def do_CONNECT(self) -> None:
        self.server.received.append(self.requestline)
        self.send_error(502)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    for name in ("no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Proxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.01,))
        thread.start()
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.delenv(name.upper(), raising=False)
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.server_address[1]}")
        yield proxy
        proxy.shutdown()
        thread.join()


def test_a_proxy_of_http(new_cache: NewCache, service: FakeService, proxy: Proxy) -> None:
    assert new_cache().get("a/../b", lease=5).lease
    assert new_cache().get("a/../b", lease=5) == Miss()
    assert proxy.received == [f"GET {service.url}/api/v1/cache/a%2F..%2Fb?lease=5 HTTP/1.1"] * 2


def test_a_proxy_of_https(new_cache: NewCache, proxy: Proxy) -> None:
    with pytest.raises(Unreachable):
        new_cache(url="https://cache.example.com", retries=0).get("k")
    assert proxy.received == ["CONNECT cache.example.com:443 HTTP/1.1"]
