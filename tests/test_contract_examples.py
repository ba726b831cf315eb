"""The contract's examples and sentences on one entry and on many, literally, against a real server."""

import base64
import json
import re
import secrets
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from cacheservice.entries.models import Entry
from tests.cast import Cast, Key, cast_fixture, new_caller  # noqa: F401  a fixture
from tests.client import CACHE, Answer, Client, item
from tests.processes import RunningServer, wait_for

DEFAULT_TTL, MAX_TTL = 604_800, 31_536_000
MAX_VALUE_BYTES = 10 * 1024 * 1024
PNG = b"\x89PNG\r\n\x1a\n\x00\xff\xfe"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
ETAG = re.compile(r'"[0-9a-f]{16}"')


@pytest.fixture(scope="module")
def client(server: RunningServer, cast: Cast) -> Iterator[Client]:
    """Tenant A's first key."""
    with Client(server.url, cast.first.token) as client:
        yield client


@pytest.fixture
def alone(server: RunningServer, committed_db: None) -> Iterator[Client]:
    """A tenant that has nothing else."""
    with Client(server.url, new_caller().token) as client:
        yield client


@pytest.fixture
def key() -> str:
    return f"chat-{secrets.token_hex(8)}"


@pytest.fixture(scope="module")
def expired(client: Client) -> Iterator[Iterator[str]]:
    """Keys of entries that were there and have expired, each to be used once."""
    keys = [f"expired-{secrets.token_hex(8)}" for _ in range(16)]
    for each in keys:
        assert client.put(each, "gone", ttl=1, tags=["expired"]).status == 201
    wait_for(lambda: not client.get(keys[-1]).json()["hit"], 10, "the expiry of an entry with a ttl of 1")
    yield iter(keys)


def moment(text: str) -> datetime:
    assert TIME.fullmatch(text), text
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


def lifetime(content: dict[str, Any]) -> timedelta:
    return moment(content["expires_at"]) - moment(content["created_at"])


def etag(answer: Answer) -> str:
    value = answer.header("etag")
    assert value is not None
    assert ETAG.fullmatch(value), value
    return value


def hit_body(key: str, value: bytes, content: dict[str, Any], extra: bytes = b"") -> bytes:
    """The contract's body of a hit, to the byte."""
    return b'{"key":%s,"value":%s,%s"created_at":"%s","expires_at":"%s","hit":true}' % (
        json.dumps(key).encode(),
        value,
        extra,
        content["created_at"].encode(),
        content["expires_at"].encode(),
    )


# PUT


def test_put_as_in_the_contract(client: Client, key: str) -> None:
    body = b'{"value": {"text": "Hello!"}, "ttl": 86400, "tags": ["greetings", "common"], "cost": "0.04"}'
    made, replaced = client.put_body(key, body), client.put_body(key, body)
    for answer, status in (made, 201), (replaced, 200):
        content = answer.json()
        assert answer.status == status
        assert list(content) == ["key", "created_at", "expires_at", "size_bytes"]
        assert (content["key"], content["size_bytes"]) == (key, len(b'{"text": "Hello!"}'))
        assert lifetime(content) == timedelta(seconds=86400)
    assert etag(made) != etag(replaced)


@pytest.mark.parametrize(
    "value",
    [
        b"null",
        b"false",
        b"0",
        b'""',
        b"1.0",
        b"-0.0",
        b"1E+02",
        b"123456789012345678901234567890",
        b"0.1000000000000000055511151231257827",
        b'{"b":1,"a":2}',
        b'{"a":1,"a":2}',
        b'"\\u00e9\\/\\b\\u0000"',
        '"é€😀\u2028"'.encode(),
        b'"\\ud83d\\ude00"',
        b'[ 1 ,\t2,\r\n { "a" :\n[ ] } ]',
    ],
)
def test_value_comes_back_byte_for_byte(client: Client, key: str, value: bytes) -> None:
    written = client.put_body(key, b'{"ttl":60, "value" :\n ' + value + b"  }")
    assert written.status == 201, written.body
    assert written.json()["size_bytes"] == len(value)
    assert client.get(key).body == hit_body(key, value, written.json())
    bare = client.get(key, "?raw=true")
    assert (bare.status, bare.header("content-type"), bare.body) == (200, "application/json", value)


def test_value_is_required(client: Client, key: str) -> None:
    answer = client.put_body(key, b'{"ttl": 60}')
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert "value" in answer.error_message()
    assert not client.get(key).json()["hit"]


@pytest.mark.parametrize("ttl", [1, 2, 59, 86400, MAX_TTL])
def test_expires_at_less_created_at_is_the_ttl(client: Client, key: str, ttl: int) -> None:
    written = client.put(key, 1, ttl=ttl).json()
    assert lifetime(written) == timedelta(seconds=ttl)
    now = datetime.now(UTC)
    assert now - timedelta(minutes=5) < moment(written["created_at"]) <= now


def test_ttl_is_seven_days_by_default(client: Client, key: str) -> None:
    assert lifetime(client.put(key, 1).json()) == timedelta(days=7) == timedelta(seconds=DEFAULT_TTL)
    assert lifetime(client.put_raw(key, PNG, "image/png").json()) == timedelta(days=7)


@pytest.mark.parametrize("ttl", [0, -1, MAX_TTL + 1, 1.5, "60", None, True, [60], 10**30])
def test_ttl_out_of_bounds(client: Client, key: str, ttl: Any) -> None:
    answer = client.put(key, 1, ttl=ttl)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith("ttl: ")
    assert str(MAX_TTL) in answer.error_message()


@pytest.mark.parametrize(
    "tags", [[], ["x"], ["x" * 128], ["é" * 64], [f"tag {number}" for number in range(32)], ["a,b", "a/b", "é😀"]]
)
def test_tags_within_bounds(client: Client, key: str, tags: list[str]) -> None:
    assert client.put(key, 1, tags=tags).status == 201
    [row] = client.list(f"?prefix={key}").json()["keys"]
    assert row["tags"] == tags


@pytest.mark.parametrize("tags", [[""], ["x" * 129], ["é" * 65], ["x"] * 33, ["a\nb"], "x", [1], [None], None, {}])
def test_tags_out_of_bounds(client: Client, key: str, tags: Any) -> None:
    answer = client.put(key, 1, tags=tags)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith("tags")


@pytest.mark.parametrize("cost", ["0", "0.04", "12", "0.000000001", "999999999.999999999"])
def test_cost_is_kept_exactly(client: Client, cast: Cast, key: str, committed_db: None, cost: str) -> None:
    assert client.put(key, 1, cost=cost).status == 201
    assert Entry.objects.get(tenant_id=cast.tenant_a.id, key=key).cost == Decimal(cost)


@pytest.mark.parametrize("cost", [0.04, 1, "-1", "1e3", "NaN", "", "0,04", " 1", "1.0000000001", [], "$1"])
def test_cost_that_is_no_decimal_string(client: Client, key: str, cost: Any) -> None:
    answer = client.put(key, 1, cost=cost)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith("cost: ")


def test_unknown_field_is_named(client: Client, key: str) -> None:
    answer = client.put(key, 1, tll=60)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith("tll: ")
    assert not client.get(key).json()["hit"]


def test_if_none_match_star_creates_only(client: Client, key: str, expired: Iterator[str]) -> None:
    assert client.put(key, "first", headers={"If-None-Match": "*"}).status == 201
    again = client.put(key, "second", headers={"If-None-Match": "*"})
    assert (again.status, again.error_code()) == (412, "precondition_failed")
    assert client.get(key).json()["value"] == "first"
    assert client.put(next(expired), "again", headers={"If-None-Match": "*"}).status == 201


def test_if_match_replaces_only_that_version(client: Client, key: str, expired: Iterator[str]) -> None:
    first = etag(client.put(key, 1))
    second = client.put(key, 2, headers={"If-Match": first})
    assert second.status == 200
    for headers in {"If-Match": first}, {"If-Match": '"0123456789abcdef"'}:
        refused = client.put(key, 3, headers=headers)
        assert (refused.status, refused.error_code()) == (412, "precondition_failed")
    kept = client.get(key)
    assert (kept.json()["value"], etag(kept)) == (2, etag(second))
    for absent in (f"{key}-absent", next(expired)):
        assert client.put(absent, 3, headers={"If-Match": first}).status == 412
        assert not client.get(absent).json()["hit"]


def test_other_content_type_stores_the_body_itself(client: Client, key: str) -> None:
    written = client.put_raw(key, PNG, "image/png", query="?ttl=86400&tag=greetings&tag=common&cost=0.04")
    assert written.status == 201
    assert written.json()["size_bytes"] == len(PNG)
    assert lifetime(written.json()) == timedelta(seconds=86400)
    [row] = client.list(f"?prefix={key}").json()["keys"]
    assert (row["tags"], row["size_bytes"]) == (["greetings", "common"], len(PNG))

    hit = client.get(key)
    assert hit.body == hit_body(
        key, b'"%s"' % base64.b64encode(PNG), written.json(), extra=b'"content_type":"image/png",'
    )
    bare = client.get(key, "?raw=true")
    assert (bare.status, bare.header("content-type"), bare.body) == (200, "image/png", PNG)


@pytest.mark.parametrize(
    "content_type",
    ["text/plain; charset=utf-8", "audio/mpeg", "application/vnd.api+json", "multipart/form-data; boundary=x", "x/y"],
)
def test_raw_content_type_comes_back_as_sent(client: Client, key: str, content_type: str) -> None:
    assert client.put_raw(key, b"", content_type).status == 201
    assert client.get(key).json()["content_type"] == content_type
    bare = client.get(key, "?raw=true")
    assert (bare.header("content-type"), bare.body) == (content_type, b"")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json ;x=y"]
)
def test_json_in_other_spellings_is_json(client: Client, key: str, content_type: str) -> None:
    assert client.put_body(key, b'{"value": 1.0}', headers={"content-type": content_type}).status == 201
    assert client.get(key, "?raw=true").body == b"1.0"


@pytest.mark.parametrize(
    "query", ["?ttl=0", "?ttl=31536001", "?ttl=x", "?ttl=", "?ttl=1&ttl=2", "?tag=", "?cost=x", "?value=1", "?tags=x"]
)
def test_query_of_a_raw_body_is_checked(client: Client, key: str, query: str) -> None:
    answer = client.put_raw(key, PNG, "image/png", query=query)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert not client.get(key).json()["hit"]


@pytest.mark.parametrize("content_type", [None, "", "application/x-www-form-urlencoded", "image", "a/b/c"])
def test_missing_or_form_content_type(client: Client, key: str, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = client.send("PUT", item(key), b'{"value": 1}', headers)
    assert (answer.status, answer.error_code()) == (415, "unsupported_media_type")
    assert "Content-Type" in answer.error_message()
    if content_type in (None, "", "application/x-www-form-urlencoded"):
        assert "'Content-Type: application/json'" in answer.error_message()
    assert not client.get(key).json()["hit"]


# GET


def test_hit(client: Client, key: str) -> None:
    written = client.put(key, {"text": "Hello!"})
    hit = client.get(key)
    assert hit.status == 200
    assert hit.body == hit_body(key, b'{"text": "Hello!"}', written.json())
    assert (etag(hit), hit.header("x-cache")) == (etag(written), "HIT")
    age = hit.header("age")
    assert age is not None
    assert 0 <= int(age) <= 300


def test_age_counts_from_the_creation(client: Client, cast: Cast, key: str, committed_db: None) -> None:
    client.put(key, 1)
    Entry.objects.filter(tenant_id=cast.tenant_a.id, key=key).update(created_at=datetime.now(UTC) - timedelta(hours=1))
    assert 3600 <= int(client.get(key).header("age") or "") <= 3900


def test_miss(client: Client, key: str, expired: Iterator[str]) -> None:
    for absent in (key, next(expired)):
        answer = client.get(absent)
        assert (answer.status, answer.header("x-cache"), answer.header("etag")) == (200, "MISS", None)
        assert answer.body == b'{"key":"%s","hit":false}' % absent.encode()


def test_raw_miss_is_404(client: Client, key: str, expired: Iterator[str]) -> None:
    for absent in (key, next(expired)):
        answer = client.get(absent, "?raw=true")
        assert (answer.status, answer.error_code(), answer.header("x-cache")) == (404, "not_found", "MISS")


def test_raw_false_is_the_envelope(client: Client, key: str) -> None:
    client.put(key, 1)
    assert client.get(key, "?raw=false").json()["hit"] is True
    assert client.get(key, "?raw=yes").error_code() == "invalid_request"


@pytest.mark.parametrize("query", ["", "?raw=true"])
def test_if_none_match_is_304(client: Client, key: str, query: str) -> None:
    version = etag(client.put(key, 1))
    for sent in (version, f"W/{version}", f'"0000000000000000", {version}', "*"):
        answer = client.get(key, query, headers={"If-None-Match": sent})
        assert (answer.status, answer.body, answer.header("etag")) == (304, b"", version), sent
        assert answer.header("x-cache") == "HIT"
    other = client.get(key, query, headers={"If-None-Match": '"0123456789abcdef"'})
    assert (other.status, etag(other)) == (200, version)
    assert client.get(f"{key}-absent", headers={"If-None-Match": "*"}).json()["hit"] is False


def test_entry_with_a_ttl_of_one_lives_a_whole_second(client: Client, key: str) -> None:
    """Only the order of moments is asserted, which no delay can change."""
    before_put = time.time()
    expires_at = moment(client.put(key, 1, ttl=1).json()["expires_at"]).timestamp()
    while True:
        before_get = time.time()
        if not client.get(key).json()["hit"]:
            break
        assert before_get < expires_at + 1, "a hit after the second of expires_at"
        time.sleep(0.02)
    after_miss = time.time()
    assert after_miss >= expires_at
    assert after_miss >= before_put + 1


# HEAD, PATCH, DELETE


def test_head(client: Client, key: str, expired: Iterator[str]) -> None:
    written = client.put(key, 1)
    answer = client.head(key)
    assert (answer.status, answer.body, etag(answer)) == (200, b"", etag(written))
    for absent in (f"{key}-absent", next(expired)):
        missing = client.head(absent)
        assert (missing.status, missing.body) == (404, b"")


def test_patch_renews_and_keeps_value_tags_and_etag(client: Client, key: str) -> None:
    written = client.put(key, [1.0], ttl=60, tags=["x"])
    patched = client.patch(key, ttl=86400)
    content = patched.json()
    assert (patched.status, etag(patched)) == (200, etag(written))
    assert list(content) == ["key", "created_at", "expires_at", "size_bytes"]
    assert (content["created_at"], content["size_bytes"]) == (written.json()["created_at"], 5)
    assert timedelta(seconds=86400) <= lifetime(content) <= timedelta(seconds=86400 + 300)
    hit = client.get(key)
    assert (etag(hit), hit.json()["value"], hit.json()["expires_at"]) == (etag(written), [1.0], content["expires_at"])
    assert client.list(f"?prefix={key}").json()["keys"][0]["tags"] == ["x"]


def test_patch_retags_and_keeps_expiry(client: Client, key: str) -> None:
    written = client.put(key, 1, ttl=60, tags=["x"])
    for tags in ["y", "z"], []:
        patched = client.patch(key, tags=tags)
        assert (patched.status, etag(patched), patched.json()) == (200, etag(written), written.json())
        assert client.list(f"?prefix={key}").json()["keys"][0]["tags"] == tags


def test_patch_of_an_absent_entry(client: Client, key: str, expired: Iterator[str]) -> None:
    for absent in (key, next(expired)):
        answer = client.patch(absent, ttl=60)
        assert (answer.status, answer.error_code()) == (404, "not_found")
        assert not client.get(absent).json()["hit"]


@pytest.mark.parametrize("fields", [{}, {"ttl": 0}, {"ttl": None}, {"tags": ["x"] * 33}, {"value": 1}, {"cost": "1"}])
def test_patch_is_checked(client: Client, key: str, fields: dict[str, Any]) -> None:
    written = client.put(key, 1, ttl=60)
    answer = client.patch(key, **fields)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert client.get(key).json()["expires_at"] == written.json()["expires_at"]


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_patch_takes_json_only(client: Client, key: str, content_type: str | None) -> None:
    client.put(key, 1)
    answer = client.send("PATCH", item(key), b'{"ttl": 60}', {"content-type": content_type} if content_type else {})
    assert (answer.status, answer.error_code()) == (415, "unsupported_media_type")


def test_delete(client: Client, key: str, expired: Iterator[str]) -> None:
    client.put(key, 1)
    for name, deleted in (key, True), (key, False), (f"{key}-absent", False), (next(expired), False):
        answer = client.delete(name)
        assert (answer.status, answer.json()) == (200, {"key": name, "deleted": deleted})
    assert not client.get(key).json()["hit"]


@pytest.mark.parametrize("method", ["patch", "delete"])
def test_if_match_of_patch_and_delete(client: Client, key: str, method: str) -> None:
    fields = {"ttl": 60} if method == "patch" else {}
    version = etag(client.put(key, 1))
    refused = getattr(client, method)(key, headers={"If-Match": '"0123456789abcdef"'}, **fields)
    assert (refused.status, refused.error_code()) == (412, "precondition_failed")
    assert client.get(key).json()["hit"]
    assert getattr(client, method)(key, headers={"If-Match": version}, **fields).status == 200


# Many entries: list


def test_list_as_in_the_contract(alone: Client) -> None:
    for name, tags in (
        ("chat-b", ["greetings", "common"]),
        ("chat-a", ["greetings"]),
        ("chat-c", []),
        ("x", ["greetings"]),
    ):
        assert alone.put(name, "12345678", tags=tags).status == 201
    answer = alone.list("?tag=greetings&prefix=chat-&limit=10")
    content = answer.json()
    assert answer.status == 200
    assert list(content) == ["keys", "total", "storage_used_bytes", "next_cursor"]
    assert [list(row) for row in content["keys"]] == [["key", "created_at", "expires_at", "size_bytes", "tags"]] * 2
    assert [(row["key"], row["size_bytes"], row["tags"]) for row in content["keys"]] == [
        ("chat-a", 10, ["greetings"]),
        ("chat-b", 10, ["greetings", "common"]),
    ]
    assert {lifetime(row) for row in content["keys"]} == {timedelta(seconds=DEFAULT_TTL)}
    assert (content["total"], content["storage_used_bytes"], content["next_cursor"]) == (2, 40, None)


def keys_of(answer: Answer) -> list[str]:
    assert answer.status == 200, answer.body
    return [row["key"] for row in answer.json()["keys"]]


def test_list_filters(alone: Client) -> None:
    for name, tags in ("a1", ["x", "y"]), ("a2", ["x"]), ("b1", ["y"]), ("é%_\\", []), ("a1/sub", ["y", "x"]):
        alone.put(name, 1, tags=tags)
    assert keys_of(alone.list()) == ["a1", "a1/sub", "a2", "b1", "é%_\\"]
    assert keys_of(alone.list("?tag=x")) == ["a1", "a1/sub", "a2"]
    assert keys_of(alone.list("?tag=x&tag=y")) == ["a1", "a1/sub"]
    assert keys_of(alone.list("?tag=x&tag=absent")) == []
    assert keys_of(alone.list("?prefix=a1")) == ["a1", "a1/sub"]
    assert keys_of(alone.list("?prefix=a1&tag=y")) == ["a1", "a1/sub"]
    assert keys_of(alone.list("?prefix=%C3%A9%25")) == ["é%_\\"]
    assert keys_of(alone.list("?prefix=%25")) == []
    assert keys_of(alone.list("?prefix=absent")) == []


def test_list_is_ordered_by_the_bytes_of_the_keys(alone: Client) -> None:
    names = ["B", "a", "a b", "a-b", "aB", "b", "~", "é", "\U0001f600", "\uffee"]
    for name in names:
        alone.put(name, 1)
    assert keys_of(alone.list()) == sorted(names, key=str.encode)


def test_pages_give_every_entry_once(alone: Client) -> None:
    names = [f"page-{number:02}" for number in range(25)]
    for name in names:
        alone.put(name, 1, tags=["page"])
    alone.put("other", 1)
    found, cursor, pages = [], "", 0
    while True:
        content = alone.list(f"?tag=page&limit=10{cursor}").json()
        found += [row["key"] for row in content["keys"]]
        pages += 1
        assert (content["total"], content["storage_used_bytes"]) == (25, 26)
        if content["next_cursor"] is None:
            break
        cursor = f"&cursor={content['next_cursor']}"
    assert (found, pages) == (names, 3)


def test_total_is_counted_for_the_first_page(alone: Client) -> None:
    for name in "abc":
        alone.put(name, 1)
    first = alone.list("?limit=2").json()
    assert (first["total"], [row["key"] for row in first["keys"]]) == (3, ["a", "b"])
    alone.put("d", 1)
    alone.delete("c")
    second = alone.list(f"?limit=2&cursor={first['next_cursor']}").json()
    assert (second["total"], [row["key"] for row in second["keys"]]) == (3, ["d"])


def test_limit(alone: Client) -> None:
    for start in range(0, 1001, 250):
        names = range(start, min(start + 250, 1001))
        assert alone.batch([{"op": "put", "key": f"{name:04}", "value": 0} for name in names]).status == 200
    assert len(keys_of(alone.list())) == 100
    assert len(keys_of(alone.list("?limit=1"))) == 1
    whole = alone.list("?limit=1000")
    assert len(keys_of(whole)) == 1000
    assert keys_of(alone.list(f"?limit=1000&cursor={whole.json()['next_cursor']}")) == ["1000"]
    assert whole.json()["total"] == 1001


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=1&limit=2", "cursor=x", "cursor=", "tag=",
     "all=true", "prefix=%FF", "prefix=%00", "prefix=" + "x" * 513, "tag=" + "x" * 129, "nothing=1", "Prefix=x"],
)  # fmt: skip
def test_list_is_checked(client: Client, query: str) -> None:
    answer = client.list(f"?{query}")
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert query.partition("=")[0] in answer.error_message() or "%" in query


def test_cursor_belongs_to_its_filters(alone: Client) -> None:
    for name in "abc":
        alone.put(name, 1, tags=["x"])
    cursor = alone.list("?tag=x&limit=1").json()["next_cursor"]
    answer = alone.list(f"?limit=1&cursor={cursor}")
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert answer.error_message().startswith("cursor: ")


def test_expired_entries_never_show_and_never_count(alone: Client) -> None:
    alone.put("stays", 1, tags=["x"])
    alone.put("goes", 1, ttl=1, tags=["x"])
    wait_for(lambda: not alone.get("goes").json()["hit"], 10, "the expiry")
    for query in "", "?tag=x", "?prefix=g":
        content = alone.list(query).json()
        assert "goes" not in [row["key"] for row in content["keys"]]
        assert (content["total"], content["storage_used_bytes"]) == (0 if "prefix" in query else 1, 1)
    assert alone.delete_many("?tag=x").json() == {"deleted": 1}


# Many entries: bulk delete


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ("?tag=x", ["b", "c/1", "c/2"]),
        ("?tag=x&tag=y", ["a/2", "b", "c/1", "c/2"]),
        ("?prefix=a/", ["b", "c/1", "c/2"]),
        ("?prefix=c/&tag=y", ["a/1", "a/2", "b", "c/2"]),
        ("?prefix=absent", ["a/1", "a/2", "b", "c/1", "c/2"]),
        ("?all=true", []),
    ],
)
def test_bulk_delete(alone: Client, query: str, left: list[str]) -> None:
    for name, tags in ("a/1", ["x", "y"]), ("a/2", ["x"]), ("b", []), ("c/1", ["y"]), ("c/2", []):
        alone.put(name, 1, tags=tags)
    answer = alone.delete_many(query)
    assert (answer.status, answer.json()) == (200, {"deleted": 5 - len(left)})
    assert keys_of(alone.list()) == left
    assert alone.list().json()["storage_used_bytes"] == len(left)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?all=false",
        "?all=",
        "?prefix=",
        "?all=true&tag=x",
        "?all=true&prefix=x",
        "?tags=x",
        "?all=1",
        "?limit=1",
    ],
)
def test_bulk_delete_without_a_clear_filter_deletes_nothing(alone: Client, query: str) -> None:
    alone.put("x", 1, tags=["x"])
    answer = alone.delete_many(query)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert keys_of(alone.list()) == ["x"]


def test_bulk_delete_of_more_than_one_transaction(alone: Client) -> None:
    for start in range(0, 2200, 220):
        alone.batch([{"op": "put", "key": f"{start + i}", "value": 0, "tags": ["x"]} for i in range(220)])
    alone.put("stays", 1)
    assert alone.delete_many("?tag=x").json() == {"deleted": 2200}
    assert keys_of(alone.list()) == ["stays"]


# Many entries: batch


def test_batch_is_as_if_sent_one_after_the_other(alone: Client) -> None:
    answer = alone.batch(
        [
            {"op": "get", "key": "k"},
            {"op": "put", "key": "k", "value": 1.0, "ttl": 60, "tags": ["x"], "cost": "0.04"},
            {"op": "get", "key": "k"},
            {"op": "put", "key": "k", "value": 2},
            {"op": "get", "key": "k"},
            {"op": "get", "key": "k"},
            {"op": "delete", "key": "k"},
            {"op": "get", "key": "k"},
            {"op": "delete", "key": "k"},
        ]
    )
    assert answer.status == 200
    assert list(answer.json()) == ["results"]
    results = answer.json()["results"]
    assert [list(result) for result in results] == [["status", "body"]] * 9
    assert [result["status"] for result in results] == [200, 201, 200, 200, 200, 200, 200, 200, 200]
    bodies = [result["body"] for result in results]
    assert bodies[0] == bodies[7] == {"key": "k", "hit": False}
    assert [body.get("value") for body in bodies] == [None, None, 1.0, None, 2, 2, None, None, None]
    assert list(bodies[1]) == ["key", "created_at", "expires_at", "size_bytes"]
    assert lifetime(bodies[1]) == timedelta(seconds=60)
    assert list(bodies[2]) == ["key", "value", "created_at", "expires_at", "hit"]
    assert [bodies[6], bodies[8]] == [{"key": "k", "deleted": True}, {"key": "k", "deleted": False}]
    assert b'"value":1.0,' in answer.body


def test_batch_bodies_are_those_of_requests_alone(alone: Client) -> None:
    alone.put("json", b"[1.0,  2]")
    alone.put_raw("raw", PNG, "image/png")
    names = ["json", "raw", "absent"]
    answer = alone.batch([{"op": "get", "key": name} for name in names])
    single = [b'{"status":200,"body":%s}' % alone.get(name).body for name in names]
    assert answer.body == b'{"results":[%s]}' % b",".join(single)


def test_failing_operation_does_not_undo_the_others(alone: Client, cast: Cast, server: RunningServer) -> None:
    answer = alone.batch(
        [
            {"op": "put", "key": "a", "value": 1},
            {"op": "put", "key": "b", "value": 1, "ttl": 0},
            {"op": "put", "key": "b", "ttl": 1},
            {"op": "fly", "key": "b"},
            {"key": "b"},
            {"op": "get", "key": ""},
            {"op": "delete", "key": "b", "value": 1},
            1,
            {"op": "put", "key": "c", "value": 1},
        ]
    )
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [201, 400, 400, 400, 400, 400, 400, 400, 201]
    for result in results[1:-1]:
        assert list(result["body"]["error"]) == ["code", "message", "request_id"]
        assert result["body"]["error"]["code"] == "invalid_request"
        assert result["body"]["error"]["request_id"] == answer.header("x-request-id")
    assert keys_of(alone.list()) == ["a", "c"]


def test_batch_operation_needs_its_own_scope(server: RunningServer, cast: Cast, key: str) -> None:
    with Client(server.url, cast.without["write"].token) as client:
        answer = client.batch([{"op": "get", "key": key}, {"op": "put", "key": key, "value": 1}])
    assert [result["status"] for result in answer.json()["results"]] == [200, 403]
    assert answer.json()["results"][1]["body"]["error"]["code"] == "forbidden"


def test_batch_of_256_and_of_257(alone: Client) -> None:
    operations = [{"op": "put", "key": f"{number:03}", "value": number} for number in range(257)]
    refused = alone.batch(operations)
    assert (refused.status, refused.error_code()) == (400, "invalid_request")
    assert "256" in refused.error_message()
    assert alone.list().json()["total"] == 0
    answer = alone.batch(operations[:256])
    assert [result["status"] for result in answer.json()["results"]] == [201] * 256
    assert alone.list().json()["total"] == 256


def test_batch_of_ten_mebibytes_and_one_byte_more(alone: Client) -> None:
    start, end = b'{"operations":[{"op":"put","key":"big","value":"', b'"}]}'
    text = b"x" * (MAX_VALUE_BYTES - len(start) - len(end))
    headers = {"content-type": "application/json"}
    fits = alone.send("POST", "/api/v1/batch", start + text + end, headers)
    assert (fits.status, fits.json()["results"][0]["status"]) == (200, 201)
    too_large = alone.send("POST", "/api/v1/batch", start + text + b"x" + end, headers)
    assert (too_large.status, too_large.error_code()) == (413, "value_too_large")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"operations":[]}',
        b'{"operations":{}}',
        b'{"operations":null}',
        b'{"operations":[{}],"x":1}',
        b"{",
    ],
)
def test_batch_is_checked(client: Client, body: bytes) -> None:
    answer = client.send("POST", "/api/v1/batch", body, {"content-type": "application/json"})
    assert (answer.status, answer.error_code()) == (400, "invalid_request")


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_batch_takes_json_only(client: Client, content_type: str | None) -> None:
    body = b'{"operations":[{"op":"get","key":"x"}]}'
    answer = client.send("POST", "/api/v1/batch", body, {"content-type": content_type} if content_type else {})
    assert (answer.status, answer.error_code()) == (415, "unsupported_media_type")


# Conventions


def test_entries_belong_to_the_tenant(client: Client, server: RunningServer, cast: Cast, key: str) -> None:
    client.put(key, 1)
    with Client(server.url, cast.second.token) as second, Client(server.url, cast.stranger.token) as stranger:
        assert second.get(key).json()["value"] == 1
        assert second.put(key, 2).status == 200
        assert stranger.get(key).json() == {"key": key, "hit": False}
        assert client.get(key).json()["value"] == 2


def test_entry_remembers_the_key_that_wrote_it(
    client: Client, server: RunningServer, cast: Cast, key: str, committed_db: None
) -> None:
    entry = Entry.objects.filter(tenant_id=cast.tenant_a.id, key=key).values_list("api_key_id", flat=True)
    client.put(key, 1)
    assert entry.get() == cast.first.row.id
    with Client(server.url, cast.second.token) as second:
        second.put(key, 2)
    assert entry.get() == cast.second.row.id


def test_x_api_key_header(server: RunningServer, cast: Cast, key: str) -> None:
    with Client(server.url) as client:
        for headers, status in (
            ({"x-api-key": cast.first.token}, 200),
            ({"X-API-Key": cast.first.token}, 200),
            ({"authorization": f"bearer {cast.first.token}"}, 200),
            ({"x-api-key": cast.outsider}, 401),
            ({"x-api-key": f"Bearer {cast.first.token}"}, 401),
            ({"authorization": cast.first.token}, 401),
            ({"authorization": f"Basic {cast.first.token}"}, 401),
        ):
            assert client.get(key, headers=headers).status == status, headers


SANE_IDS = ["abc", "req_1", str(uuid.UUID(int=7)), "01ARZ3NDEKTSV4RRFFQ69G5FAV", "x" * 64]
INSANE_IDS = [b"", b"a b", b"x" * 65, b"<script>", b"\xff\xfe", b"a,b", b'"', b"{}", b"a\tb"]
PLACES = ["/api/v1/cache/x", "/api/v1/cache", "/api/v1/nowhere", "/healthz", "/readyz"]


@pytest.mark.parametrize("path", PLACES)
def test_every_response_carries_the_request_id(client: Client, path: str) -> None:
    for sane in SANE_IDS:
        assert client.send("GET", path, headers={"x-request-id": sane}).header("x-request-id") == sane
    made = [client.send("GET", path).header("x-request-id")]
    for insane in INSANE_IDS:
        made.append(client.send("GET", path, headers={"x-request-id": insane}).header("x-request-id"))
    assert all(each and re.fullmatch("[0-9a-zA-Z-]{8,64}", each) for each in made), made
    assert len(set(made)) == len(made)


@pytest.mark.parametrize(
    ("status", "code", "request_"),
    [
        (400, "invalid_request", ("PUT", "/api/v1/cache/x", b"{", "first")),
        (400, "invalid_request", ("GET", "/api/v1/cache/", b"", "first")),
        (400, "invalid_request", ("DELETE", CACHE, b"", "first")),
        (401, "invalid_api_key", ("GET", "/api/v1/cache/x", b"", None)),
        (401, "invalid_api_key", ("GET", CACHE, b"", None)),
        (401, "invalid_api_key", ("POST", "/api/v1/batch", b"{}", None)),
        (403, "forbidden", ("PUT", "/api/v1/cache/x", b'{"value":1}', "write")),
        (403, "forbidden", ("DELETE", f"{CACHE}?all=true", b"", "delete")),
        (403, "forbidden", ("GET", CACHE, b"", "read")),
        (404, "not_found", ("GET", "/api/v1/cache/absent?raw=true", b"", "first")),
        (404, "not_found", ("GET", "/api/v1/nowhere", b"", "first")),
        (404, "not_found", ("GET", "/api/v1/cache-x", b"", "first")),
        (404, "not_found", ("GET", "/api/v1/batch/", b"", "first")),
        (405, "method_not_allowed", ("POST", "/api/v1/cache/x", b"{}", "first")),
        (405, "method_not_allowed", ("PUT", CACHE, b"{}", "first")),
        (405, "method_not_allowed", ("GET", "/api/v1/batch", b"", "first")),
        (412, "precondition_failed", ("IF-MATCH", "/api/v1/cache/absent", b'{"value":1}', "first")),
        (413, "value_too_large", ("PUT", "/api/v1/cache/x", b'{"value":"%s"}' % (b"x" * MAX_VALUE_BYTES), "first")),
        (415, "unsupported_media_type", ("FORM", "/api/v1/cache/x", b"value=1", "first")),
    ],
)
def test_error_shape(
    server: RunningServer, cast: Cast, status: int, code: str, request_: tuple[str, str, bytes, str | None]
) -> None:
    method, path, body, who = request_
    headers = {"content-type": "application/json", "x-request-id": "my-request"}
    if method == "IF-MATCH":
        method, headers["if-match"] = "PUT", '"0123456789abcdef"'
    elif method == "FORM":
        method, headers["content-type"] = "PUT", "application/x-www-form-urlencoded"
    key: Key | None = None if who is None else cast.first if who == "first" else cast.without[who]
    with Client(server.url, key.token if key else None) as client:
        answer = client.send(method, path, body, headers)
    assert (answer.status, answer.error_code()) == (status, code), answer.body[:300]
    assert answer.header("x-request-id") == "my-request"
    assert answer.header("content-length") == str(len(answer.body))
    assert ("allow" in dict(answer.headers)) == (status == 405)
    assert ("www-authenticate" in dict(answer.headers)) == (status == 401)


def test_one_message_for_every_reason_of_a_401(server: RunningServer, cast: Cast) -> None:
    wrong = [None, "", "x", "ck_live_", cast.outsider, cast.first.token[:-1], cast.first.token[:-7] + "A" * 7,
             cast.expired.token, cast.revoked.token]  # fmt: skip
    messages = set()
    with Client(server.url) as client:
        for token in wrong:
            headers = {} if token is None else {"authorization": f"Bearer {token}".strip()}
            for path in ("/api/v1/cache/x", CACHE):
                answer = client.send("GET", path, headers=headers)
                assert (answer.status, answer.error_code()) == (401, "invalid_api_key"), (token, path)
                messages.add(answer.error_message())
    assert len(messages) == 1


@pytest.mark.parametrize(
    ("path", "body", "wanted"),
    [
        ("x", b'{"value":1,"ttl":0}', ["ttl", "1", str(MAX_TTL)]),
        ("x", b'{"value":1,"tags":[""]}', ["tags", "128"]),
        ("x", b'{"value":1,"cost":"a"}', ["cost", "decimal string"]),
        ("x", b'{"value":1,"what":1}', ["what"]),
        ("x", b'{"value":}', ["JSON"]),
        ("x" * 513, b'{"value":1}', ["key", "513", "512"]),
        ("%07", b'{"value":1}', ["key", "U+0007"]),
    ],
)
def test_message_says_what_where_and_what_to_do(client: Client, path: str, body: bytes, wanted: list[str]) -> None:
    answer = client.send("PUT", f"{CACHE}/{path}", body, {"content-type": "application/json"})
    assert answer.status == 400
    assert [word for word in wanted if word not in answer.error_message()] == [], answer.error_message()


def test_no_trailing_slashes(client: Client) -> None:
    for path in ("/api/v1/batch/", "/healthz/", "/readyz/", "/api/v1", "/api/v1/"):
        assert client.send("GET", path).error_code() == "not_found"


def test_health_and_readiness_need_no_key(server: RunningServer) -> None:
    with Client(server.url) as client:
        assert client.send("GET", "/healthz").json() == {"status": "ok"}
        assert client.send("GET", "/readyz").json() == {"status": "ready"}


def test_tags_are_stored_once_however_they_come(client: Client, key: str) -> None:
    assert client.put(key, 1, tags=["a", "a"]).status == 201
    assert client.patch(key, tags=["b", "b"]).status == 200
    assert [row["tags"] for row in client.list(f"?prefix={key}").json()["keys"]] == [["b"]]


@pytest.mark.parametrize("method", ["DELETE", "PATCH"])
def test_only_a_put_creates(client: Client, key: str, method: str) -> None:
    headers = {"if-none-match": "*", "content-type": "application/json"}
    body = b'{"ttl":60}' if method == "PATCH" else b""
    answer = client.send(method, item(key), body, headers)
    assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert "If-None-Match" in answer.error_message()
