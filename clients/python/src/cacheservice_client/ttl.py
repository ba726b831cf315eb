"""How long an answer stays true, by its prompt."""

import re

from cacheservice_client.keys import normalized

WEEK_SECONDS = 7 * 24 * 3600
HOUR_SECONDS = 3600

# What a prompt says when its answer will soon be another one.
TIME_SENSITIVE = (
    "today",
    "tonight",
    "tomorrow",
    "yesterday",
    "now",
    "nowadays",
    "current",
    "currently",
    "latest",
    "newest",
    "recent",
    "recently",
    "upcoming",
    "up to date",
    "up-to-date",
    "at the moment",
    "these days",
    "so far",
    *(
        f"{which} {time}"
        for which in ("this", "last", "next")
        for time in ("morning", "afternoon", "evening", "night", "week", "weekend", "month", "quarter", "year")
    ),
)
# Neither letter, digit nor underscore of any script stands beside the words.
_TIME_SENSITIVE = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, TIME_SENSITIVE))})(?!\w)")


def suggest_ttl(prompt: str) -> int:
    """Seconds for which an answer to the prompt may be kept: an hour with a time-sensitive word in it, in any case and
    white space, else 7 days."""
    return HOUR_SECONDS if _TIME_SENSITIVE.search(normalized(prompt)) else WEEK_SECONDS
