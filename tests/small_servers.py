"""Small HTTP servers in threads, for tests that need an upstream of their own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TypeAlias

Respond: TypeAlias = Callable[[BaseHTTPRequestHandler, bytes], None]


@contextmanager
def small_server(respond: Respond) -> Iterator[str]:
    """Gives each request with its body to `respond`; its URL."""

    class Handler(BaseHTTPRequestHandler):
        def _any(self) -> None:
            respond(self, self.rfile.read(int(self.headers.get("content-length", "0"))))

        do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _any

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        thread = Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.server_port}"
        finally:
            listening.shutdown()
            thread.join()


def say(
    handler: BaseHTTPRequestHandler, body: bytes, content_type: str = "application/json", status: int = 200
) -> None:
    handler.send_response(status)
    handler.send_header("content-type", content_type)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
