"""A provider's policy: what of it is cached, for how long, and how its upstream is called.

A policy is kept as the JSON of this struct; what it does not say is as here.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from cacheservice.entries.requests import MAX_TAG_BYTES

MOST_WORDS, MOST_PATTERNS = 200, 20
MAX_PATTERN_BYTES = 500

# Prompts with one of these are about the time of asking.
TIME_SENSITIVE_WORDS = (
    "today",
    "tonight",
    "tomorrow",
    "yesterday",
    "now",
    "current",
    "currently",
    "latest",
    "newest",
    "recent",
    "recently",
    "this week",
    "this month",
    "this year",
    "right now",
    "at the moment",
    "up to date",
    "breaking",
    "live",
)

PersonalData = Literal["email", "phone", "card", "bank"]
MAX_TTL_SECONDS = 1_209_600
TTL = Annotated[int, Meta(ge=1, le=MAX_TTL_SECONDS)]
Seconds = Annotated[int, Meta(ge=1, le=3600)]
Word = Annotated[str, Meta(min_length=1, max_length=MAX_TAG_BYTES)]
Pattern = Annotated[str, Meta(min_length=1, max_length=MAX_PATTERN_BYTES)]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """What a tenant may set for each of its providers."""

    cache: bool = True
    cache_random: bool = False  # whether what the model makes up anew each time is cached too
    text: Literal["exact", "normalized"] = "exact"  # normalized: white space and case of prompts do not matter
    ttl: TTL = 604_800
    time_sensitive_ttl: TTL = 3600
    max_ttl: TTL = 1_209_600
    time_sensitive_words: Annotated[tuple[Word, ...], Meta(max_length=MOST_WORDS)] = TIME_SENSITIVE_WORDS
    # Prompts with one of these go through uncached. The patterns are RE2's.
    personal_data: tuple[PersonalData, ...] = ()
    personal_patterns: Annotated[tuple[Pattern, ...], Meta(max_length=MOST_PATTERNS)] = ()
    keep_prompts: bool = False  # whether spend events keep the prompt's text, for the console
    on_disconnect: Literal["finish", "cancel"] = "finish"  # the upstream call, when nobody waits for it any more
    # What a call without max_tokens may answer at most: for budgets. Without it the model's context window.
    max_output_tokens: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    connect_seconds: Annotated[int, Meta(ge=1, le=60)] = 5
    first_byte_seconds: Seconds = 300  # until the upstream's answer begins
    idle_seconds: Seconds = 60  # between two pieces of it
    total_seconds: Seconds = 600
    retries: Annotated[int, Meta(ge=0, le=5)] = 2  # of 429, 5xx and connection errors, before the answer begins


DEFAULT_POLICY = Policy()
