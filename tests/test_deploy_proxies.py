"""deploy/Caddyfile and deploy/nginx with the real programs: what the API allows gets through, and as it was sent."""

import http.client
import json
import re
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from accounts import keys
from cacheservice.entries import items
from cacheservice.entries.requests import MAX_KEY_BYTES, MAX_TAG_BYTES, MAX_TAGS
from cacheservice.supervisor import IDLE_SECONDS
from tests.cast import ACTOR, Key, new_caller
from tests.client import Client, item
from tests.gateway_cast import Client as GatewayClient
from tests.gateway_cast import new_client, question
from tests.processes import HOST, ROOT, RunningServer, wait_for
from tests.proxies import PROXIES, RunningProxy, program
from tests.servers import own_server
from tests.upstreams import RunningUpstream, upstream

__all__ = ["upstream"]

MIB = 1024 * 1024
KEYS = [
    "a/b//c",
    "/leads with a slash/",
    "per%2Fcent%25",
    "one/../two",
    "./here/.",
    "dots/..",
    "snowman ☃ 🦄 e\u0301",
    "?query#fragment;semicolon&and=equals+plus",
    'back\\slash "quoted" <html> [brackets] {braces} |pipe ^~`\'',
    "\u00e9" * (MAX_KEY_BYTES // 2),
]


class ThroughTLS(Client):
    """A client of a proxy, from an address of this machine."""

    def __init__(self, proxy: RunningProxy, token: str | None, address: str = HOST) -> None:
        super().__init__(proxy.url, token)
        self._http.close()
        transport = httpx.HTTPTransport(verify=proxy.trust(), local_address=address)
        self._http = httpx.Client(base_url=proxy.url, timeout=60, trust_env=False, transport=transport)


@pytest.fixture(scope="module")
def behind(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """The server behind the proxies."""
    directory = tmp_path_factory.mktemp("behind")
    settings = {
        "CACHE_TRUSTED_PROXIES": HOST,
        "CACHE_PUBLIC_URL": "https://localhost",
        "CACHE_GATEWAY_ALLOW_NETWORKS": "127.0.0.0/8",
    }
    with own_server(directory, **settings) as running:
        yield running


@pytest.fixture(scope="module", params=list(PROXIES))
def proxy(
    request: pytest.FixtureRequest, behind: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningProxy]:
    if program(request.param) is None:
        pytest.skip(f"no {request.param} here: apt-get install {request.param}")
    port = int(behind.url.rpartition(":")[2])
    with PROXIES[request.param](tmp_path_factory.mktemp(request.param), port) as running:
        yield running


@pytest.fixture
def key(committed_db: None) -> Key:
    return new_caller()


@pytest.fixture
def client(proxy: RunningProxy, key: Key) -> Iterator[ThroughTLS]:
    with ThroughTLS(proxy, key.token) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "keeps"),
    [
        ("deploy/Caddyfile", r"^\s*keepalive (\d+)s$"),
        ("deploy/nginx/cacheservice.conf", r"^\s*keepalive_timeout (\d+)s;$"),
        ("clients/python/src/cacheservice_client/transport.py", r"^_IDLE_SECONDS = (\d+)\b"),
    ],
)
def test_idle_connections_are_closed_before_the_server_closes_them(path: str, keeps: str) -> None:
    """Or a request sent just then is lost. deploy/start says the same as `server_command`."""
    [seconds] = re.findall(keeps, (ROOT / path).read_text(), re.MULTILINE)
    assert 0 < int(seconds) <= IDLE_SECONDS - 5
    assert f"--http1-header-read-timeout {IDLE_SECONDS * 1000}" in (ROOT / "deploy/start").read_text()


def test_keys_arrive_as_they_were_sent(client: ThroughTLS) -> None:
    for name in KEYS:
        assert client.put(name, "value").json()["key"] == name
        assert client.get(name).json()["value"] == "value"
        assert [row["key"] for row in client.list(f"?prefix={quote(name, safe='')}").json()["keys"]] == [name]
        assert client.delete(name).json() == {"key": name, "deleted": True}


def test_dots_may_be_percent_encoded(client: ThroughTLS) -> None:
    path = "/api/v1/cache/%2E%2E%2Fone%2f%2e%2E/%2e%2e"
    assert (
        client.send("PUT", path, b'{"value": 1}', {"content-type": "application/json"}).json()["key"] == "../one/../.."
    )


def test_only_nginx_refuses_keys_that_climb_above_the_root_and_a_batch_takes_them(
    client: ThroughTLS, proxy: RunningProxy
) -> None:
    name = "../../../../etc/passwd"
    alone = client.put(name, 1)
    [result] = client.batch([{"op": "put", "key": name, "value": 2}]).json()["results"]
    assert result["body"]["key"] == name
    if proxy.name == "nginx":
        assert (alone.status, alone.json()["error"]["code"]) == (400, "invalid_request")
    else:
        assert alone.json()["key"] == name


def test_all_tags_and_a_key_of_full_length_fit_percent_encoded(client: ThroughTLS) -> None:
    tags = [f"{number:02}" + "é" * (MAX_TAG_BYTES // 2 - 1) for number in range(MAX_TAGS)]
    query = "?ttl=60&" + "&".join(f"tag={quote(tag, safe='')}" for tag in tags)
    name = "☃" * (MAX_KEY_BYTES // 3)
    assert client.put_raw(name, b"bytes", "image/png", query=query).status == 201
    assert client.list("?" + query.partition("&")[2]).json()["total"] == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_the_largest_value_goes_through_and_a_larger_one_is_refused_clearly(client: ThroughTLS, chunked: bool) -> None:
    largest = secrets.token_bytes(items.max_body_bytes() - items.ENVELOPE_BYTES)
    bodies: list[Any] = [largest, b"x" * (items.max_body_bytes() + 1), b"x" * (11 * MIB)]
    if chunked:
        bodies = [pieces(body) for body in bodies]
    stored, *refused = [client.send("PUT", item("large"), body, {"content-type": "image/png"}) for body in bodies]
    assert stored.status == 201
    for answer in refused:
        assert (answer.status, answer.json()["error"]["code"]) == (413, "value_too_large")
    assert client.get("large", "?raw=true").body == largest


@pytest.mark.parametrize("size", [2 * MIB, 30 * MIB])
def test_a_large_body_without_an_api_key_is_refused_for_that(proxy: RunningProxy, size: int) -> None:
    with ThroughTLS(proxy, None) as stranger:
        answers = [stranger.send("PUT", item("k"), b"x" * size, {"content-type": "image/png"}) for _ in range(5)]
    expected = 413 if proxy.name == "nginx" and size > items.max_body_bytes() else 401
    assert [answer.status for answer in answers] == [expected] * 5


def pieces(body: bytes) -> Iterator[bytes]:
    for start in range(0, len(body), 256 * 1024):
        yield body[start : start + 256 * 1024]


def test_an_answer_of_ten_mib_in_base_64_comes_whole(client: ThroughTLS) -> None:
    value = secrets.token_bytes(items.max_body_bytes() - items.ENVELOPE_BYTES)
    assert client.put_raw("large", value, "image/png").status == 201
    assert len(client.get("large").json()["value"]) > 13 * MIB


def test_nobody_can_say_that_they_come_from_elsewhere(proxy: RunningProxy, key: Key) -> None:
    """Two addresses of this machine: only from one may the key be used. The proxy itself has the other."""
    keys.update_api_key(key.row, allowed_networks=("127.0.0.2/32", "203.0.113.0/24"), actor=ACTOR)
    with ThroughTLS(proxy, key.token, "127.0.0.2") as allowed, ThroughTLS(proxy, key.token, "127.0.0.3") as other:
        assert allowed.get("k").status == 200
        for said in ("127.0.0.2", "203.0.113.9", "203.0.113.9, 127.0.0.1", '203.0.113.9", "127.0.0.2'):
            for name in ("x-forwarded-for", "X-Forwarded-For", "forwarded", "x-real-ip", "x_forwarded_for"):
                assert other.get("k", headers={name: said}).status == 403, (name, said)
        assert allowed.get("k", headers={"x-forwarded-for": "198.51.100.7"}).status == 200


def test_the_server_knows_that_it_is_asked_over_tls_and_by_which_name(proxy: RunningProxy) -> None:
    """`__Host-` cookies and HSTS are for TLS alone, and the console answers no other host."""
    with ThroughTLS(proxy, None) as browser:
        page = browser.send("GET", "/console/account/login/", headers={"x-forwarded-proto": "http"})
        assert page.status == 200
        assert page.header("strict-transport-security") is not None
        assert "__Host-csrf" in str(page.headers)


def test_metrics_cannot_be_reached(proxy: RunningProxy) -> None:
    paths = ["/metrics", "/metrics?a=b", "/%6detrics", "/metrics/", "//metrics", "/x/../metrics", "/./metrics"]
    paths += ["/gateway/..%2fmetrics", "/api/v1/cache/%2e%2e/%2e%2e/%2e%2e/metrics", "/METRICS"]
    with ThroughTLS(proxy, None) as stranger:
        for path in paths:
            answer = stranger.send("GET", path)
            assert answer.status in (401, 404), (path, answer)
            assert b"# HELP" not in answer.body


def test_a_stream_comes_event_by_event(proxy: RunningProxy, behind: RunningServer, upstream: RunningUpstream) -> None:
    """The provider holds the stream after one event: it must have arrived by then."""
    upstream.reset()
    caller = new_client(behind, upstream)
    connection, answer = begin(proxy, caller, upstream)
    try:
        first = answer.readline()
        assert json.loads(first.removeprefix(b"data: "))["object"] == "chat.completion.chunk"
        assert answer.getheader("x-cache") == "MISS"
        upstream.release()
        rest = answer.read()
        assert rest.endswith(b"data: [DONE]\n\n")
    finally:
        connection.close()
        upstream.reset()


def begin(
    proxy: RunningProxy, caller: GatewayClient, upstream: RunningUpstream
) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
    """A streamed call whose provider sends one event, and the answer's head."""
    upstream.hold(after_events=1)
    connection = http.client.HTTPSConnection("localhost", proxy.port, timeout=30, context=proxy.trust())
    headers = {"Authorization": f"Bearer {caller.key.token}", "Content-Type": "application/json"}
    connection.request("POST", "/gateway/openai/v1/chat/completions", json.dumps(question(stream=True)), headers)
    return connection, connection.getresponse()


def test_a_client_that_leaves_is_noticed_by_the_provider(
    proxy: RunningProxy, behind: RunningServer, upstream: RunningUpstream
) -> None:
    upstream.reset()
    caller = new_client(behind, upstream)
    caller.policy(on_disconnect="cancel")
    connection, answer = begin(proxy, caller, upstream)
    answer.readline()
    answer.close()
    connection.close()
    wait_for(lambda: upstream.calls()[0].disconnected, 20, "the provider's call is cancelled")
    upstream.reset()


def test_logs_hold_neither_keys_nor_api_keys(client: ThroughTLS, proxy: RunningProxy, key: Key) -> None:
    """Of a request that the server answers, nor of one that the proxy refuses or whose server closes on it."""
    canary = f"canary-{secrets.token_hex(8)}"
    assert client.put(canary, 1, tags=[canary]).status == 201
    assert client.get("../../../../" + canary).status in (200, 400)
    client.send("PUT", item(canary), b"x" * (12 * MIB), {"content-type": "image/png", "x-api-key": key.token})
    assert canary not in proxy.logged()
    assert key.token not in proxy.logged()
