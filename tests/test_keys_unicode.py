"""Keys of every kind: stored and returned exactly, or refused with 400. Never anything between."""

import sys
import unicodedata
from collections import defaultdict
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.cast import Cast, cast_fixture, new_caller  # noqa: F401  a fixture
from tests.client import CACHE, Client, exchange, request_bytes
from tests.processes import RunningServer

MAX_KEY_BYTES = 512


@pytest.fixture(scope="module")
def client(server: RunningServer, cast: Cast) -> Iterator[Client]:
    """A tenant of its own: these tests list everything that it has."""
    with Client(server.url, new_caller().token) as client:
        yield client


def allowed(key: str) -> bool:
    """The contract: 1 to 512 bytes of UTF-8, no control characters."""
    try:
        size = len(key.encode())
    except UnicodeEncodeError:  # a surrogate is no character
        return False
    return 1 <= size <= MAX_KEY_BYTES and not any(unicodedata.category(each) == "Cc" for each in key)


def check_stored_and_returned(client: Client, key: str) -> None:
    """Written, read, listed and deleted under this key and no other."""
    value = f"value of {key}"
    written = client.put(key, value)
    assert written.status in (200, 201), written.body
    assert written.json()["key"] == key
    hit = client.get(key)
    assert (hit.json()["key"], hit.json()["value"]) == (key, value)
    assert client.head(key).status == 200
    rows = client.list(f"?prefix={quote(key, safe='')}").json()["keys"]
    assert key in [row["key"] for row in rows]
    assert client.delete(key).json() == {"key": key, "deleted": True}
    assert client.get(key).json() == {"key": key, "hit": False}


def check_refused(client: Client, key: str) -> None:
    """By every way in, and nothing is there afterwards. `key` may have lone surrogates, for bytes that are no UTF-8."""
    path = f"{CACHE}/{quote(key.encode(errors='surrogatepass'), safe='')}"
    for method, body in ("PUT", b'{"value": 1}'), ("GET", b""), ("PATCH", b'{"ttl": 1}'), ("DELETE", b""):
        answer = client.send(method, path, body, {"content-type": "application/json"} if body else {})
        assert (answer.status, answer.error_code()) == (400, "invalid_request"), (method, key)
        assert answer.error_message().startswith("key: ")
    assert client.send("HEAD", path).status == 400
    operations = [{"op": "put", "key": key, "value": 1}, {"op": "get", "key": key}, {"op": "delete", "key": key}]
    answers = client.batch(operations)
    if answers.status == 200:
        assert [result["status"] for result in answers.json()["results"]] == [400, 400, 400]
    else:
        assert (answers.status, answers.error_code()) == (400, "invalid_request")
    assert client.list().json()["total"] == 0


def characters_by_category() -> dict[str, list[str]]:
    """Some characters of every category of Unicode: its first ones, its last, and some between."""
    found: dict[str, list[str]] = defaultdict(list)
    for code in range(sys.maxunicode + 1):
        found[unicodedata.category(chr(code))].append(chr(code))
    return {category: every[:4] + every[:: max(1, len(every) // 8)] + every[-2:] for category, every in found.items()}


CATEGORIES = characters_by_category()


@pytest.mark.parametrize("category", sorted(CATEGORIES))
def test_every_category_of_unicode(client: Client, category: str) -> None:
    """One key with many characters, and each refused character alone: control characters, and no characters at all."""
    characters = dict.fromkeys(CATEGORIES[category])
    assert {allowed(each) for each in characters} == {category not in ("Cc", "Cs")}
    if category in ("Cc", "Cs"):
        for each in characters:
            check_refused(client, each)
            check_refused(client, f"a{each}b")
    else:
        check_stored_and_returned(client, "".join(characters))
        check_stored_and_returned(client, next(iter(characters)))


def test_there_are_thirty_categories() -> None:
    assert len(CATEGORIES) == 30


KEYS = [
    ".", "..", "../..", "/", "//", "/..", "a/../b", "./a", "a/.", "a/..", "a//b", "/a", "a/", "..%2F", "%2F",
    "%2f", "%00", "%", "%%", "%zz", "%25", "%252F", " ", "  ", " a ", "a b", "a+b", "+", "?", "?raw=true", "#",
    "a#b", "a?b", "&", "=", ";", ":", "@", "*", "'", '"', "\\", "`", "<script>alert(1)</script>", "' or 1=1 --",
    "${x}", "{n}", "(", "[]", "|", "^", "~", "batch", "openapi.json", "null", "0", "-1", "x" * 512, "é" * 256,
    "😀" * 128, "€" * 170 + "ab", "\u00e9", "e\u0301", "ß", "ẞ", "İ", "ı", "ﬁ", "Å", "\u212b", "\u1e9b\u0323",
    "👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "שלום", "مرحبا", "\u202eabc", "\u200f", "\u2066a\u2069", "\ufeff",
    "\ufeffa", "\u200b", "\u2028", "\u2029", "\u00a0", "\u00ad", "\ufffd", "\uffff", "\ufdd0", "\U0010ffff",
    "\U0001f1e9\U0001f1ea", "日本語", "ไทย", "नमस्ते", "ᄒ\u1161\u11ab", "한", "a\u0300" * 100,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=ascii)
def test_key_is_stored_and_returned(client: Client, key: str) -> None:
    assert allowed(key)
    check_stored_and_returned(client, key)


@pytest.mark.parametrize(
    "key",
    ["", "x" * 513, "é" * 257, "😀" * 128 + "x", "€" * 170 + "abc", "\x00", "a\x00", "\n", "a\r\nb", "\t", "\x1f",
     "\x7f", "\x80", "\x85", "\x9f", "\ud800", "\udfff", "a\udc80b", "x" * 10_000],
    ids=lambda key: ascii(key)[:20],
)  # fmt: skip
def test_key_is_refused(client: Client, key: str) -> None:
    assert not allowed(key)
    check_refused(client, key)


@pytest.mark.parametrize(
    "escaped",
    [b"%FF", b"%C3", b"%C3%28", b"%C0%AF", b"%E0%80%AF", b"%F0%82%82%AC", b"%ED%A0%80", b"%ED%A0%BD%ED%B8%80",
     b"%F4%90%80%80", b"%F8%88%80%80%80", b"%E2%82", b"a%80", b"%FE%FF%00a"],
)  # fmt: skip
def test_bytes_that_are_no_utf8_are_refused(client: Client, escaped: bytes) -> None:
    for method, body in ("PUT", b'{"value": 1}'), ("GET", b""), ("DELETE", b""):
        headers = {"content-type": "application/json"} if body else {}
        answer = client.send(method, CACHE.encode() + b"/" + escaped, body, headers)
        assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert client.list().json()["total"] == 0


@pytest.mark.parametrize(
    ("path", "key"),
    [
        (b"a%2Fb", "a/b"), (b"a/b", "a/b"), (b"%2e%2e/x", "../x"), (b"../x", "../x"), (b"%41", "A"), (b"%c3%a9", "é"),
        (b"%C3%A9", "é"), (b"\xc3\xa9", "é"), (b"%252F", "%2F"), (b"a+b", "a+b"), (b"a%2Bb", "a+b"), (b"%zz", "%zz"),
        (b"%", "%"), (b"100%", "100%"), (b"a;b", "a;b"), (b"//", "//"), (b"/", "/"), (b"a%3Fb?raw=false", "a?b"),
    ],
)  # fmt: skip
def test_path_is_decoded_once(client: Client, path: bytes, key: str) -> None:
    """Whatever way it is escaped, it is the same key; raw bytes beyond ASCII are taken too."""
    check_stored_and_returned(client, key)
    assert client.put(key, "found").status == 201
    headers = [(b"Authorization", b"Bearer " + (client.api_key or "").encode())]
    answer = exchange(client.url, request_bytes("GET", CACHE.encode() + b"/" + path, headers))
    assert (answer.json()["key"], answer.json()["value"]) == (key, "found")
    assert client.delete(key).json()["deleted"] is True


def test_keys_are_not_normalised(client: Client) -> None:
    """What looks alike stays apart: forms of Unicode, case, white space, slashes."""
    groups = [["é", "e\u0301"], ["Å", "\u212b", "A\u030a"], ["ﬁ", "fi"], ["k", "K", "\u212a"], ["a", "a ", " a"],
              ["a/b", "a//b", "/a/b", "a/b/", "a/./b"], ["1", "１", "¹"], ["%2F", "%252F", "%2f"]]  # fmt: skip
    for group in groups:
        for key in group:
            assert client.put(key, key).status == 201
        assert [client.get(key).json()["value"] for key in group] == group
    assert client.delete_many("?all=true").json() == {"deleted": sum(map(len, groups))}


text = st.text(st.characters(codec=None, exclude_categories=()), max_size=40)
long_text = st.text(st.sampled_from("aé€😀\u202e/%."), min_size=120, max_size=520)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(text, long_text))
@example("x" * 512)
@example("😀" * 128 + "x")
def test_any_text_is_stored_or_refused(client: Client, key: str) -> None:
    escaped = quote(key.encode(errors="surrogatepass"), safe="")
    answer = client.send("PUT", f"{CACHE}/{escaped}", b'{"value": 1}', {"content-type": "application/json"})
    if allowed(key):
        assert answer.status == 201
        check_stored_and_returned(client, key)
    else:
        assert (answer.status, answer.error_code()) == (400, "invalid_request")
        assert client.list().json()["total"] == 0


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=20))
def test_batch_takes_the_same_keys(client: Client, key: str) -> None:
    put, get, delete = ({"op": op, "key": key} for op in ("put", "get", "delete"))
    answer = client.batch([{**put, "value": 1}, get, delete])
    if allowed(key):
        results = answer.json()["results"]
        assert [result["status"] for result in results] == [201, 200, 200]
        assert [result["body"]["key"] for result in results] == [key, key, key]
        assert (results[1]["body"]["hit"], results[2]["body"]["deleted"]) == (True, True)
    elif answer.status == 200:
        assert [result["status"] for result in answer.json()["results"]] == [400, 400, 400]
    else:
        assert (answer.status, answer.error_code()) == (400, "invalid_request")
    assert client.list().json()["total"] == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.lists(text.filter(allowed), min_size=1, max_size=8, unique=True),
    prefix=st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=3),
)
@example(keys=["\ud7ff", "\ue000", "\U0010ffff", "\U0010ffff\U0010ffff"], prefix="\ud7ff")
@example(keys=["\U0010ffff", "\U0010ffffx", "\uffff", "x"], prefix="\U0010ffff")
@example(keys=["a", "ab", "b", "A", "a\U0010ffff"], prefix="a")
def test_prefix_and_order_of_any_keys(client: Client, keys: list[str], prefix: str) -> None:
    """A prefix finds exactly the keys that begin with it, in the order of their bytes."""
    wanted = [*keys, *(prefix + key for key in keys if allowed(prefix + key))]
    assert client.batch([{"op": "put", "key": key, "value": 1} for key in wanted]).status == 200
    found = client.list(f"?prefix={quote(prefix, safe='')}").json()
    matching = sorted({key for key in wanted if key.startswith(prefix)}, key=str.encode)
    assert [row["key"] for row in found["keys"]] == matching
    assert found["total"] == len(matching)
    assert client.delete_many(f"?prefix={quote(prefix, safe='')}").json() == {"deleted": len(matching)}
    assert client.delete_many("?all=true").json() == {"deleted": len(set(wanted)) - len(matching)}


def test_tags_of_any_characters(client: Client) -> None:
    tags = ["é", "e\u0301", "😀", "\u202e", ",", "{a}", '"', "\\", "null", "NULL", " ", "'", "%", "a\u00a0b"]
    assert client.put("tagged", 1, tags=tags).status == 201
    assert client.list().json()["keys"][0]["tags"] == tags
    for tag in tags:
        assert client.list(f"?tag={quote(tag, safe='')}").json()["total"] == 1, tag
    assert client.list("?tag=E").json()["total"] == 0
    assert client.delete("tagged").json()["deleted"] is True


def test_key_stands_in_the_body_as_json(client: Client) -> None:
    key = "\"\\/é😀\u2028<'"
    assert client.put(key, 1).json()["key"] == key
    for name, found in (
        ("hit", client.get(key).json()["key"]),
        ("list", client.list().json()["keys"][0]["key"]),
        ("delete", client.delete(key).json()["key"]),
        ("miss", client.get(key).json()["key"]),
    ):
        assert found == key, name
