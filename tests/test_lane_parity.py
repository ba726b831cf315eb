"""The lane and Django answer alike: one corpus of requests, replayed against a server with and one without the lane.

Every request goes out as raw bytes. A case is a few requests in a row, whose answers may depend on each other. What
must differ between two replays is made equal before they are compared: times, ETags, ages, and request ids that the
client did not choose.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import pytest

from tests.cast import Cast, Key, cast_fixture, expire, new_key, new_tenant, revoke  # noqa: F401  a fixture
from tests.client import Answer, exchange, request_bytes
from tests.processes import RunningServer

Headers = tuple[tuple[bytes, bytes], ...]
Comparable = tuple[int, list[tuple[str, str]], bytes]
ITEM = b"/api/v1/cache/"
JSON: Headers = ((b"Content-Type", b"application/json"),)
TOO_LARGE = 11 * 1024 * 1024


NOT_OURS = ("date", "connection")  # whether a connection can be kept depends on how much of a body had come


@dataclass(frozen=True)
class Request:
    """{n} in the target is the case's number, {etag} in a header the last ETag that the replay has seen."""

    method: str
    target: bytes
    headers: Headers = ()
    body: bytes | None = None
    who: str = "all"
    raw: bytes | None = None  # the whole request but the API key's header, instead of the above


def put(key: bytes, body: bytes = b'{"value": [1.0]}', headers: Headers = JSON, who: str = "all") -> Request:
    return Request("PUT", ITEM + key, headers, body, who)


def get(key: bytes, headers: Headers = (), who: str = "all") -> Request:
    return Request("GET", ITEM + key, headers, None, who)


def patch(key: bytes, body: bytes = b'{"tags": ["x"]}', headers: Headers = JSON, who: str = "all") -> Request:
    return Request("PATCH", ITEM + key, headers, body, who)


def delete(key: bytes, headers: Headers = (), who: str = "all") -> Request:
    return Request("DELETE", ITEM + key, headers, None, who)


def head(key: bytes, headers: Headers = (), who: str = "all") -> Request:
    return Request("HEAD", ITEM + key, headers, None, who)


KEYS = [
    b"", b"a", b"a/b", b"a%2Fb", b"a%2fb", b"/a", b"a//b", b"//", b"a/", b".", b"..", b"../batch", b"./x", b"a/../b",
    b"%2E%2E/x", b"%2e%2e%2fbatch", b"%00", b"a%00b", b"%0A", b"a%0Ab", b"%0D%0A", b"%1F", b"%7F", b"%C2%85",
    b"%C2%A0", b"%E2%80%A8", b"%FF", b"%C3", b"%ED%A0%80", b"%F4%90%80%80", b"%C0%AF", b"%zz", b"%", b"%2", b"%%",
    b"a+b", b"a%20b", b"%20", b"%25", b"%252F", b"\xc3\xa9", b"e%CC%81", b"\xf0\x9f\x98\x80", b"%F0%9F%98%80",
    b"%D7%A9%D7%9C", b"%E2%80%AE", b"%EF%BB%BF", b"x" * 512, b"x" * 513, b"%C3%A9" * 256, b"%C3%A9" * 256 + b"x",
    b"%78" * 512, b"a;b=c", b"a&b=c", b"a=b", b"a:b@c", b"a,b", b"a%3Fb", b"a%23b", b"*", b"'", b"(a)", b"$a!", b"~",
    b"openapi.json", b"%E2%82", b"%EF%BF%BD", b"%EF%BF%BF", b"\xff", b"a b", b'"', b"<a>", b"{a}", b"a\\b", b"^`|",
]  # fmt: skip

QUERIES = [
    b"?", b"?raw=true", b"?raw=false", b"?raw=TRUE", b"?raw=1", b"?raw=", b"?raw", b"?raw=true&raw=true", b"?nothing=1",
    b"?raw=%74rue", b"?%72aw=true", b"?raw=true&nothing=1", b"??", b"?&", b"?&&raw=true", b"?raw=true;x", b"?%FF=1",
    b"?raw=%FF", b"?%zz", b"?raw=true#f", b"?" + b"&".join([b"x=1"] * 101), b"?ttl=60", b"?tag=x&tag=y",
    b"?" + b"x" * 200, b"?raw=\xc3\xa9", b"?raw=\xff", b"?lease=x",
]  # fmt: skip

CONDITIONS: list[Headers] = [
    ((name, value),)
    for name in (b"If-Match", b"If-None-Match")
    for value in (b"*", b" * ", b"{etag}", b'"0123456789abcdef"', b'"0123456789ABCDEF"', b"W/{etag}", b"x", b"",
                  b'"0123456789abcdef", {etag}', b"\xff", b'"0"', b'"')
]  # fmt: skip
CONDITIONS += [
    ((b"If-Match", b"*"), (b"If-None-Match", b"*")),
    ((b"If-Match", b'"0123456789abcdef"'), (b"If-Match", b"{etag}")),
    ((b"If-Modified-Since", b"Fri, 20 Nov 2020 00:00:00 GMT"),),
    ((b"If-Unmodified-Since", b"Fri, 20 Nov 2020 00:00:00 GMT"),),
]

CONTENT_TYPES = [
    b"application/json; charset=utf-8", b"Application/JSON", b" application/json ", b"application/json,text/plain",
    b"application/jsonx", b"text/plain", b"text/plain; charset=utf-8", b"", b"application/x-www-form-urlencoded",
    b"Application/X-WWW-Form-URLencoded; charset=x", b"image", b"image/", b"a/b/c", b"\xff/x", b"text/html; x=\xc3\xa9",
    b"multipart/form-data; boundary=x", b"multipart/form-data", b"x/y; " + b"z" * 300, b"image/png\t; a=b",
]  # fmt: skip

BODIES = [
    b"", b" ", b"{", b"[]", b"null", b"1", b"{}", b'{"value": 1} x', b'{"value": 1}{}', b'{"value": }',
    b'{"value": NaN}', b'{"value": 01}', b'{"value": "\xff"}', b'{"value": "\\ud800"}', b'{"value": "\x00"}',
    b'\xef\xbb\xbf{"value": 1}', b'{"value": 1, "value": 2}', b'{"value": 1, "ttl": 0}', b'{"value": 1, "ttl": 1.5}',
    b'{"value": 1, "ttl": 31536001}', b'{"value": 1, "ttl": 99999999999999999999999}', b'{"value": 1, "ttl": "1"}',
    b'{"value": 1, "ttl": null}',
    b'{"value": 1, "tags": [""]}', b'{"value": 1, "tags": ["a", "a"]}', b'{"value": 1, "tags": ["\\u0000"]}',
    b'{"value": 1, "tags": ["\\ud800"]}', b'{"value": 1, "tags": "x"}', b'{"value": 1, "cost": 1}',
    b'{"value": 1, "cost": "1e5"}', b'{"value": 1, "\xc3\xa9": 1}', b'{"value": 1, "<b>": 1}',
    b'{"value": ' + b"[" * 3000, b'{"value": "\xed\xa0\x80"}', b"{'value': 1}", '{"value": 1}'.encode("utf-16"),
    b"value=1", b'{"value": 1, "' + b"y" * 500 + b'": 1}',
]  # fmt: skip

HEADERS: list[Headers] = [
    ((b"X-Request-Id", b"my-request"),),
    ((b"X-Request-Id", b"not sane"),),
    ((b"X-Request-Id", b"one"), (b"X-Request-Id", b"two")),
    ((b"X-Request-Id", b"\xff"),),
    ((b"Accept", b"text/html"),),
    ((b"Accept", b"application/xml;q=0.9"),),
    ((b"Accept", b"nonsense"),),
    ((b"Accept-Encoding", b"gzip, br"),),
    ((b"Accept-Language", b"de"),),
    ((b"Range", b"bytes=0-1"),),
    ((b"Cookie", b"sessionid=x; \xff"),),
    ((b"Origin", b"https://example.com"),),
    ((b"X-HTTP-Method-Override", b"DELETE"),),
    ((b"X-Forwarded-For", b"10.0.0.1"), (b"X-Forwarded-Proto", b"https"), (b"X-Forwarded-Host", b"example.com")),
    ((b"Content-Encoding", b"gzip"),),
    ((b"Content-Language", b"\xff"),),
    ((b"Expect", b"100-continue"),),
    ((b"Connection", b"close"),),
    ((b"X-Large", b"x" * 20_000),),
    ((b"X-Large", b"x" * 200_000),),
    tuple((b"X-Many-%d" % number, b"x") for number in range(90)),
    tuple((b"X-Many-%d" % number, b"x") for number in range(300)),
    ((b"Upgrade", b"websocket"), (b"Connection", b"Upgrade")),
    ((b"Host", b"example.com"),),
]

WHO = ["none", "all", "no-read", "no-write", "no-delete", "expired", "revoked", "outsider", "malformed", "x-api-key"]
TARGETS = [
    b"http://localhost/api/v1/cache/{n}", b"http://example.com/api/v1/cache/{n}", b"/api/v1/cache{n}",
    b"//api/v1/cache/{n}", b"/API/v1/cache/{n}", b"/api/v1/./cache/{n}", b"/api/v1/x/../cache/{n}",
    b"/api/v1/cache%2F{n}", b"/%61pi/v1/cache/{n}", b"/api/v1/cache;/{n}", b"", b"/", b"api/v1/cache/{n}",
]  # fmt: skip
METHODS = ["POST", "OPTIONS", "TRACE", "FOO", "get", "CONNECT", "PROPFIND"]


def item_sequence(key: bytes) -> list[Request]:
    return [put(key), get(key), get(key + b"?raw=true"), head(key), patch(key), delete(key), get(key + b"?raw=true")]


def every_method(key: bytes, who: str = "all", headers: Headers = ()) -> list[Request]:
    return [
        put(key, headers=(*JSON, *headers), who=who),
        get(key, headers, who),
        head(key, headers, who),
        patch(key, headers=(*JSON, *headers), who=who),
        delete(key, headers, who),
    ]


def raw(*parts: bytes, method: str = "PUT", who: str = "all") -> Request:
    """A request in its own words; `{auth}` is where the API key's header goes."""
    return Request(method, b"", raw=b"".join(parts), who=who)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> Request:
    start = b"PUT /api/v1/cache/{n} HTTP/1.1\r\nHost: localhost\r\n{auth}Content-Type: application/json\r\n"
    sent = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)
    return raw(start, CHUNKED, sent, end)


def announced(
    method: str, size: bytes, who: str = "all", headers: bytes = b"Content-Type: application/json\r\n"
) -> Request:
    """Says that a body of this size comes, and sends none of it."""
    start = b"%s /api/v1/cache/{n} HTTP/1.1\r\nHost: localhost\r\n{auth}" % method.encode()
    return raw(start, headers, b"Content-Length: ", size, b"\r\n\r\n", method=method, who=who)


def corpus() -> Iterator[tuple[str, list[Request]]]:
    for key in KEYS:
        yield f"key {key[:24]!r} {len(key)}", item_sequence(key)
    for query in QUERIES:
        yield f"query {query[:24]!r}", every_method(b"{n}" + query)
        yield (
            f"raw query {query[:24]!r}",
            [put(b"{n}" + query, b"\x00", ((b"Content-Type", b"image/png"),)), get(b"{n}")],
        )
    for condition in CONDITIONS:
        described = b" ".join(b": ".join(pair) for pair in condition)
        requests = every_method(b"{n}", headers=condition)
        yield f"condition on an absent entry {described!r}", requests
        yield f"condition {described!r}", [step for each in requests for step in (put(b"{n}"), each, get(b"{n}"))]
    for content_type in CONTENT_TYPES:
        typed = ((b"Content-Type", content_type),)
        requests = [put(b"{n}", headers=typed), get(b"{n}"), get(b"{n}?raw=true"), head(b"{n}")]
        yield f"content type {content_type[:30]!r}", [*requests, patch(b"{n}", headers=typed)]
    for body in BODIES:
        yield f"body {body[:30]!r} {len(body)}", [put(b"{n}", body), patch(b"{n}", body), get(b"{n}")]
    for headers in HEADERS:
        described = b" ".join(b": ".join(pair)[:20] for pair in headers)[:40]
        yield f"header {described!r} {len(headers)}", every_method(b"{n}", headers=headers)
    for who in WHO:
        yield f"caller {who}", every_method(b"{n}", who=who)
        yield f"caller {who}, bad request", every_method(b"{n}?nothing=1", who=who)
        yield f"caller {who}, bad key", every_method(b"%00", who=who)
        yield f"caller {who}, bad body", [put(b"{n}", b"{", who=who), patch(b"{n}", b"{", who=who)]
        yield f"caller {who}, form", [put(b"{n}", headers=(), who=who), patch(b"{n}", headers=(), who=who)]
        yield f"caller {who}, not met", every_method(b"{n}", who=who, headers=((b"If-Match", b'"0123456789abcdef"'),))
        for method in ("PUT", "PATCH", "GET", "DELETE"):
            yield f"caller {who}, {method} of too much", [announced(method, b"%d" % TOO_LARGE, who)]
    for method in METHODS:
        for target in (ITEM + b"{n}", ITEM, b"/api/v1/cache", b"/api/v1/batch", b"/api/v1/nowhere", b"*"):
            for who in ("all", "none"):
                yield f"{method} {target!r} by {who}", [Request(method, target, JSON, b"{}", who)]
    for target in TARGETS:
        yield f"target {target!r}", [Request("GET", target), Request("PUT", target, JSON, b'{"value": 1}')]
    for name, requests in WIRE.items():
        yield name, [*requests, get(b"{n}")]


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
AUTHORIZED_PUT = b"PUT /api/v1/cache/{n} HTTP/1.1\r\nHost: localhost\r\n{auth}Content-Type: application/json\r\n"
WIRE = {
    "chunked": [chunked(b'{"val', b'ue": 1}')],
    "chunked with an extension and a trailer": [
        raw(AUTHORIZED_PUT, CHUNKED, b'c;x=y\r\n{"value": 1}\r\n0\r\nX-Trailer: 1\r\n\r\n')
    ],
    "chunked and empty": [chunked()],
    "chunk size that is no number": [raw(AUTHORIZED_PUT, CHUNKED, b"xyz\r\n{}\r\n0\r\n\r\n")],
    "unknown transfer encoding": [raw(AUTHORIZED_PUT, b"Transfer-Encoding: gzip\r\n\r\n")],
    "both lengths": [
        raw(AUTHORIZED_PUT, b"Content-Length: 3\r\n", CHUNKED, b'c\r\n{"value": 1}\r\n0\r\n\r\n')
    ],
    "no length": [raw(AUTHORIZED_PUT, b"\r\n")],
    "length that is no number": [announced("PUT", b"x")],
    "negative length": [announced("PUT", b"-1")],
    "length with a plus": [announced("PUT", b"+0")],
    "length beyond 64 bits": [announced("PUT", b"9" * 30)],
    "two lengths": [raw(AUTHORIZED_PUT, b"Content-Length: 12\r\nContent-Length: 13\r\n\r\n", b'{"value": 1}')],
    "body of a GET": [Request("GET", ITEM + b"{n}", JSON, b'{"value": 1}')],
    "body of a DELETE": [Request("DELETE", ITEM + b"{n}", JSON, b'{"value": 1}')],
    "body of a HEAD": [Request("HEAD", ITEM + b"{n}", JSON, b'{"value": 1}')],
    "HTTP/1.0": [raw(b"PUT /api/v1/cache/{n} HTTP/1.0\r\n{auth}Content-Length: 12\r\n\r\n", b'{"value": 1}')],
    "HTTP/1.1 without a host": [raw(b"GET /api/v1/cache/{n} HTTP/1.1\r\n{auth}\r\n", method="GET")],
    "two API keys": [raw(AUTHORIZED_PUT, b"Authorization: Bearer x\r\nContent-Length: 12\r\n\r\n", b'{"value": 1}')],
    "API keys in both headers": [raw(AUTHORIZED_PUT, b"X-Api-Key: x\r\nContent-Length: 12\r\n\r\n", b'{"value": 1}')],
    "folded header": [raw(AUTHORIZED_PUT, b"X-Folded: a\r\n b\r\nContent-Length: 12\r\n\r\n", b'{"value": 1}')],
    "underscore header": [raw(AUTHORIZED_PUT, b"If_Match: x\r\nContent-Length: 12\r\n\r\n", b'{"value": 1}')],
    "list": [Request("GET", b"/api/v1/cache?limit=x"), Request("GET", b"/api/v1/cache?nothing=1")],
    "batch": [Request("POST", b"/api/v1/batch", JSON, b'{"operations":[{"op":"get","key":"absent"},{"op":"x"}]}')],
}  # fmt: skip
CORPUS = dict(corpus())


@dataclass(frozen=True)
class Side:
    """A server with a tenant of its own: what one replay writes, the other does not see."""

    url: str
    keys: dict[str, Key]

    def authorization(self, who: str, outsider: str) -> bytes:
        if who == "none":
            return b""
        if who == "malformed":
            return b"Authorization: Bearer ck_live_nonsense\r\n"
        if who == "outsider":
            return b"Authorization: Bearer %s\r\n" % outsider.encode()
        if who == "x-api-key":
            return b"X-Api-Key: %s\r\n" % self.keys["all"].token.encode()
        return b"Authorization: Bearer %s\r\n" % self.keys[who].token.encode()


@pytest.fixture(scope="module")
def sides(server: RunningServer, server_without_lane: RunningServer, cast: Cast) -> tuple[Side, Side]:
    def side(url: str) -> Side:
        tenant = new_tenant()
        all_but = {
            "no-read": ["write", "delete", "admin"],
            "no-write": ["read", "delete", "admin"],
            "no-delete": ["read", "write", "admin"],
        }
        keys = {who: new_key(tenant, scopes) for who, scopes in all_but.items()}
        return Side(
            url,
            {**keys, "all": new_key(tenant), "expired": expire(new_key(tenant)), "revoked": revoke(new_key(tenant))},
        )

    return side(server.url), side(server_without_lane.url)


def wire(request: Request, side: Side, outsider: str, number: int, etag: bytes) -> bytes:
    """The request's bytes."""
    authorization = side.authorization(request.who, outsider)
    if request.raw is not None:
        return request.raw.replace(b"{n}", b"%d" % number).replace(b"{auth}", authorization)
    headers = tuple((name, value.replace(b"{etag}", etag)) for name, value in request.headers)
    bare = request_bytes(request.method, request.target.replace(b"{n}", b"%d" % number), headers, request.body)
    line, _, rest = bare.partition(b"\r\n")
    return line + b"\r\n" + authorization + rest


def replay(side: Side, requests: Iterable[Request], outsider: str, number: int) -> list[Comparable]:
    """What came back to each request, comparable."""
    etag, seen = b'"0000000000000000"', list[Comparable]()
    for request in requests:
        sent = wire(request, side, outsider, number, etag)
        answer = exchange(side.url, sent, method=request.method)
        etag = (answer.header("etag") or etag.decode()).encode()
        seen.append(comparable(answer, sent))
    return seen


def comparable(answer: Answer, sent: bytes) -> Comparable:
    request_id = answer.header("x-request-id") or "none"
    ours = request_id.encode() not in sent

    def same(name: str, value: str) -> str:
        if name == "etag":
            return re.sub(r'^"[0-9a-f]{16}"$', "an ETag", value)
        if name == "age":
            return re.sub(r"^\d+$", "an age", value)
        if name == "x-request-id" and ours:
            return "an id"
        return value

    headers = sorted((name, same(name, value)) for name, value in answer.headers if name not in NOT_OURS)
    body = re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", b"a time", answer.body)
    return answer.status, headers, body.replace(request_id.encode(), b"an id") if ours else body


@pytest.mark.parametrize("name", CORPUS)
def test_same_answers(sides: tuple[Side, Side], cast: Cast, name: str) -> None:
    number = list(CORPUS).index(name)
    with_lane, without = (replay(side, CORPUS[name], cast.outsider, number) for side in sides)
    for request, lane, django in zip(CORPUS[name], with_lane, without, strict=True):
        assert lane == django, request


def test_comparison_tells_a_difference(sides: tuple[Side, Side], cast: Cast) -> None:
    """The comparison itself: another status, header or byte of a body is seen."""
    side = sides[0]
    answer = exchange(side.url, wire(get(b"comparison"), side, cast.outsider, 0, b""))
    assert comparable(answer, b"") == comparable(replace(answer, headers=(*answer.headers, ("date", "x"))), b"")
    for other in (
        replace(answer, status=201),
        replace(answer, headers=(*answer.headers, ("vary", "Accept"))),
        replace(answer, headers=answer.headers[1:]),
        replace(answer, body=answer.body + b" "),
    ):
        assert comparable(answer, b"") != comparable(other, b"")


def test_corpus_is_large() -> None:
    assert len(CORPUS) >= 120
