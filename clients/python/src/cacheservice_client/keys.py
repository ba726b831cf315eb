"""Keys made of what an answer depends on. The same input has the same key on every machine and in every client: the
TypeScript client is tested with the same vectors.

A key is `<kind>:<SHA-256 in hex>` or `<kind>:<version>:<SHA-256 in hex>`: nothing personal stands in it, and the
entries of a kind and version can be listed and cleared by their prefix.
"""

import hashlib
import os
import re
import unicodedata
from typing import Any, BinaryIO

from cacheservice_client.canonical_json import canonical_json

# The characters of Unicode's property White_Space: what a language's own `strip` takes differs.
_WHITE_SPACE = re.compile("[\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+")
_VERSION = re.compile(r"[A-Za-z0-9._@/+-]{1,100}")
_BLOCK_BYTES = 1 << 20

Version = str | int | None


def content_key(
    content: bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO, *, version: Version = None
) -> str:
    """The key of bytes, of the file at a path, or of an open binary file from where it stands to its end.

    A file is read block by block, and one that can seek is put back where it stood.
    """
    if isinstance(content, (bytes, bytearray, memoryview)):
        digest = hashlib.sha256(content).hexdigest()
    elif isinstance(content, (str, os.PathLike)):
        with open(content, "rb") as file:
            digest = _file_digest(file)
    else:
        start = content.tell() if content.seekable() else None
        digest = _file_digest(content)
        if start is not None:
            content.seek(start)
    return digest_key("content", version, digest)


def text_key(text: str, normalize: bool = True, *, version: Version = None) -> str:
    """The key of a text; with `normalize`, of all texts that `normalized` makes the same."""
    return digest_key("text", version, _digest(normalized(text) if normalize else text))


def request_key(*, model: str, messages: Any, version: Version = None, **params: Any) -> str:
    """The key of a request to a model: of the canonical JSON (RFC 8785) of all that is given but `version`.

    Nothing is left out or filled in: `temperature=None` is another request than one without it. Raises TypeError and
    ValueError for what `canonical_json` refuses.
    """
    request = {"model": model, "messages": messages, **params}
    return digest_key("request", version, hashlib.sha256(canonical_json(request)).hexdigest())


def normalized(text: str) -> str:
    """In lower case without regard to a language, white space collapsed to single spaces and trimmed, in NFC.

    Lower case is Unicode's full mapping with its final sigma, as `str.lower` and JavaScript's `toLowerCase` both have
    it; white space is the 25 characters of Unicode's property White_Space. NFC, so that an é of two code points, as
    some keyboards and file systems have it, is the same as one of one.
    """
    return unicodedata.normalize("NFC", _WHITE_SPACE.sub(" ", text.lower()).strip(" "))


def digest_key(kind: str, version: Version, digest: str) -> str:
    if version is None:
        return f"{kind}:{digest}"
    if not _VERSION.fullmatch(str(version)):
        raise ValueError(f"version: {version!r} is not 1 to 100 letters, digits and . _ @ / + -")
    return f"{kind}:{version}:{digest}"


def _digest(text: str) -> str:
    try:
        return hashlib.sha256(text.encode()).hexdigest()
    except UnicodeEncodeError:
        raise ValueError("the text has a lone surrogate, which is no character") from None


def _file_digest(file: BinaryIO) -> str:
    hashed = hashlib.sha256()
    while block := file.read(_BLOCK_BYTES):
        hashed.update(block)
    return hashed.hexdigest()
