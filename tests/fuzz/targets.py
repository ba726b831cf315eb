"""What is fuzzed: each parser of outside bytes with seeds, what it may raise, and what must hold of what it returns.

A target takes any bytes. Where a parser takes several, they are the parts between `SEPARATOR`s.
"""

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime
from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import zstandard
from cacheservice_client.cli import jsontext, lines
from cacheservice_client.values import Encoded
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accounts import key_requests, keyring, networks, people_requests, tokens
from accounts.wrapping import CannotUnwrap, LocalKey, Use, open_sealed
from cacheservice import addresses, http
from cacheservice.entries import batch, browsing, crypto, requests
from cacheservice.entries.collection import Cursor, Selection
from cacheservice.errors import APIError
from gateway import (
    answers,
    budget_requests,
    embeddings,
    personal_data,
    plan,
    pricing,
    provider_requests,
    providers,
    spend_requests,
    sse,
    time_sensitive,
    upstreams,
)
from gateway import requests as gateway_requests
from gateway.apis import _APIS, api_for, reading, usages
from gateway.apis.base import API
from gateway.errors import UpstreamFailed
from gateway.policy import DEFAULT_POLICY, Policy
from gateway.pricing import Rates
from gateway.providers import Upstream

SEPARATOR = b"\x1e"
SEEDS = Path(__file__).parent / "seeds"  # what was found, one file each: seeds/<target>/<name>
MOST_BYTES = 4096  # of an input


class Target(NamedTuple):
    name: str
    run: Callable[[bytes], object]
    refusals: tuple[type[Exception], ...]  # what it may raise
    seeds: tuple[bytes, ...]

    def __call__(self, data: bytes) -> None:
        with suppress(*self.refusals):
            self.run(data)

    def all_seeds(self) -> list[bytes]:
        found = sorted((SEEDS / self.name).glob("*"))
        return [b"", *self.seeds, *(path.read_bytes() for path in found)]


_TARGETS: dict[str, Target] = {}


def target(*seeds: bytes, raises: tuple[type[Exception], ...] = (APIError,)) -> Callable[[Any], Any]:
    def put(run: Callable[[bytes], object]) -> Callable[[bytes], object]:
        name = run.__name__
        _TARGETS[name] = Target(name, run, raises, seeds)
        return run

    return put


def targets() -> dict[str, Target]:
    return dict(_TARGETS)


def parts(data: bytes, count: int) -> list[bytes]:
    found = data.split(SEPARATOR, count - 1)
    return [*found, *[b""] * (count - len(found))]


def joined(*seeds: bytes) -> bytes:
    return SEPARATOR.join(seeds)


# Entries


@target(b"key", b"a%2Fb/c", b"%00", b"%ff", "schlüssel".encode(), b"%F0%9F%98%80", b"%", b"k" * 513)
def keys_in_paths(data: bytes) -> None:
    key = requests.parse_key(data)
    assert 1 <= len(key.encode()) <= requests.MAX_KEY_BYTES
    assert requests.parse_key("".join(f"%{byte:02X}" for byte in key.encode()).encode()) == key


JSON = b"application/json"
PUT = b'{"value": {"a": [1.0, "\\u00e9", 1e400]}, "ttl": 60, "tags": ["x"], "cost": "0.04"}'


@target(
    joined(JSON, b"", PUT),
    joined(JSON, b"", b'{"value":' + b"[" * 600 + b"]" * 600 + b"}"),
    joined(b"image/png", b"ttl=60&tag=a&tag=b&cost=0.1", b"\x89PNG"),
    joined(b"text/plain; charset=utf-8", b"ttl=%31", b"text"),
    joined(JSON, b"", b'{"value":"\\ud800"}'),
)
def put_requests(data: bytes) -> None:
    content_type, query, body = parts(data, 3)
    entry = requests.parse_put(content_type or None, query, body, 1000)
    assert len(entry.value) <= 1000
    assert entry.value in body
    assert entry.ttl is None or 1 <= entry.ttl <= requests.MAX_TTL_SECONDS
    if entry.content_type is None:
        entry.value.decode()
        with suppress(ValueError, RecursionError):  # Python has limits of its own
            json.loads(entry.value)
    if entry.cost is not None:
        Decimal(entry.cost)


@target(joined(JSON, b'{"ttl": 60}'), joined(JSON, b'{"tags": ["a", "a"]}'))
def patch_requests(data: bytes) -> None:
    requests.parse_patch(*parts(data, 2))


@target(
    b'{"operations": [{"op": "get", "key": "a"}, {"op": "put", "key": "a", "value": 0}, {"op": "delete", "key": ""}]}',
    b'{"operations": [{"op": "put", "key": "\\u0000", "value": 1}, {"op": "frob"}, 1, "x"]}',
)
def batches(data: bytes) -> None:
    operations = requests.parse_batch(JSON, data, 3000)
    parsed = [batch._parse(operation) for operation in operations]
    for operation in parsed:
        if isinstance(operation, requests.PutOperation):
            with suppress(APIError):
                requests.put_operation_entry(operation, 1000)
        elif isinstance(operation, APIError):
            json.loads(operation.body("id"))
    groups = list(batch.independent_groups(parsed))
    assert [operation for group in groups for operation in group] == parsed


@target(joined(b'"0123456789abcdef"', b""), joined(b"*", b""), joined(b"", b"*"), joined(b'W/"0123456789abcdef"', b""))
def conditions(data: bytes) -> None:
    match, none_match = (part.decode("latin-1") or None for part in parts(data, 2))
    condition = requests.parse_conditions(match, none_match)
    assert -(1 << 63) <= condition.version < 1 << 63
    requests.matches(match or "", condition.version)


@target(b"tag=a&tag=b&prefix=c&limit=10&include=stats&raw=true&lease=30&wait=10", b"limit=0", b"%zz=%ff", b"&&=&")
def queries(data: bytes) -> None:
    names = ("tag", "prefix", "limit", "include", "raw", "lease", "wait")
    parameters = requests.parse_query(data, names, repeatable=("tag",))
    for read in (
        lambda: requests.parse_flag(parameters, "raw"),
        lambda: requests.parse_limit(parameters),
        lambda: requests.parse_choice(parameters, "include", ("stats",)),
        lambda: requests.parse_lease(parameters),
        lambda: requests.check_tags(parameters.get("tag", [])),
        lambda: requests.check_prefix(parameters.get("prefix", [""])[0]),
    ):
        with suppress(APIError):
            read()


_selection = Selection("", ("a",))


@target(*(Cursor(key, 7, 8, _selection.digest()).encode().encode() for key in ("key", "\x00", "é", "")))
def list_cursors(data: bytes) -> None:
    cursor = Cursor.decode(data.decode("latin-1"), _selection)
    assert Cursor.decode(cursor.encode(), _selection) == cursor


@target(browsing.Cursor("key", 1, 2, False, "x").encode().encode(), b"a:b:c")
def console_cursors(data: bytes) -> None:
    browsing.Cursor.decode(data.decode("latin-1"), "x")


@target(b"0123456789abcdef", b"ffffffffffffffff", b"0000000000000000")
def lease_tokens(data: bytes) -> None:
    token = requests.parse_lease_token({b"x-cache-lease": data})
    assert requests.lease_text(token).encode() == data


@target(b"an-id", b"x" * 65)
def request_ids(data: bytes) -> None:
    assert len(http.request_id(data)) <= 64


_body_loop: list[asyncio.AbstractEventLoop] = []


@target(
    joined(b"5", b"ab\x00cde"),
    joined(b"", b"ab\x00cde\x00"),
    joined(b"99999999999999999999", b"x"),
    joined(b"2", b"abc"),
)
def bodies(data: bytes) -> None:
    """Its pieces are parted by zeros; Content-Length is what the server has checked to be digits, or chunked."""
    length, sent = parts(data, 2)
    pieces = [piece * 40 for piece in sent.split(b"\x00")]
    headers = {b"content-length": length} if length.isdigit() else {b"transfer-encoding": b"chunked"}
    reader = http.BodyReader(bytes_in_flight=200_000, timeout=60)
    left = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    left[-1]["more_body"] = False

    async def receive() -> dict[str, Any]:
        return left.pop(0) if left else {"type": "http.disconnect"}

    if not _body_loop:
        _body_loop.append(asyncio.new_event_loop())
    try:
        body = _body_loop[0].run_until_complete(reader.read(receive, headers, 100_000))
        assert b"".join(pieces).startswith(body)
        assert len(body) <= 100_000
        reader.release(body)
    finally:
        assert reader.in_flight == 0


_key = AESGCM(bytes(range(32)))
_identity = crypto.Identity(7, 0, "key", 1, 2, None)


@target(
    joined(b"100", crypto.seal(_key, _identity, b"v" * 100)),
    joined(b"9000", crypto.seal(_key, _identity, b"v" * 9000)),
    raises=(crypto.CannotOpen,),
)
def sealed_values(data: bytes) -> None:
    size, sealed = parts(data, 2)
    value = crypto.open_sealed(_key, _identity, sealed, int(size[:6]) if size.isdigit() else 0)
    assert set(value) == {ord("v")}  # nothing else was sealed


@target(
    joined(b"9000", zstandard.compress(b"v" * 9000)),
    joined(b"1", zstandard.compress(bytes(50_000_000))),
    joined(b"3", zstandard.ZstdCompressor(write_content_size=False).compress(b"abc")),
    raises=(crypto.CannotOpen,),
)
def compressed_values(data: bytes) -> None:
    """Rightly sealed, whatever is in it: what it unpacks to is bounded by its size."""
    size, packed = parts(data, 2)
    form, nonce = crypto.FORMAT | crypto.COMPRESSED, bytes(12)
    sealed = bytes((form,)) + nonce + _key.encrypt(nonce, packed, crypto._additional_data(form, _identity))
    wanted = int(size[:6]) if size.isdigit() else 0
    assert len(crypto.open_sealed(_key, _identity, sealed, wanted)) == wanted


# Accounts

_token = tokens.new_token(123)


@target(_token.encode(), _token[:-1].encode() + b"x", b"ck_live_", b"\xff" * 69)
def api_key_tokens(data: bytes) -> None:
    token = tokens.parse(data)
    assert tokens.decode_id(tokens.encode_id(token.api_key_id)) == token.api_key_id


@target(joined(b"Bearer " + _token.encode(), b""), joined(b"", b"x"), joined(b"bearer  x ", b"y"))
def authorization_headers(data: bytes) -> None:
    authorization, key = parts(data, 2)
    headers = {b"authorization": authorization} if authorization else {}
    assert tokens.from_headers({**headers, b"x-api-key": key})


@target(tokens.encode_id(0).encode(), tokens.encode_id((1 << 63) - 1).encode(), b"zzzzzzzzzzz", raises=(ValueError,))
def ids(data: bytes) -> None:
    text = data.decode("latin-1")
    assert tokens.encode_id(tokens.decode_id(text)) == text


@target(
    joined(b"10.0.0.1", b"203.0.113.7, 10.0.0.2"),
    joined(b"::ffff:10.0.0.1", b"[2001:db8::1]:443, unknown"),
    joined(b"10.0.0.1", b"fe80::1%eth0,,1.2.3.4:80"),
    joined(b"x", b"y"),
    raises=(),
)
def client_addresses(data: bytes) -> None:
    peer, forwarded = parts(data, 2)
    scope = {"client": (peer.decode("latin-1"), 1), "headers": [(b"x-forwarded-for", forwarded)]}
    known, addresses.TRUSTED_PROXIES = addresses.TRUSTED_PROXIES, (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))
    try:
        address = addresses.client_address(scope)
        assert networks.parse_address(address) is not None
        assert "%" not in address
        networks.holds(["0.0.0.0/0"], address)
    finally:
        addresses.TRUSTED_PROXIES = known


@target(b"203.0.113.0/24", b"2001:db8::/32", b"::ffff:203.0.113.0/120", b"1.2.3.4/255.255.255.0", b"1.2.3.4/0.0.0.255",
        raises=(ValueError,))  # fmt: skip
def allow_lists(data: bytes) -> None:
    allowed = networks.checked(data.decode("latin-1").split(","))
    assert networks.checked(allowed) == allowed
    assert allowed is not None
    for text in allowed:
        assert networks.holds([text], str(ip_network(text).network_address))


@target(
    b'{"name": "x", "scopes": ["read"], "expires_at": "2099-01-01T00:00:00Z", "credit_limit": "1.50"}',
    b'{"name": "x", "ttl": 60, "allowed_networks": ["10.0.0.0/8"], "requests_per_minute": 5, "storage_quota": 0}',
    b'{"overlap": 60}',
    b'{"name": "x", "expires_at": "9999-12-31T23:59:59-23:59"}',
)
def api_key_requests(data: bytes) -> None:
    with suppress(APIError):
        key_requests.parse_rotate(JSON, data)
    with suppress(APIError):
        key_requests.limits(key_requests.given(key_requests.parse_update(JSON, data)))
    sent = key_requests.parse_create(JSON, data)
    with suppress(APIError):
        key_requests.limits(msgspec.structs.asdict(sent))
    moment = key_requests.expiry(sent, datetime(2026, 1, 1, tzinfo=UTC))
    assert moment is None or moment > datetime(2026, 1, 1, tzinfo=UTC)


@target(
    joined(b"actor=x&group=team&from=2026-11-20&to=2026-11-20T10:00:00Z&limit=5&format=csv", b"text/csv"),
    joined(b"by=day,user&from=2026-01-01&to=2026-02-01", b"*/*;q=0.5"),
    joined(b"from=0001-01-01", b""),
    joined(b"to=9999-12-31", b""),
    joined(b"to=0001-01-01T00:00:00", b""),
)
def report_queries(data: bytes) -> None:
    query, accept = parts(data, 2)
    with suppress(APIError):
        people_requests.parse(query, accept.decode("latin-1"), 7)
    with suppress(APIError):
        spend_requests.parse_prompts(query, date(2026, 11, 21))
    spend_requests.parse(query, accept.decode("latin-1"), date(2026, 11, 21))


_master_key = LocalKey(bytes(range(32)))
_master_keys = keyring.MasterKeys("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "fuzzing")


@target(_master_key.encrypt(b"data key", Use.data_key(7, 1)), raises=(CannotUnwrap,))
def wrapped_data_keys(data: bytes) -> None:
    assert open_sealed(AESGCM(bytes(range(32))), data, Use.data_key(7, 1)) == b"data key"


@target(_master_keys.seal("a secret", "second factor").encode(), raises=(CannotUnwrap,))
def sealed_secrets(data: bytes) -> None:
    assert _master_keys.open(data.decode("latin-1"), "second factor") == "a secret"


# The gateway


def upstream(kind: str = "openai", **fields: Any) -> Upstream:
    said: dict[str, Any] = {
        **{"tenant_id": 7, "name": "main", "kind": kind, "base_url": "https://api.example.com"},
        **{"credential": b"sk", "credential_header": "authorization", "policy": DEFAULT_POLICY, "fallbacks": ()},
        "revision": 1,
    }
    return Upstream(**{**said, **fields})


@target(
    joined(b"POST", b"/gateway/openai/v1/chat/completions", b"a=b"),
    joined(b"GET", b"/gateway/x/../y", b""),
    joined(b"post", b"/gateway/openai", b"\xff"),
)
def gateway_paths(data: bytes) -> None:
    method, path, query = parts(data, 3)
    scope = {"method": method.decode("latin-1"), "raw_path": path, "query_string": query}
    name, rest, text = gateway_requests.route(scope)
    assert rest.startswith("/")
    assert (name + rest + text).isascii()


@target(
    b"cache-control: no-cache, max-age=60\nx-cache-ttl: 60\nx-cache-tags: a, b\nx-cache-user: me\nx-cache-key: k",
    b"cache-control: no-store\nx-upstream-authorization: Bearer x\nx-other: \xc3\xa9\nx-other: \xff",
    b"cache-control: max-age=\xb2, =, ,max-age",
)
def gateway_headers(data: bytes) -> None:
    pairs = [line.partition(b": ") for line in data.split(b"\n")]
    headers = [(name.lower(), value) for name, _, value in pairs if name]
    joined_headers = gateway_requests.joined(headers)
    said = gateway_requests.directives(joined_headers)
    assert said.store or not said.read  # no-store is no-cache too
    for name, value in gateway_requests.for_upstream(headers):
        assert gateway_requests.goes_upstream(name.encode())
        value.encode()


CHAT = (
    b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "hi a@example.com"}], "temperature": 0, "stream":'
    b' true, "stream_options": {"include_usage": true}, "max_tokens": 5, "n": 2, "user": "me"}'
)
MESSAGES = (
    b'{"model": "claude", "max_tokens": 5, "temperature": 0, "system": [{"type": "text", "text": "now"}],'
    b' "messages": [{"role": "user", "content": [{"type": "text", "text": "4111 1111 1111 1111"}]}]}'
)
PATHS = ("/v1/chat/completions", "/v1/messages", "/v1/embeddings", "/v1/images/generations", "/v1/responses", "/other")
_PERSONAL = Policy(
    personal_data=("email", "phone", "card", "bank"), personal_patterns=("secret-[0-9]+",), text="normalized"
)
_UPSTREAMS = (upstream(), upstream("anthropic", policy=_PERSONAL, name="second"), upstream("other", policy=_PERSONAL))


@target(
    b"\x00" + CHAT,
    b"\x01" + MESSAGES,
    b'\x02{"model": "e", "input": ["a", "b"], "dimensions": 3}',
    b'\x03{"model": "i", "prompt": "p", "seed": 1, "n": 2, "size": "1024x1024"}',
    b'\x04{"model": "r", "input": [{"type": "input_file", "file_id": "x"}], "previous_response_id": "y"}',
    b'\x05{"a": 1e400, "b": 9007199254740993, "c": -0.0, "d": [[[[]]]], "temperature": "1"}',
    b'\x00{"a": 1, "a": 2}',
    b'\x05{"model": 1, "user": {}, "metadata": {"user_id": "\\u0000x"}, "max_tokens": "100", "n": 1.0}',
)
def gateway_bodies(data: bytes) -> None:
    """The plan of a request, and what else is read of its body."""
    path, body = PATHS[(data[:1] or b"\0")[0] % len(PATHS)], data[1:]
    decoded = plan.decoded(body)
    for each in _UPSTREAMS:
        said = gateway_requests.PLAIN
        asked = plan.Asked("POST", path, "", {}, body, None, said)
        found = plan._plan(each, asked)
        assert len(found.fingerprint) in (0, 32)
        if decoded is None:
            continue
        api = found.api
        plan.prompt(api, decoded)
        api.worst_output(decoded), api.choices(decoded), api.hidden_input(decoded), api.images(decoded)
        pricing.count_image_parts(decoded)
        reading.encoded(api.upstream_body(decoded))
        if found.fingerprint:  # white space and the order of members say nothing
            other = msgspec.json.format(msgspec.json.encode(dict(reversed(list(decoded.items())))), indent=1)
            if plan.decoded(other) == decoded:
                assert plan._plan(each, asked._replace(body=other)).fingerprint == found.fingerprint


@target(
    joined(b"3", b"data: {}\n\ndata: [DONE]\n\n"),
    joined(b"1", b"\xef\xbb\xbfevent: x\r\ndata: a\r\ndata: b\r\n\r\n: comment\r\rdata\r\r"),
    joined(b"2", b"\r\n\r\ndata: x\n\r\n\r\r\n"),
    raises=(),
)
def event_streams(data: bytes) -> None:
    """However a stream is cut into pieces, the same events come of it, and no byte is lost."""
    step, stream = parts(data, 2)
    size = max(1, (step or b"\1")[0] % 16)
    whole, cut = sse.Parser(), sse.Parser()
    events = whole.feed(stream)
    pieces = [event for at in range(0, len(stream), size) for event in cut.feed(stream[at : at + size])]
    said = [(event.name, event.data) for event in events if event.data or event.name]
    assert [(event.name, event.data) for event in pieces if event.data or event.name] == said
    events += whole.finish()
    pieces += cut.finish()
    for parser, found in ((whole, events), (cut, pieces)):
        assert b"".join(event.raw for event in found) + parser.rest == stream


def apis() -> Iterator[API]:
    yield from {type(api): api for api in (*_APIS.values(), api_for("other", "/x"))}.values()


CHUNK = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"role":"assistant","content":"'
)
STREAM = (
    CHUNK + b'he"},"finish_reason":null}]}\n\n' + CHUNK + b'y"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,'
    b'"completion_tokens":2}}\n\ndata: [DONE]\n\n'
)
TOOLS = (
    b'data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"t","type":"function","function":{"name":"f",'
    b'"arguments":"{"}}]}}]}\n\ndata: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":'
    b'"}"}}]},"finish_reason":"tool_calls","logprobs":{"content":[{}]}}]}\n\ndata: [DONE]\n\n'
)
ANTHROPIC = (
    b'event: message_start\ndata: {"type":"message_start","message":{"content":[],"usage":{"input_tokens":3}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text",'
    b'"text":""}}\n\nevent: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":'
    b'"text_delta","text":"a"}}\n\nevent: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":'
    b'2}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n'
)
RESPONSES = (
    b'event: response.completed\ndata: {"type":"response.completed","response":{"status":"completed","output":[],'
    b'"usage":{"input_tokens":1,"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1}}}}\n\n'
)


_DEEP = [b'data: {"a":%s}\n\n' % (b"[" * levels + b"]" * levels) for levels in (400, 900, 950, 1000)]


@target(STREAM, TOOLS, ANTHROPIC, RESPONSES, b'data: {"error":{}}\n\n', *_DEEP, raises=())
def upstream_streams(data: bytes) -> None:
    """As whole answers, for those who did not ask for a stream; and those as streams again."""
    events = answers.events_of(data)
    for api in apis():
        for event in events:
            api.ends(event)
            api.client_events(event, {"stream": True})
        with suppress(ValueError):
            answers.shown(api, {}, answers.Form.EVENTS, data, streams=False)
            _read(api, api.assemble(events))


ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hey"},"finish_reason":"stop"}],"usage":{}}'
MESSAGE = (
    b'{"type":"message","content":[{"type":"text","text":"a","citations":[{}]},{"type":"tool_use","input":{"a":1}}],'
    b'"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":2,"cache_read_input_tokens":1}}'
)


@target(
    ANSWER,
    MESSAGE,
    b'{"data":[{"url":"https://x"},{"b64_json":"eA=="}],"usage":{"input_tokens":1}}',
    b'{"status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"candidates":[{"finishReason":"STOP"}]}',
    b'{"usageMetadata":{"promptTokenCount":1,"thoughtsTokenCount":1e400}}',
    b'{"data":' + b"[" * 3000,
    raises=(ValueError,),
)
def upstream_answers(data: bytes) -> None:
    answer = reading.loads(data)
    if not isinstance(answer, dict):
        return
    for api in apis():
        with suppress(ValueError):
            answers.shown(api, {"stream": True}, answers.Form.JSON, data, streams=True)
        _read(api, answer)


def _read(api: API, answer: Any) -> None:
    """Whatever the gateway reads of an answer; and shown as a stream it is the same answer."""
    reason = api.incomplete(answer)
    assert reason is None or reason.isprintable()
    api.longest_ttl(answer)
    usage = api.usage(answer)
    if usage is not None:
        assert all(0 <= count <= reading.MOST_COUNTED * 4 for count in usage)
    if not api.converts:
        return
    with suppress(ValueError):
        stream = b"".join(api.replay(answer))
        events = answers.events_of(stream)
        assert b"".join(event.raw for event in events) == stream
        api.assemble(events)


@target(joined(b"2", b'{"data":[{"index":1,"embedding":[0.1]},{"index":0,"embedding":"AAAA"}],"usage":{}}'),
        joined(b"1", b'{"data":[{"index":0,"embedding":' + b"[" * 3000), raises=(UpstreamFailed,))  # fmt: skip
def embeddings_answers(data: bytes) -> None:
    count, body = parts(data, 2)
    strings = [str(number) for number in range((count or b"1")[0] % 8)]
    assert list(embeddings._embeddings(body, strings)) == strings


@target(b'{"usage":{"prompt_tokens":5,"completion_tokens":6,"total_tokens":20,"prompt_tokens_details":{"cached_tokens":2}}}',
        b'{"usage":{"input_tokens":true,"output_tokens":-1}}', MESSAGE, raises=(ValueError,))  # fmt: skip
def counts_and_prices(data: bytes) -> None:
    """What an answer says was used, and what that costs: exact, and never below zero."""
    answer = reading.loads(data)
    if not isinstance(answer, dict):
        return
    tier, rates = answer.get("service_tier"), Rates(Decimal("0.000000001"), None, Decimal("999999999.999999999"))
    for usage in (usages.usage_of(answer), usages.messages_usage(answer)):
        for model, own in (("gpt-4o", None), ("gpt-4o", rates), (str(answer.get("model")), None)):
            cost = pricing.price("openai", model, usage, own, tier=tier if isinstance(tier, str) else None)
            assert cost is None or (cost >= 0 and cost == cost.quantize(pricing.NANO_USD))


@target(
    b'{"kind": "openai", "policy": {"ttl": 60, "personal_patterns": ["a+"], "time_sensitive_words": ["now"]}}',
    b'{"kind": "other", "base_url": "https://x", "credential": "s", "credential_header": "x-key", "fallbacks": ["a"]}',
    b'{"kind": "openai", "policy": {"personal_patterns": ["(((a{1000}){1000}){1000})", "(?i)\\\\pN"]}}',
    raises=(APIError, ValueError),
)
def provider_settings(data: bytes) -> None:
    settings = provider_requests.parse_put(JSON, data)
    assert providers.policy_of(msgspec.to_builtins(settings.policy)) == settings.policy
    personal_data.check_patterns(settings.policy.personal_patterns)
    time_sensitive.check_words(settings.policy.time_sensitive_words)
    personal_data.found(["a text", "n" * 100], settings.policy)
    time_sensitive.is_time_sensitive(["what is new now"], settings.policy.time_sensitive_words)


@target(
    b'{"usd_per_day": "25.00", "model": "m", "api_key_id": "00000000001", "alert_percent": 80}',
    b'{"input_per_million": "0.000000001", "per_call": null}',
)
def budget_settings(data: bytes) -> None:
    for parse in (budget_requests.parse_create, budget_requests.parse_update, budget_requests.parse_price):
        with suppress(APIError):
            sent: Any = parse(JSON, data)
            assert all(value >= 0 for value in sent.values() if isinstance(value, Decimal))


@target(b"call +49 170 1234567 or a@example.com", b"4111 1111 1111 1111", b"DE89 3704 0044 0532 0130 00", raises=())
def personal_data_in_texts(data: bytes) -> None:
    personal_data.found([data.decode("utf-8", "replace")], _PERSONAL)
    time_sensitive.is_time_sensitive([data.decode("utf-8", "replace")], DEFAULT_POLICY.time_sensitive_words)


@target(b"120", b"Wed, 21 Oct 2026 07:28:00 GMT", b"Mon, 01 Jan 99999999999999999999 00:00:00 GMT", b"-1", raises=())
def retry_after(data: bytes) -> None:
    asked = upstreams._retry_after(data.decode("latin-1"))
    assert asked is None or asked >= 0


@target(b"Content-Type: text/event-stream; charset=utf-8\nConnection: x-one\nX-One: 1\nSet-Cookie: a", raises=())
def upstream_headers(data: bytes) -> None:
    pairs = [line.partition(b": ") for line in data.split(b"\n")]
    passed = dict(upstreams._passed_on([(name, value) for name, _, value in pairs]))
    assert b"set-cookie" not in passed
    for value in passed.values():
        answers.form_of(value.decode("latin-1"))


# The clients' own format


@target(
    b'{"key":"k","value":{"a":1.0},"ttl":60,"tags":["a"],"cost":"0.1"}',
    b'{"key":"k","value_base64":"eA==","content_type":"image/png","expires_at":"2099-01-01T00:00:00Z"}',
    b'{"key":"\\ud800","value":1}',
    b'{"key":"k","value":1,"expires_at":"0001-01-01T00:00:00+23:59"}',
    raises=(ValueError,),
)
def imported_lines(data: bytes) -> None:
    line = lines.parse(data, 1)
    line.operation() if line.value.content_type is None else None
    assert lines.parse(lines.render("k", line.value, "2099-01-01T00:00:00Z", line.tags), 1).value == line.value


@target(b'{"a": [1, "x"], "b": null}', b'["a", {}, 1e5]', b'{"a":1,"a":2}', raises=(ValueError,))
def json_texts(data: bytes) -> None:
    text = data.decode()
    jsontext.check(text)
    for part in jsontext.items(text) if text.lstrip().startswith("[") else jsontext.members(text).values():
        jsontext.check(part)


@target(b'{"a": 1}', b"\x00", raises=())
def stored_values(data: bytes) -> None:
    """What an export writes of any value, an import reads as the same."""
    value = Encoded(data, "application/octet-stream")
    assert lines.parse(lines.render("k", value, "2099-01-01T00:00:00Z", []), 1).value == value
