"""An HTTP client for tests that sends exactly what it is told, and hands back exactly what came.

`Client` speaks through httpx, which keeps its connections; the path goes out as it is given. `exchange` writes bytes
to a socket of its own, for what no HTTP library sends.
"""

import http.client
import json
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

CACHE = "/api/v1/cache"
TIMEOUT_SECONDS = 30.0
# For httpx, where it asks over plain HTTP: each client of its own would read 140 certificates, which takes 40 ms.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass(frozen=True)
class Answer:
    """A whole response; headers in the order they came, with their names in lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        """The header's value, None when it is absent. Fails when it is there more than once."""
        values = [value for each, value in self.headers if each == name.lower()]
        assert len(values) <= 1, f"{name} came {len(values)} times"
        return values[0] if values else None

    def json(self) -> Any:
        """The body, which says that it is JSON, as an object."""
        assert self.header("content-type") == "application/json", (self.status, self.headers, self.body[:500])
        return json.loads(self.body)

    def error_code(self) -> str:
        """The error's code, of a body that has exactly the contract's shape; its request id is the header's."""
        content = self.json()
        assert list(content) == ["error"], content
        error = content["error"]
        assert list(error) == ["code", "message", "request_id"], error
        assert error["request_id"] == self.header("x-request-id"), (error, self.headers)
        assert isinstance(error["message"], str)
        assert error["message"].endswith("."), error
        code = error["code"]
        assert isinstance(code, str)
        return code

    def error_message(self) -> str:
        self.error_code()
        message: str = self.json()["error"]["message"]
        return message


class Client:
    """A caller of one server. Without an API key it sends no Authorization header."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        self.url = url
        self.api_key = api_key
        self._http = httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS, trust_env=False, verify=NO_TLS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None) -> None:
        self._http.close()

    def send(
        self,
        method: str,
        path: str | bytes,
        body: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str | bytes] | None = None,
    ) -> Answer:
        """Send the path as it is, not normalised, the body as it is, an iterable one chunked, and no header unasked
        but Host, Accept, User-Agent and the API key's."""
        target = path.encode("ascii") if isinstance(path, str) else path
        sent: dict[str, str | bytes] = {} if self.api_key is None else {"authorization": f"Bearer {self.api_key}"}
        sent.update({name.lower(): value for name, value in (headers or {}).items()})
        pairs = [(name.encode(), value if isinstance(value, bytes) else value.encode()) for name, value in sent.items()]
        has_body = body != b"" or method in ("PUT", "PATCH", "POST")
        request = self._http.build_request(
            method, "/", content=body if has_body else None, headers=pairs, extensions={"target": target}
        )
        response = self._http.send(request)
        received = tuple((name.decode().lower(), value.decode("latin-1")) for name, value in response.headers.raw)
        return Answer(response.status_code, received, response.content)

    # The contract's requests, by name.

    def put(self, key: str, value: Any = None, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        """PUT with a JSON envelope. A value of bytes goes in as it is."""
        text = value if isinstance(value, bytes) else json.dumps(value).encode()
        rest = "".join(f",{json.dumps(name)}:{json.dumps(field)}" for name, field in fields.items()).encode()
        return self.put_body(key, b'{"value":%s%s}' % (text, rest), headers=headers)

    def put_body(self, key: str, body: bytes, *, query: str = "", headers: Mapping[str, str] | None = None) -> Answer:
        """PUT with this body, as JSON unless the headers say otherwise."""
        sent = {"content-type": "application/json", **(headers or {})}
        return self.send("PUT", item(key) + query, body, sent)

    def put_raw(self, key: str, body: bytes, content_type: str, *, query: str = "") -> Answer:
        return self.put_body(key, body, query=query, headers={"content-type": content_type})

    def get(self, key: str, query: str = "", *, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", item(key) + query, headers=headers)

    def head(self, key: str) -> Answer:
        return self.send("HEAD", item(key))

    def patch(self, key: str, *, headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
        sent = {"content-type": "application/json", **(headers or {})}
        return self.send("PATCH", item(key), json.dumps(fields).encode(), sent)

    def delete(self, key: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("DELETE", item(key), headers=headers)

    def list(self, query: str = "") -> Answer:
        return self.send("GET", CACHE + query)

    def delete_many(self, query: str) -> Answer:
        return self.send("DELETE", CACHE + query)

    def batch(self, operations: Any) -> Answer:
        body = json.dumps({"operations": operations}).encode()
        return self.send("POST", "/api/v1/batch", body, {"content-type": "application/json"})


def item(key: str) -> str:
    """The path of a key, percent-encoded as a careful client does it."""
    return f"{CACHE}/{quote(key, safe='')}"


def connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS)


def request_bytes(
    method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]] = (), body: bytes | None = None
) -> bytes:
    """A request as it stands on the wire: Host, the headers, and Content-Length when there is a body."""
    lines = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: localhost"]
    lines += [name + b": " + value for name, value in headers]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    return b"\r\n".join([*lines, b"", b""]) + (body or b"")


def exchange(url: str, sent: bytes, *, method: str = "GET") -> Answer:
    """Write these bytes to a connection of its own and read one response. `method` tells whether it has a body."""
    with connect(url) as connection:
        connection.sendall(sent)
        return read_answer(connection, method=method)


def read_answer(connection: socket.socket, *, method: str = "GET") -> Answer:
    """The next response on this connection. Raises http.client.HTTPException when none comes."""
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
        pairs = tuple((name.lower(), value) for name, value in response.getheaders())
        return Answer(response.status, pairs, body)
    finally:
        response.close()
