"""AWS KMS for tests: moto as a server, which can be stopped and started, behind a small one that makes faults."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

import boto3  # type: ignore[import-untyped]
import pytest
from moto.server import ThreadedMotoServer

from tests.processes import free_port
from tests.small_servers import say, small_server

REGION = "eu-central-1"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "canary-of-the-cloud-5518"}
HOLD_SECONDS = 30  # longer than any call waits


class KMS:
    """`url` is where to call it. `fault`: the code that it answers instead; `silence`, `cut`, `garbage` misbehave."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = ""
        self.fault = ""
        self.calls: list[str] = []  # the operations asked for, in order
        self._server: ThreadedMotoServer | None = None

    def start(self) -> None:
        """With the keys that it had. Nothing where it runs: a second one would wait for the port for ever."""
        if self._server is not None:
            return
        self._server = ThreadedMotoServer(ip_address="127.0.0.1", port=self.port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop()
            self._server = None

    @contextmanager
    def down(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def failing(self, fault: str) -> Iterator[None]:
        self.fault = fault
        try:
            yield
        finally:
            self.fault = ""

    def new_key(self) -> str:
        """Its ARN."""
        return str(self.client().create_key()["KeyMetadata"]["Arn"])

    def client(self) -> Any:
        return boto3.client("kms", region_name=REGION, endpoint_url=f"http://127.0.0.1:{self.port}")

    def respond(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        self.calls.append(handler.headers["x-amz-target"].rpartition(".")[2])
        if self.fault == "silence":
            deadline = time.monotonic() + HOLD_SECONDS
            while self.fault == "silence" and time.monotonic() < deadline:
                time.sleep(0.01)
            handler.close_connection = True
        elif self.fault == "cut" or self._server is None:
            handler.close_connection = True
        elif self.fault == "garbage":
            say(handler, b"<html>", "text/html", 502)
        elif self.fault:
            status = 500 if self.fault == "KMSInternalException" else 400
            say(handler, json.dumps({"__type": self.fault, "message": "no"}).encode(), status=status)
        else:
            self._forward(handler, body)

    def _forward(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=HOLD_SECONDS)
        try:
            connection.request("POST", "/", body, dict(handler.headers.items()))
            answer = connection.getresponse()
            say(handler, answer.read(), answer.headers["content-type"], answer.status)
        finally:
            connection.close()


@contextmanager
def kms_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[KMS]:
    """With credentials for it in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    kms = KMS()
    kms.start()
    try:
        with small_server(kms.respond) as url:
            kms.url = url
            assert urlsplit(url).port != kms.port
            yield kms
    finally:
        kms.stop()
