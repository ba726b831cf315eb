"""Values as nobody should send them: they come back exactly, or are refused with a clear 4xx. Never a 500."""

import json
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from select import select
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tests.cast import Cast, cast_fixture, new_caller  # noqa: F401  a fixture
from tests.client import CACHE, Answer, Client, connect, exchange, read_answer
from tests.processes import RunningServer, wait_for
from tests.servers import forget_peak, own_server, worker_memory

MAX_VALUE_BYTES = 10 * 1024 * 1024
MIB = 1024 * 1024


@pytest.fixture(params=["server", "server_without_lane"])
def running(request: pytest.FixtureRequest) -> RunningServer:
    server: RunningServer = request.getfixturevalue(request.param)
    return server


@pytest.fixture
def client(running: RunningServer, cast: Cast) -> Iterator[Client]:
    with Client(running.url, cast.first.token) as client:
        yield client


@pytest.fixture(scope="module")
def one_client(server: RunningServer, cast: Cast) -> Iterator[Client]:
    with Client(server.url, cast.first.token) as client:
        yield client


@pytest.fixture
def key() -> str:
    return f"value-{secrets.token_hex(8)}"


def check_refused(client: Client, key: str, answer: Answer, status: int = 400, code: str = "invalid_request") -> None:
    assert (answer.status, answer.error_code()) == (status, code), answer.body[:300]
    assert client.get(key).json() == {"key": key, "hit": False}


def check_round_trip(client: Client, key: str, value: bytes) -> None:
    """As JSON: stored, and given back byte for byte, both bare and in an envelope that parses as a whole."""
    written = client.put(key, value)
    assert written.status == 201, written.body[:300]
    assert written.json()["size_bytes"] == len(value)
    assert client.get(key, "?raw=true").body == value
    hit = client.get(key).body
    assert hit.startswith(b'{"key":%s,"value":%s,' % (json.dumps(key).encode(), value))
    assert json.loads(hit, parse_int=str)["hit"] is True


# Nesting


@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")], ids=["[", "{", "[{"])
@pytest.mark.parametrize("levels", [100, 400, 512])
def test_deep_nesting_comes_back(client: Client, key: str, start: bytes, end: bytes, levels: int) -> None:
    count = levels // (start.count(b"[") + start.count(b"{"))
    check_round_trip(client, key, start * count + b"1" + end * count)


@pytest.mark.parametrize(("start", "end"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[{"a":', b"}]")], ids=["[", "{", "[{"])
@pytest.mark.parametrize("count", [10_000, 100_000, 1_000_000])
def test_deeper_nesting_is_refused(client: Client, key: str, start: bytes, end: bytes, count: int) -> None:
    value = start * count + b"1" + end * count
    check_refused(client, key, client.put(key, value))
    assert "nested too deeply" in client.put(key, value).error_message()
    for body in (start * count, b'{"value":1,"tags":%s}' % value, b'{"value":1,"what":%s}' % value, value):
        check_refused(client, key, client.put_body(key, body))
    batch = b'{"operations":[{"op":"put","key":"%s","value":%s}]}' % (key.encode(), value)
    check_refused(client, key, client.send("POST", "/api/v1/batch", batch, {"content-type": "application/json"}))


def test_nesting_has_one_limit_by_every_way(
    server: RunningServer, server_without_lane: RunningServer, cast: Cast
) -> None:
    """What one plane takes, the other does, and a value that was taken never comes to be unreadable."""

    def deepest(url: str, path: str, envelope: bytes) -> int:
        low, high = 100, 2000
        with Client(url, cast.first.token) as client:
            while high - low > 1:
                middle = (low + high) // 2
                body = envelope % (b"[" * middle + b"]" * middle)
                method = "POST" if path.endswith("batch") else "PUT"
                answer = client.send(method, path, body, {"content-type": "application/json"})
                assert answer.status in (200, 201, 400), answer.body[:300]
                if b'"status":400' in answer.body or answer.status == 400:
                    high = middle
                else:
                    low = middle
                    assert client.get("deepest", "?raw=true").body in body
        return low

    put, batch = b'{"value":%s}', b'{"operations":[{"op":"put","key":"deepest","value":%s}]}'
    limits = {
        (name, path): deepest(each.url, path, envelope)
        for name, each in {"lane": server, "Django": server_without_lane}.items()
        for path, envelope in {f"{CACHE}/deepest": put, "/api/v1/batch": batch}.items()
    }
    assert len(set(limits.values())) == 1, limits


# Size


@pytest.mark.parametrize("filling", ["x", "random"])
@pytest.mark.parametrize("content_type", ["application/json", "application/octet-stream"])
def test_ten_mebibytes_and_one_byte_more(client: Client, key: str, content_type: str, filling: str) -> None:
    as_json = content_type == "application/json"

    def value(size: int) -> bytes:
        inner = b"x" * size if filling == "x" else os.urandom(size // 2 + 1).hex().encode()
        return b'"%s"' % inner[: size - 2] if as_json else inner[:size]

    def put(value: bytes) -> Answer:
        body = b'{"value":%s,"ttl":60}' % value if as_json else value
        return client.put_body(key, body, headers={"content-type": content_type})

    too_large = put(value(MAX_VALUE_BYTES + 1))
    check_refused(client, key, too_large, 413, "value_too_large")
    assert str(MAX_VALUE_BYTES) in too_large.error_message()
    largest = value(MAX_VALUE_BYTES)
    assert (put(largest).status, len(largest)) == (201, MAX_VALUE_BYTES)
    kept = client.get(key, "?raw=true")
    assert kept.body == largest
    assert put(value(MAX_VALUE_BYTES + 1)).error_code() == "value_too_large"
    assert client.get(key, "?raw=true").header("etag") == kept.header("etag")
    client.delete(key)


def test_far_too_large_is_refused_unread(client: Client, key: str) -> None:
    """By its Content-Length alone: the answer comes although nothing of the body does."""
    for size in (b"11534337", b"10000000000", b"9223372036854775807"):
        head = b"PUT /api/v1/cache/%s HTTP/1.1\r\nHost: localhost\r\n" % key.encode()
        head += b"Authorization: Bearer %s\r\nContent-Type: application/json\r\n" % (client.api_key or "").encode()
        answer = exchange(client.url, head + b"Content-Length: " + size + b"\r\n\r\n", method="PUT")
        check_refused(client, key, answer, 413, "value_too_large")
        assert size.decode() in answer.error_message()


# Content


@pytest.mark.parametrize(
    "value",
    [b'{"a":1,"a":2,"a":[{"a":3,"a":4}]}', b'{"":0,"":1}', b"1" * 5000, b"-" + b"9" * 5000, b"1e999999", b"1e-999999",
     b"0." + b"0" * 5000 + b"1", b"-0", b'"' + b"\\u0000" * 100 + b'"', b'"\\ud83d\\ude00"', b'"\xf4\x8f\xbf\xbf"',
     b'"\xef\xbf\xbf\xef\xb7\x90"', b'"\x7f\xc2\x80"', b'"\\/\\b\\f\\n\\r\\t\\"\\\\"', b"[" + b"[]," * 50_000 + b"[]]"],
    ids=lambda value: ascii(value[:30]),
)  # fmt: skip
def test_odd_but_valid_value_comes_back(client: Client, key: str, value: bytes) -> None:
    check_round_trip(client, key, value)


@pytest.mark.parametrize(
    "value",
    [b"NaN", b"Infinity", b"-Infinity", b"nan", b"[NaN]", b"-NaN", b'"\\ud800"', b'"\\udc00\\ud800"', b'"\\ud800x"',
     b'{"\\udfff":1}', b'"\\ud800\\u0041"', b'"\xed\xa0\x80"', b'"\xed\xa0\xbd\xed\xb8\x80"', b'"\xff"', b'"\xc0\x80"',
     b'"\xf4\x90\x80\x80"', b'"\xc3"', b'"\x00"', b'"\n"', b'"\x1f"', b"\x00", b"1\x00", b"01", b"1.", b".5", b"+1",
     b"1e", b"0x10", b"-", b"--1", b"1_000", b"True", b"None", b"undefined", b"'a'", b"{a:1}", b"[1,]", b'{"a":1,}',
     b"[,1]", b"[1 2]", b'{"a" 1}', b'{1:1}', b"[", b"]", b"{", b'"', b'"\\', b'"\\x41"', b'"\\u12"', b'"\\u12g4"',
     b'"\\U00000041"', b"", b" ", b"// x\n1", b"/* */1", b"1;", b"\xef\xbb\xbf1", b"\xa01", b"\xc2\xa01", b"\x0c1",
     b"1\x0b", b"\xe2\x80\xa81"],
    ids=ascii,
)  # fmt: skip
def test_what_is_no_json_is_refused(client: Client, key: str, value: bytes) -> None:
    check_refused(client, key, client.put(key, value))


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1", "utf-8-sig"])
def test_json_is_utf8(one_client: Client, key: str, encoding: str) -> None:
    check_refused(one_client, key, one_client.put_body(key, '{"value": "é"}'.encode(encoding, errors="replace")))


def test_duplicate_members_of_the_envelope(client: Client, key: str) -> None:
    """The last one counts, as it does for every JSON parser in wide use."""
    assert client.put_body(key, b'{"value":1,"ttl":5,"value":2.0,"ttl":60}').status == 201
    assert client.get(key, "?raw=true").body == b"2.0"


def test_every_truncation_is_refused(one_client: Client, key: str) -> None:
    body = '{"value": {"a": [1.5, "é\\u00e9😀", null]}, "ttl": 60, "tags": ["x"], "cost": "0.04"}'.encode()
    for length in range(len(body)):
        assert one_client.put_body(key, body[:length]).error_code() == "invalid_request", body[:length]
    assert one_client.get(key).json()["hit"] is False
    assert one_client.put_body(key, body).status == 201


# On the wire


def start_of_put(client: Client, key: str, *headers: bytes) -> bytes:
    start = b"PUT /api/v1/cache/%s HTTP/1.1\r\nHost: localhost" % key.encode()
    authorization = b"Authorization: Bearer %s" % (client.api_key or "").encode()
    return b"\r\n".join([start, authorization, b"Content-Type: application/json", *headers, b"", b""])


def test_chunks_of_every_size(client: Client, key: str) -> None:
    value = os.urandom(300_000).hex().encode()
    body = b'{"value":"%s"}' % value
    for number, size in enumerate((1, 7, 4096, 65_535, 65_536, 65_537, len(body))):
        short = body[:2000] + b'"}' if size < 100 else body
        chunks = [short[start : start + size] for start in range(0, len(short), size)]
        answer = client.send("PUT", f"{CACHE}/{key}-{number}", iter(chunks), {"content-type": "application/json"})
        assert answer.status == 201, answer.body[:300]
        assert client.get(f"{key}-{number}", "?raw=true").body == short[len(b'{"value":') : -1]


def send_until_answered(connection: socket.socket, piece: bytes, most: int) -> Answer:
    """Send the piece again and again, up to `most` bytes, until an answer comes."""
    sent = 0
    with suppress(BrokenPipeError, ConnectionResetError):
        while sent < most and not select([connection], [], [], 0)[0]:
            connection.sendall(piece)
            sent += len(piece)
    assert sent < most, "it was read without end"
    return read_answer(connection, method="PUT")


def test_chunked_body_is_counted_as_it_comes(client: Client, key: str) -> None:
    piece = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    with connect(client.url) as connection:
        connection.sendall(start_of_put(client, key, b"Transfer-Encoding: chunked"))
        answer = send_until_answered(connection, piece, 100 * MIB)
    check_refused(client, key, answer, 413, "value_too_large")


@pytest.fixture(scope="module")
def impatient(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Tenant A's first key at a server that waits one second for a body."""
    directory = tmp_path_factory.mktemp("impatient")
    with (
        own_server(directory, CACHE_BODY_TIMEOUT_SECONDS="1", CACHE_LANE="on") as running,
        Client(running.url, cast.first.token) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def impatient_without_lane(cast: Cast, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("impatient")
    with (
        own_server(directory, CACHE_BODY_TIMEOUT_SECONDS="1", CACHE_LANE="off") as running,
        Client(running.url, cast.first.token) as client,
    ):
        yield client


@pytest.fixture(params=["impatient", "impatient_without_lane"])
def hurried(request: pytest.FixtureRequest) -> Client:
    client: Client = request.getfixturevalue(request.param)
    return client


UNFINISHED = {
    "chunked without end": (b"Transfer-Encoding: chunked", b'9\r\n{"value":\r\n'),
    "chunked without a last chunk": (b"Transfer-Encoding: chunked", b'b\r\n{"value":1}\r\n'),
    "chunk cut short": (b"Transfer-Encoding: chunked", b'ff\r\n{"value":1}'),
    "fewer bytes than announced": (b"Content-Length: 12", b'{"value":1}'),
    "no byte of what is announced": (b"Content-Length: 11", b""),
}


@pytest.mark.parametrize("name", UNFINISHED)
def test_body_that_does_not_end_is_a_400_in_time(hurried: Client, key: str, name: str) -> None:
    header, body = UNFINISHED[name]
    with connect(hurried.url) as connection:
        connection.sendall(start_of_put(hurried, key, header) + body)
        answer = read_answer(connection, method="PUT")
    check_refused(hurried, key, answer)
    assert answer.error_message().startswith("body: it did not arrive within 1 seconds")


def test_slow_body_is_a_400_in_time(hurried: Client, key: str) -> None:
    """It drips, but never stops; what counts is the whole time, not the time between two bytes."""
    with connect(hurried.url) as connection:
        connection.sendall(start_of_put(hurried, key, b"Content-Length: 1000") + b'{"value":"')
        dripped = 0
        while not select([connection], [], [], 0.1)[0]:
            connection.sendall(b"x")
            dripped += 1
            assert dripped < 300, "it waited on"
        answer = read_answer(connection, method="PUT")
    check_refused(hurried, key, answer)


@pytest.mark.parametrize("name", UNFINISHED)
def test_client_that_goes_away_midway_leaves_nothing(client: Client, key: str, name: str) -> None:
    header, body = UNFINISHED[name]
    with connect(client.url) as connection:
        connection.sendall(start_of_put(client, key, header) + body)
        connection.shutdown(socket.SHUT_WR)
        rest = connection.recv(65_536)  # closed, or refused
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 "), rest
    assert client.get(key).json()["hit"] is False


def test_more_bytes_than_announced_are_not_the_body(client: Client, key: str) -> None:
    """What follows the announced length is another request, and here none that makes sense."""
    with connect(client.url) as connection:
        connection.sendall(start_of_put(client, key, b"Content-Length: 11") + b'{"value":1},"ttl":1}\r\n\r\n')
        assert read_answer(connection, method="PUT").status == 201
        rest = b""
        while part := connection.recv(65_536):
            rest += part
    assert rest == b"" or rest.startswith(b"HTTP/1.1 400 "), rest
    assert client.get(key, "?raw=true").body == b"1"
    with connect(client.url) as connection:
        connection.sendall(start_of_put(client, f"{key}-2", b"Content-Length: 10") + b'{"value":1}')
        check_refused(client, f"{key}-2", read_answer(connection, method="PUT"))


@pytest.mark.parametrize("length", [b"-1", b"x", b"1, 2", b"0x10", b"1 1", b"18446744073709551616"])
def test_length_that_makes_no_sense(client: Client, key: str, length: bytes) -> None:
    answer = exchange(
        client.url, start_of_put(client, key, b"Content-Length: " + length) + b'{"value":1}', method="PUT"
    )
    assert answer.status in (400, 413)
    assert client.get(key).json()["hit"] is False


def test_length_and_chunks_together_smuggle_nothing(client: Client, key: str) -> None:
    """Either it is refused, or the chunks count and the connection ends: never two readings of one request."""
    smuggled = start_of_put(client, f"{key}-smuggled", b"Content-Length: 11") + b'{"value":1}'
    with connect(client.url) as connection:
        head = start_of_put(client, key, b"Content-Length: 5", b"Transfer-Encoding: chunked")
        connection.sendall(head + b"0\r\n\r\n" + smuggled)
        connection.settimeout(3)
        received = b""
        with suppress(TimeoutError):
            while part := connection.recv(65_536):
                received += part
    assert received.startswith(b"HTTP/1.1 400 "), received
    assert client.get(f"{key}-smuggled").json()["hit"] is False


# Against a reference


def refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def has_lone_surrogate(content: Any) -> bool:
    if isinstance(content, str):
        return any("\ud800" <= each <= "\udfff" for each in content)
    return isinstance(content, (list, tuple)) and any(map(has_lone_surrogate, content))


def is_json(text: bytes) -> bool:
    """RFC 8259 in UTF-8, by Python's parser, which takes NaN and Infinity unless told not to. Escapes of lone
    surrogates, of which RFC 8259 (8.2) says that they are unpredictable, are refused."""
    try:
        content = json.loads(
            text.decode(), parse_constant=refuse, parse_int=str, parse_float=str, object_pairs_hook=list
        )
    except ValueError:
        return False
    return not has_lone_surrogate(content)


TOKENS = [b"{", b"}", b"[", b"]", b":", b",", b'"', b"\\", b"null", b"true", b"false", b"nul", b"NaN", b"-Infinity",
          b"-", b"+", b"0", b"1", b"12", b".", b"e", b"E+", b"1.5e-7", b'"a"', b'"a":', b'""', b'"\\u00e9"', b"\\u",
          b"d83d", b'"\\ud83d\\ude00"', b'"\\ud800"', b'"\xf0\x9f\x98\x80"', b"\xed\xa0\x80", b"\xff", b"\xc3", b"\xa9",
          b" ", b"\t", b"\n", b"\r", b"\x0b", b"\x00", b"\x1f", b"\x7f", b"\xc2\xa0", b"\xef\xbb\xbf", b"/", b"'",
          b"\\n"]  # fmt: skip
tokens = st.lists(st.sampled_from(TOKENS), min_size=1, max_size=12).map(b"".join)
contents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@st.composite
def documents(draw: st.DrawFn) -> bytes:
    """JSON as it may be written, NaN and lone surrogates included."""
    text = json.dumps(
        draw(contents), ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 0, 1, "\t"]))
    )
    return text.encode(errors="surrogatepass")


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """JSON with a few bytes changed."""
    text = bytearray(draw(documents()))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(start + 3, len(text))))
        text[start:end] = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=2)))
    return bytes(text)


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(documents(), mutants(), tokens, st.binary(max_size=12)))
@example(b'"\\ud83d\\ud83d\\ude00"')
@example(b'{"\\udc00":1}')
@example(b"-0.0e-0")
@example(b'"\\u0000"')
def test_value_is_taken_exactly_when_it_is_json(one_client: Client, value: bytes) -> None:
    wanted, body = is_json(value), b'{"value":%s,"ttl":60}' % value
    assume(wanted or not is_json(body))  # `1,"cost":"2"` is no value, and yet makes a sensible body
    key = "differential"
    operation = b'{"operations":[{"op":"put","key":"differential-batch","ttl":60,"value":%s}]}' % value
    batch = one_client.send("POST", "/api/v1/batch", operation, {"content-type": "application/json"})
    written = one_client.put_body(key, body)
    if not wanted:
        assert (written.status, written.error_code()) == (400, "invalid_request"), value
        assert batch.status == 400 or [result["status"] for result in batch.json()["results"]] == [400]
        return
    exact = value.strip(b" \t\r\n")
    assert written.status in (200, 201), (value, written.body)
    assert [result["status"] for result in batch.json()["results"]] in ([200], [201])
    for each in (key, "differential-batch"):
        assert one_client.get(each, "?raw=true").body == exact
        hit = one_client.get(each).body
        assert hit.startswith(b'{"key":"%s","value":%s,"created_at":"' % (each.encode(), exact))
        assert is_json(hit)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(mutants(), tokens, st.binary(max_size=30)))
def test_any_body_is_taken_or_a_clear_400(one_client: Client, body: bytes) -> None:
    for method, path in ("PUT", f"{CACHE}/any"), ("PATCH", f"{CACHE}/any"), ("POST", "/api/v1/batch"):
        answer = one_client.send(method, path, body, {"content-type": "application/json"})
        assert (answer.status, answer.error_code()) == (400, "invalid_request"), (method, body)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=3000))
def test_any_bytes_come_back_raw(one_client: Client, value: bytes) -> None:
    assert one_client.put_raw("any-raw", value, "application/octet-stream").status in (200, 201)
    assert one_client.get("any-raw", "?raw=true").body == value


# Memory


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("lane", ["on", "off"])
def test_memory_is_bounded(cast: Cast, committed_db: None, tmp_path: Path, lane: str) -> None:
    """Many large bodies at once, whole, too large, without end and cut short: what is in flight is bounded by
    CACHE_BODY_BYTES_IN_FLIGHT, and nothing stays.

    The bound: at most 16 MiB of bodies, each of them up to five times while its value is parsed, sealed and sent
    (pieces, body, value, ciphertext, statement), and 32 MiB that the allocator keeps: 112 MiB.
    """
    large = b'{"value":"%s"}' % (b"x" * (5 * MIB))
    with own_server(tmp_path, CACHE_BODY_BYTES_IN_FLIGHT=str(16 * MIB), CACHE_LANE=lane) as server:
        token = new_caller().token
        with Client(server.url, token) as client:
            assert client.put_body("warm", large).status == 201
            assert client.get("warm").status == 200
        before = worker_memory(server)
        forget_peak(server)

        def hostile(number: int) -> set[int]:
            statuses = set()
            with Client(server.url, token) as client:
                for round_ in range(3):
                    statuses.add(client.put_body(f"{number}-{round_}", large).status)
                    piece = b"100000\r\n" + b"[" * MIB + b"\r\n"
                    with connect(server.url) as connection:
                        connection.sendall(start_of_put(client, f"{number}", b"Transfer-Encoding: chunked"))
                        statuses.add(send_until_answered(connection, piece, 100 * MIB).status)
                    with connect(server.url) as connection, suppress(BrokenPipeError, ConnectionResetError):
                        connection.sendall(start_of_put(client, f"{number}", b"Content-Length: 8000000") + large)
            return statuses

        with ThreadPoolExecutor(12) as pool:
            statuses = set().union(*pool.map(hostile, range(12)))
        peak = worker_memory(server, "VmHWM")
        assert statuses <= {200, 201, 400, 413, 503}, statuses
        assert 201 in statuses
        with Client(server.url, token) as client:
            assert client.put_body("afterwards", large).status == 201, "bytes in flight were not given back"
        assert peak - before < 112 * MIB, f"{(peak - before) / MIB:.0f} MiB more"


# Who may send


@pytest.mark.parametrize("path", [b"/api/v1/cache/key", b"/api/v1/batch"])
@pytest.mark.parametrize("announced", [b"Content-Length: 9000000", b"Transfer-Encoding: chunked"])
def test_large_body_of_a_stranger_is_not_waited_for(
    server: RunningServer, server_without_lane: RunningServer, cast: Cast, path: bytes, announced: bytes
) -> None:
    """Only the head is sent: the answer can come only from a server that did not want the body."""
    method = b"POST" if path.endswith(b"batch") else b"PUT"
    for token in (cast.outsider, cast.revoked.token):
        start = [method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Authorization: Bearer " + token.encode()]
        head = b"\r\n".join([*start, b"Content-Type: application/json", announced, b"", b""])
        for each in (server, server_without_lane):
            with connect(each.url) as connection:
                connection.sendall(head)
                assert read_answer(connection, method=method.decode()).error_code() == "invalid_api_key"


def test_body_where_none_belongs_is_not_waited_for(server: RunningServer) -> None:
    with connect(server.url) as connection:
        connection.sendall(b"POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\n")
        assert read_answer(connection, method="POST").error_code() == "method_not_allowed"


def test_slow_readers_hold_bounded_memory_for_a_bounded_time(committed_db: None, tmp_path: Path) -> None:
    """Two answers fit; a third is refused, until the two readers that take nothing are cut off."""
    limits = {"CACHE_ANSWER_BYTES_IN_FLIGHT": str(20 * MIB), "CACHE_ANSWER_TIMEOUT_SECONDS": "2"}
    with own_server(tmp_path, **limits) as server, Client(server.url, new_caller().token) as client:
        assert client.put_raw("large", os.urandom(9 * MIB), "image/png").status == 201
        authorization = b"Authorization: Bearer %s" % (client.api_key or "").encode()
        request = b"\r\n".join([b"GET /api/v1/cache/large?raw=true HTTP/1.1", b"Host: a", authorization, b"", b""])
        with connect(server.url) as first, connect(server.url) as second:
            for slow in (first, second):
                slow.sendall(request)
                assert slow.recv(12) == b"HTTP/1.1 200"
            refused = client.get("large", "?raw=true")
            assert (refused.status, refused.error_code()) == (503, "unavailable")
            assert refused.header("retry-after") == "1"
            wait_for(lambda: client.get("large", "?raw=true").status == 200, 20, "the slow readers are cut off")
            with suppress(ConnectionResetError):
                received = 0
                while piece := first.recv(MIB):
                    received += len(piece)
                assert received < 9 * MIB, "it was not cut off"
