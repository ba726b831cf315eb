"""Keys: the vectors that all clients share, and what only Python has."""

import io
import json
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from cacheservice_client import content_key, request_key, suggest_ttl, text_key
from cacheservice_client.canonical_json import canonical_json
from cacheservice_client.keys import normalized
from cacheservice_client.ttl import TIME_SENSITIVE

VECTORS = json.loads((Path(__file__).parents[2] / "vectors.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["text_key"], ids=repr)
def test_text_key(vector: dict[str, Any]) -> None:
    def key() -> str:
        return text_key(vector["text"], vector.get("normalize", True), version=vector.get("version"))

    if "error" in vector:
        with pytest.raises(ValueError, match=r"surrogate|version"):
            key()
    else:
        assert key() == vector["key"]
        assert normalized(vector["text"]) == vector.get("normalized", normalized(vector["text"]))


@pytest.mark.parametrize("vector", VECTORS["content_key"], ids=repr)
def test_content_key(vector: dict[str, Any]) -> None:
    assert content_key(bytes.fromhex(vector["hex"]), version=vector.get("version")) == vector["key"]


@pytest.mark.parametrize("vector", VECTORS["request_key"], ids=repr)
def test_request_key(vector: dict[str, Any]) -> None:
    request = json.loads(vector["request"])
    if "error" in vector:
        with pytest.raises(ValueError, match=r"surrogate|version|beyond"):
            request_key(**request, version=vector.get("version"))
    else:
        assert request_key(**request, version=vector.get("version")) == vector["key"]
        assert canonical_json(request).decode() == vector.get("canonical", canonical_json(request).decode())


@pytest.mark.parametrize("vector", VECTORS["suggest_ttl"], ids=repr)
def test_suggest_ttl(vector: dict[str, Any]) -> None:
    assert suggest_ttl(vector["prompt"]) == vector["ttl"]


def test_the_time_sensitive_words_are_those_of_all_clients() -> None:
    assert list(TIME_SENSITIVE) == VECTORS["time_sensitive"]
    for words in TIME_SENSITIVE:
        assert suggest_ttl(f"What is new {words.upper()}?") == 3600
        assert suggest_ttl(f"x{words}") == suggest_ttl(f"{words}9") == 604_800


def test_the_same_bytes_have_one_key_however_they_come(tmp_path: Path) -> None:
    content = os.urandom(3 * 1024 * 1024 + 7)
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    key = f"content:{sha256(content).hexdigest()}"
    assert content_key(content) == content_key(bytearray(content)) == content_key(memoryview(content)) == key
    assert content_key(path) == content_key(str(path)) == key
    with path.open("rb") as file:
        assert content_key(file) == content_key(file) == key
        file.seek(7)
        assert content_key(file) == content_key(content[7:])
        assert file.tell() == 7


def test_a_file_that_cannot_seek() -> None:
    read_end, write_end = os.pipe()
    with open(read_end, "rb") as reader:
        with open(write_end, "wb") as writer:
            writer.write(b"abc")
        assert content_key(reader) == content_key(b"abc")


def test_a_file_of_text_is_refused() -> None:
    text: Any = io.StringIO("abc")
    with pytest.raises(TypeError):
        content_key(text)


def test_kinds_of_keys_never_meet() -> None:
    assert len({content_key(b"{}"), text_key("{}"), text_key("{}", version="content")}) == 3
