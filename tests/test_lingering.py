"""Whoever sends a large body that is refused gets the answer, though it is sent before the body was."""

import socket
from urllib.parse import urlsplit

import pytest

from tests.client import read_answer, request_bytes
from tests.processes import RunningServer

MIB = 1024 * 1024


@pytest.mark.parametrize("path", [b"/api/v1/cache/k", b"/api/v1/batch", b"/gateway/openai/v1/chat/completions"])
def test_the_answer_is_read_after_the_whole_body_was_sent(server: RunningServer, path: bytes) -> None:
    method = "PUT" if b"cache" in path else "POST"
    headers = [(b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % (20 * MIB))]
    address = urlsplit(server.url)
    for _ in range(5):
        with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
            connection.sendall(request_bytes(method, path, headers))
            connection.sendall(bytes(20 * MIB))
            assert read_answer(connection, method=method).status in (401, 404)
