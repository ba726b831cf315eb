"""Reading what others sent: JSON of any shape, in which nothing can be relied on."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

MOST_COUNTED = 10**12  # tokens and the like: more is nonsense, and would not fit where it is kept
MOST_NESTING = 100  # of prompts that are rewritten

# Members whose strings nobody reads: kinds of things, handles, contents of files.
_NOT_READ = frozenset(
    {"type", "role", "id", "tool_call_id", "tool_use_id", "call_id", "file_id", "status", "data", "file_data"}
    | {"encrypted_content", "signature", "thought_signature", "media_type", "mime_type", "mimeType", "format"}
    | {"detail", "cache_control"}
)
# Of the others, those in which white space and case matter.
_EXACT = _NOT_READ | {"name", "filename", "url", "uri", "image_url", "file_url"}
_FILE = re.compile(r"data:\S*|[A-Za-z0-9+/_=-]{200,}")  # as an address of its own, or in base64
_BASE64 = re.compile(r"data:[^,\s]*;base64,\S*|[A-Za-z0-9+/_=-]{200,}")
_LARGE = 10**6  # from which on a number may be somebody's, and is no token of a text
_DIGITS = re.compile(r"[0-9]{1,20}")
_ADDRESS = re.compile(r"https?://\S*")


def loads(data: bytes) -> Any:
    """Raises ValueError, also where it is nested too deeply."""
    try:
        return msgspec.json.decode(data)
    except RecursionError:
        raise ValueError("JSON nested too deeply") from None


def document(data: bytes) -> dict[str, Any]:
    """The JSON object in an event's data. Raises ValueError."""
    found = loads(data)
    if not isinstance(found, dict):
        raise ValueError("an event is no JSON object")
    return found


def member(holder: Any, name: str) -> Any:
    """None where the holder is no object, too."""
    return holder.get(name) if isinstance(holder, dict) else None


def items(value: Any) -> list[Any]:
    """Empty where it is no list."""
    return value if isinstance(value, list) else []


def number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def count(value: Any) -> int:
    """A number of tokens or images; null and absent are 0. Raises ValueError for nonsense."""
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MOST_COUNTED:
        raise ValueError("this is no count")
    return value


def limit(value: Any) -> int | None:
    """What a request allows or asks for, from 1 on; None where it does not say so understandably. Also `100.0` and
    `"100"` are read as 100, as some upstreams do."""
    if (isinstance(value, str) and _DIGITS.fullmatch(value)) or (isinstance(value, float) and value.is_integer()):
        value = int(value)
    try:
        return count(value) or None
    except ValueError:
        return None


def highest(values: Sequence[Any]) -> int | None:
    """Of limits; None where there are none, or one of them is not understood: it might be higher."""
    understood = [limit(value) for value in values]
    return max((each for each in understood if each), default=None) if all(understood) else None


def encoded(value: Any) -> bytes:
    """As JSON without white space, in which members can be looked for as text at any depth: a quote within a string is
    escaped there. Looking so at ten megabytes takes milliseconds; walking through the objects, seconds."""
    return msgspec.json.encode(value)


def nested(body: Mapping[str, Any], names: Iterable[str], *, lists: bool = False) -> Iterator[Any]:
    """The values, null ones left out, of these members of the body, and of the objects that it has as members: many
    APIs keep parameters in an object of its own (`options`, `parameters`, `generationConfig`, `input`). With `lists`
    also of the objects in its lists (`instances`)."""
    names = tuple(names)
    held = [value for name, value in body.items() if name != "metadata"]
    if lists:
        held += [each for value in held if isinstance(value, list) for each in value]
    for holder in (body, *held):
        if isinstance(holder, Mapping):
            yield from (holder[name] for name in names if holder.get(name) is not None)


def seeded(body: Mapping[str, Any]) -> bool:
    """Whether it gives a whole-numbered `seed`. A negative one asks for a random one, as -1 does of most who make
    images; where it gives two, both must be one."""
    seeds = list(nested(body, ("seed",)))
    return bool(seeds) and all(type(seed) is int and seed >= 0 for seed in seeds)


def texts(value: Any) -> Iterator[str]:
    """The strings in a JSON value that people read or write, in its order."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            if not _FILE.fullmatch(value):
                yield value
        elif isinstance(value, list):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            stack.extend(held for name, held in reversed(value.items()) if not _skipped(value, name, _NOT_READ))


def everything(value: Any) -> Iterator[str]:
    """All that a JSON value says, in its order, but for files in base64: strings, large whole numbers as they are
    written, and the names of members that are none of a program's."""
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            if not _BASE64.fullmatch(value):
                yield value
        elif isinstance(value, list):
            stack.extend(reversed(value))
        elif isinstance(value, dict):
            for name, held in reversed(value.items()):
                stack.append(held)
                if not name.isidentifier():
                    stack.append(name)
        elif type(value) is int and abs(value) >= _LARGE:
            yield str(value)


def normalized(value: Any, depth: int = 0) -> Any:
    """The value with its prose, which is its `texts` but for names and addresses, without what white space and case
    make different. What is nested absurdly deep stays as it is."""
    if isinstance(value, str):
        return value if _FILE.fullmatch(value) or _ADDRESS.fullmatch(value) else " ".join(value.split()).casefold()
    if depth == MOST_NESTING:
        return value
    if isinstance(value, list):
        return [normalized(held, depth + 1) for held in value]
    if isinstance(value, dict):
        return {
            name: held if _skipped(value, name, _EXACT) else normalized(held, depth + 1) for name, held in value.items()
        }
    return value


def _skipped(holder: dict[str, Any], name: str, skipped: frozenset[str]) -> bool:
    # A document that is plain text has it where others have base64.
    return name in skipped and not (name == "data" and holder.get("type") == "text")
