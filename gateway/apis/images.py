"""Images and video, as OpenAI makes them and others with their words for it.

https://platform.openai.com/docs/api-reference/images/create
"""

from collections.abc import Sequence
from typing import Any

from gateway.apis.base import API, Body, Event
from gateway.apis.reading import document, items, member, seeded
from gateway.apis.usages import Usage

URL_TTL_SECONDS = 3300  # OpenAI's URLs of images are gone after an hour

MOST_RESULTS = 1000  # that are looked at

_RESULTS = ("data", "images", "output", "videos")
_COMPLETED = ("image_generation.completed", "image_edit.completed")


class Images(API):
    """Made up anew each time, but from a seed."""

    name = "images"
    ignored = (*API.ignored, "safety_identifier")
    prompts = ("prompt", "negative_prompt")
    counts = ("n",)

    def randomness(self, body: Body) -> str | None:
        return None if seeded(body) else "no seed"

    def ends(self, event: Event) -> bool:
        return event.name in _COMPLETED

    def has_terminal_event(self) -> bool:
        return True

    def assemble(self, events: Sequence[Event]) -> Body:
        """Only what the last event tells: the image, and the usage."""
        for event in events:
            if event.name == "error" or (event.data and document(event.data).get("error")):
                raise ValueError("the stream tells of an error")
        done = [document(event.data) for event in events if self.ends(event)]
        if not done:
            raise ValueError("the stream holds no image that is done")
        images = [{"b64_json": answer.get("b64_json")} for answer in done]
        return {**{name: value for name, value in done[-1].items() if name != "b64_json"}, "data": images}

    def incomplete(self, answer: Body) -> str | None:
        return super().incomplete(answer) or (None if _results(answer) else "no images")

    def longest_ttl(self, answer: Body) -> int | None:
        results = _results(answer)
        return URL_TTL_SECONDS if len(results) > MOST_RESULTS or any(map(_is_url, results)) else None

    def usage(self, answer: Body) -> Usage | None:
        """With the number of images; None where there is a usage, and it is nonsense."""
        tokens = super().usage(answer)
        if tokens is None and answer.get("usage") is not None:
            return None
        return (tokens or Usage())._replace(images=len(_results(answer)))

    def worst_output(self, body: Body) -> int | None:
        return None

    def images(self, body: Body) -> int | None:
        return self.choices(body)


class Video(Images):
    """Most of them answer with a job that is under way, which is not stored."""

    name = "video"

    def has_terminal_event(self) -> bool:
        return False

    def usage(self, answer: Body) -> Usage | None:
        return API.usage(self, answer)

    def images(self, body: Body) -> int | None:
        return 0


def _results(answer: Body) -> list[Any]:
    for name in _RESULTS:
        found = answer.get(name)
        if found:
            return items(found) or [found]
    return []


def _is_url(result: Any) -> bool:
    address = result if isinstance(result, str) else member(result, "url")
    return isinstance(address, str) and not address.startswith("data:")
