"""How a request asks for trouble: `slow-250ms`, `status-429`, `truncated`, … as its model, or `[[…]]` in its body.

Several are joined with `+`: `slow-50ms+truncated`. A model that is not all directions is an ordinary one, and then only
those in brackets count, which work with any API and model: `"content": "Hello [[length]]"`. The header
`X-Upstream-Directions` and `RunningUpstream.direct()` say the same for what should not change the body.

    slow[-TIME]          wait before the first byte (250ms)
    drip[-TIME]          wait before each event of a stream, or each byte of a JSON answer (10ms)
    stall[-N]            N events (2), or half of a JSON answer, then silence
    hang                 no answer ever
    drop                 the connection closed without an answer
    truncated            the connection cut in the middle of the answer
    unfinished           the answer ends midway, by HTTP's rules whole
    huge[-SIZE]          an answer of that size (10gb): endless text in JSON, or events
    huge-event[-SIZE]    the same, as one event of a stream
    badjson              JSON that is none; in a stream, as its second event
    wrongtype            200 with text/html
    status-CODE[-TIME]   that error; 429 and 503 with Retry-After (1s)
    flaky-N[-CODE]       N times (per body) 503, or that, or `drop`; then an answer
    redirect-URL         307 there
    error-in-stream      after two events, the provider's error event; in JSON, 200 with an error
    length               the text is cut, with the finish reason of max_tokens
    content_filter       the provider's sign of a filtered answer
    reasoning            10 reasoning tokens, and half of the input (rounded down) from the provider's own cache
    no-usage             nothing about tokens
    words-N              an answer of N words
    gzip                 with Content-Encoding: gzip
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

_IN_TEXT = re.compile(r"\[\[([a-z][^\[\]\s\"\\]*)\]\]")
_NAMES = (
    "slow|drip|stall|hang|drop|truncated|unfinished|huge-event|huge|badjson|wrongtype|status|flaky|redirect|"
    "error-in-stream|length|content_filter|reasoning|no-usage|words|gzip"
)
_DIRECTION = re.compile(rf"({_NAMES})(?:-(.+))?")
_SIZES = {"kb": 10**3, "mb": 10**6, "gb": 10**9}


@dataclass(frozen=True)
class Directions:
    """What a request asks for. Times are in seconds, sizes in bytes; 0, '' and False: not asked for."""

    slow: float = 0
    drip: float = 0
    stall: int = 0
    hang: bool = False
    drop: bool = False
    truncated: bool = False
    unfinished: bool = False
    huge: int = 0
    huge_event: int = 0
    badjson: bool = False
    wrongtype: bool = False
    status: int = 0
    retry_after: float = 1
    flaky: int = 0
    flaky_with: str = ""
    redirect: str = ""
    error_in_stream: bool = False
    finish: str = ""  # `length` or `content_filter`
    reasoning: bool = False
    no_usage: bool = False
    words: int = 0
    gzip: bool = False


NONE = Directions()


def without_directions(text: str) -> str:
    return _IN_TEXT.sub("", text) if "[[" in text else text


def directions(model: object, body: bytes, header: str, standing: str) -> Directions:
    """Everything that a request's model, body and header and the `standing` order for all of them ask for."""
    found = [standing, header]
    if b"[[" in body:
        found += _IN_TEXT.findall(body.decode(errors="replace"))
    if isinstance(model, str) and _is_direction(model):
        found.append(model)
    asked = "+".join(filter(None, found))
    return _parsed(asked) if asked else NONE


def _is_direction(model: str) -> bool:
    return all(_DIRECTION.fullmatch(part) for part in model.split("+"))


@lru_cache(1024)
def _parsed(asked: str) -> Directions:
    result = NONE
    for part in asked.split("+"):
        match = _DIRECTION.fullmatch(part)
        if match is None:
            raise ValueError(f"no direction: {part}")
        result = replace(result, **_members(match[1], match[2] or ""))
    return result


def _members(name: str, argument: str) -> dict[str, Any]:
    match name:
        case "slow":
            return {"slow": _seconds(argument or "250ms")}
        case "drip":
            return {"drip": _seconds(argument or "10ms")}
        case "stall" | "words":
            return {name: int(argument or 2)}
        case "huge" | "huge-event":
            return {name.replace("-", "_"): _bytes(argument or "10gb")}
        case "status":
            code, _, wait = argument.partition("-")
            return {"status": int(code), "retry_after": _seconds(wait or "1s")}
        case "flaky":
            times, _, with_what = argument.partition("-")
            return {"flaky": int(times), "flaky_with": with_what or "503"}
        case "redirect":
            return {"redirect": argument}
        case "length" | "content_filter":
            return {"finish": name}
        case _:
            return {name.replace("-", "_"): True}


def _seconds(text: str) -> float:
    return float(text[:-2]) / 1000 if text.endswith("ms") else float(text.removesuffix("s"))


def _bytes(text: str) -> int:
    return int(text[:-2]) * _SIZES[text[-2:]] if text[-2:] in _SIZES else int(text)
