"""Values on their way to the service and back: JSON, or bytes with a content type."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Loads = Callable[[bytes], Any]
Dumps = Callable[[Any], str | bytes]

JSON = "application/json"
BYTES = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Encoded:
    """`content_type` is None for JSON."""

    body: bytes
    content_type: str | None

    def decode(self, loads: Loads) -> Any:
        """The value as a hit would give it."""
        return loads(self.body) if self.content_type is None else self.body


def loads(text: bytes) -> Any:
    return json.loads(text)


def dumps(value: Any) -> str:
    """JSON with nothing in it that need not be: what is stored is paid for by the byte."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def encode(value: Any, content_type: str | None, dumps: Dumps) -> Encoded:
    """Bytes are stored as they are, of `content_type` or application/octet-stream; so is text that has a content type,
    in UTF-8. All else becomes JSON. Bytes of the type application/json are JSON already, and stored as they are.

    Raises TypeError and ValueError for what is not JSON.
    """
    if isinstance(value, (bytes, bytearray, memoryview)):
        kind = content_type or BYTES
        return _checked(bytes(value)) if _is_json(kind) else Encoded(bytes(value), kind)
    if content_type is None or _is_json(content_type):
        text = dumps(value)
        return Encoded(text.encode() if isinstance(text, str) else text, None)
    if isinstance(value, str):
        return Encoded(value.encode(), content_type)
    raise TypeError(f"a value of type {content_type} must be bytes or str, not {type(value).__name__}")


def _checked(text: bytes) -> Encoded:
    """It goes between the other fields of a request: what is no JSON could be taken for them."""
    try:
        json.loads(text.decode(), parse_int=str, parse_float=str)
    except ValueError as error:
        raise ValueError(f"the bytes are not JSON: {error}") from None
    return Encoded(text, None)


def _is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON


def of_json(value: Any, content_type: str | None) -> Any:
    """The value that stands in a JSON answer, where one with a content type comes in base64."""
    return value if content_type is None else base64.b64decode(value)
