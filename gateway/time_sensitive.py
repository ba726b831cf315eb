"""Whether a prompt is about the time of asking: whether it has one of the policy's words."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

_MEMORY_BYTES: Final = 4 << 20  # of a compiled list with its automaton
_SPACE: Final = r"[\s\v\x{85}\pZ]+"
_BEFORE, _AFTER = r"(?:^|[^\pL\pM\pN_])", r"(?:[^\pL\pM\pN_]|$)"
# Scripts that are written without spaces between words: there a word may stand within other letters.
_UNSPACED: Final = re2.compile(rb"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tibetan}]")


def is_time_sensitive(texts: Iterable[str], words: tuple[str, ...]) -> bool:
    """Whether one of the words stands in one of the texts as a whole, in any case; the parts of a phrase with any
    white space between them."""
    expression = _any_of(words)
    return expression is not None and any(
        expression.search(text.casefold().encode(errors="replace")) is not None for text in texts
    )


def check_words(words: tuple[str, ...]) -> None:
    """Raises ValueError, naming the field, for what could not be looked for."""
    for number, word in enumerate(words):
        if not word.strip() or not word.isprintable():
            raise ValueError(f"time_sensitive_words[{number}]: give a word or phrase, without control characters")
    try:
        _any_of(words)
    except re2.error:
        raise ValueError("time_sensitive_words: all together they are too long; give fewer or shorter ones") from None


@lru_cache(maxsize=64)
def _any_of(words: tuple[str, ...]) -> Any | None:
    """One expression of RE2's, so that a long prompt is read once, whatever the words are."""
    by_edges: dict[tuple[str, str], list[str]] = {}  # which classes of characters are large, and so stand there once
    for parts in filter(None, (word.casefold().split() for word in words)):
        edges = "" if _is_unspaced(parts[0][0]) else _BEFORE, "" if _is_unspaced(parts[-1][-1]) else _AFTER
        by_edges.setdefault(edges, []).append(_SPACE.join(re2.escape(part) for part in parts))
    if not by_edges:
        return None
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _MEMORY_BYTES, False, True
    expression = "|".join(f"{before}(?:{'|'.join(words)}){after}" for (before, after), words in by_edges.items())
    return re2.compile(expression.encode(), options)


def _is_unspaced(character: str) -> bool:
    return _UNSPACED.search(character.encode()) is not None
