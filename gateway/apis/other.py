"""APIs that answer the same to the same request, and those of which it is not known what they do.

Of the latter, the path says something all the same.
"""

import re
from typing import Final

from gateway.apis.base import API, Body
from gateway.apis.reading import seeded

# Where images, video and music are made, as Google, Stability, Runway, Black Forest Labs and others call it.
_MAKES_MEDIA: Final = re.compile(
    r"imagen|[/.-]veo-|predictlongrunning|imagine|diffusion|dall-?e|midjourney|[/.-]flux\b"
    r"|(?:txt|text|img|image|video)[-_]?(?:to|2)[-_]?(?:img|image|vid|3d|music)"
    r"|(?:image|video|music)s?[-_/:.](?:generat|edit|variation|create)|/generations$|(?:in|out)paint",
    re.IGNORECASE,
)
# What is made below these of OpenAI's, Anthropic's and Google's paths, and whoever has the same: the provider keeps it
# under an id or gives it out once, and two clients must not share one.
_CREATES: Final = re.compile(
    r"/(?:assistants|batches|cachedcontents|client_secrets|containers|conversations|evals|files|fine_tuning"
    r"|fine-tunes|jobs|runs|sessions|threads|transcription_sessions|uploads|vector_stores)(?:/|:|$)",
    re.IGNORECASE,
)


def is_unknown(api: API) -> bool:
    """Whether nothing is known of it, whatever the provider's kind."""
    return api.name in (API.name, Unknown.name)


def creates(api: API, path: str) -> bool:
    """Whether it makes something new, whatever it is asked."""
    return is_unknown(api) and _CREATES.search(path) is not None


def randomness(api: API, path: str, body: Body) -> str | None:
    """As the API's own; where nothing but the path says so: images and video without a `seed`."""
    if api.name == API.name and _MAKES_MEDIA.search(path):
        return None if seeded(body) else "no seed"
    return api.randomness(body)


class Computed(API):
    """Moderations, rankings, counts of tokens: nothing is made up."""

    name = "computed"

    def randomness(self, body: Body) -> str | None:
        return None


class Unknown(API):
    """Of OpenAI and Anthropic, whatever is not known here: most of it makes something new each time, such as a batch, a
    thread or a file, whose id must not be given out twice."""

    name = "unknown"

    def randomness(self, body: Body) -> str | None:
        return "unknown API"
