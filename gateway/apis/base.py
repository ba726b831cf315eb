"""What the gateway must know of an API to cache it. Each API is a module beside this one with one class.

An API's object holds no state: one instance serves every request. Bodies are decoded JSON objects (`dict`), never
changed in place. Nothing here does I/O.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from gateway.apis import reading, stops, usages
from gateway.apis.usages import Usage as Usage

Body = Mapping[str, Any]

DONE = b"[DONE]"  # the data of the last event of OpenAI's streams

# What APIs that are not known here call their prompts, those for images and video of their own, and how much they may
# answer.
_PICTURED = (
    *("text_prompts", "text_prompt", "textPrompt", "promptText", "prompt_text"),
    *("positive_prompt", "positivePrompt"),
)
_PROMPTS = ("messages", "message", "prompt", "prompts", "contents", "inputs", *_PICTURED)
_LIMITS = (
    "max_tokens",
    "max_completion_tokens",
    "max_output_tokens",
    "max_new_tokens",
    "maxOutputTokens",
    "num_predict",
)
_CHOICES = ("n", "best_of", "candidateCount", "num_return_sequences")
# Members that name what the provider keeps: what was said before, a prompt, instructions, what it cached.
_KEPT = (
    *("previous_response_id", "conversation", "conversation_id", "thread_id"),
    *("assistant_id", "agent_id", "container", "cachedContent", "cached_content"),
)
# Members that have the provider, or a server that it asks, look for more: an empty object does, too.
_SEARCHES = ("mcp_servers", "web_search_options", "search_parameters", "plugins")
# Tools that the client runs, by their types: what they find is in the body of its next request. All others, such as
# `web_search_20250305`, `mcp` and `code_interpreter`, the provider runs, and what they find counts as input at once.
_CLIENTS_TOOLS = re.compile(
    r"function|custom|namespace|local_shell|apply_patch|computer|computer_use_preview|"
    r"(?:bash|computer|memory|text_editor)_20\d{6}"
)
# What the provider keeps, deep within: files by their ids or addresses. In JSON without white space, where strings
# cannot look so.
_KEPT_FILES = re.compile(
    rb'"(?:(?:file|vector_store)_ids?|file_ur[il]|fileUri)":\[?"[^"]|'
    rb'"type":"(?:item_reference|(?:document|video|audio)_url)"'
)
_DOCUMENT, _BY_URL = b'"type":"document"', b'"type":"url"'


class Event(NamedTuple):
    """One server-sent event. Only its own bytes are kept: there may be a hundred thousand of them."""

    raw: bytes  # as it came, with the blank line that ends it
    skipped: int = 0  # bytes that say nothing: the stream's byte order mark

    @property
    def name(self) -> str:
        """Of its `event:` field; empty without one."""
        names = self.fields(b"event")
        return names[-1].decode("utf-8", "replace") if names else ""

    @property
    def data(self) -> bytes:
        """Of its `data:` fields."""
        raw = self.raw
        if raw.startswith(b"data: ") and raw.find(b"\n") == len(raw) - 2 and b"\r" not in raw:  # as nearly all are
            return raw[6:-2]
        return b"\n".join(self.fields(b"data"))

    def fields(self, name: bytes) -> list[bytes]:
        """The values of the fields of that name: `data` or `event`."""
        if name not in self.raw:  # as `event` in most
            return []
        return _FIELDS[name].findall(self.raw[self.skipped :] if self.skipped else self.raw)


# A line with that name, and the value it may have. The name first, which is what is searched for: an event may be
# megabytes of blank lines.
_FIELDS = {
    name: re.compile(name + rb"(?<![^\r\n]" + name + rb")(?::[ ]?([^\r\n]*))?(?=[\r\n]|\Z)")
    for name in (b"data", b"event")
}


class API:
    """What holds for any JSON API that the gateway knows nothing of; the known ones say more."""

    name: ClassVar[str] = "other"
    # Whether a stored answer serves requests that stream and those that do not, by `assemble` and `replay`.
    converts: ClassVar[bool] = False
    # Whether providers charge nothing for it, whatever is asked.
    free: ClassVar[bool] = False
    # Members of a request's body that do not change its answer.
    ignored: ClassVar[tuple[str, ...]] = ("stream", "stream_options", "user", "metadata")
    # Members of a request's body that hold the prompt; empty: all but the ignored ones and `model`.
    prompts: ClassVar[tuple[str, ...]] = ()
    # Members of a request's body that bound its output, and that say how many answers it asks for; empty: whatever any
    # API calls so, of the objects in the body too. A known one has its own only: others there bound nothing.
    limits: ClassVar[tuple[str, ...]] = ()
    counts: ClassVar[tuple[str, ...]] = ()

    def randomness(self, body: Body) -> str | None:
        """Why the answer would be another one each time, such as `temperature>0`; None where it would not.

        Here: a `temperature` above 0, or none given where there is a prompt, without a `seed`; images and video
        without a `seed`. Of an API that is not known, the objects in the body's lists have prompts too.
        """
        if reading.seeded(body):
            return None
        known = bool(self.prompts)
        if not known and _has(body, _PICTURED):
            return "no seed"
        temperatures = list(reading.nested(body, ("temperature",), lists=not known))
        if any(temperature != 0 for temperature in temperatures):
            return "temperature>0"
        if temperatures or not _has(body, self.prompts or _PROMPTS, lists=not known):
            return None
        return "temperature absent"

    def texts(self, body: Body) -> Iterator[str]:
        """The prompt's texts: what time-sensitive words are looked for in, and what is kept of it where it may be.

        Here: every string of the members that hold the prompt, but for handles and files in base64.
        """
        return reading.texts([body[name] for name in self._prompts(body)])

    def personal_texts(self, body: Body) -> Iterator[str]:
        """What personal data are looked for in: whatever the prompt holds, what tools are given and handles too, but
        for files in base64."""
        return reading.everything([body[name] for name in self._prompts(body)])

    def normalized(self, body: Body) -> Body:
        """The body as the fingerprint is made of under the policy `normalized`: in each of the prompt's texts, runs of
        white space are one space, none at the ends, and Unicode case-folded. Names and addresses stay as they are.

        Here: of what is usually called so, in the body or an object in it. What else is prose is not known, and stop
        sequences are none."""
        if self.prompts:
            return {**body, **{name: reading.normalized(body[name]) for name in self._prompts(body)}}
        return {name: value if name in self.ignored else _with_prose(name, value) for name, value in body.items()}

    def streams(self, body: Body) -> bool:
        """Whether the client asks for a stream."""
        return body.get("stream") is True

    def upstream_body(self, body: Body) -> Body:
        """What goes upstream: where it streams, with the usage event asked for."""
        return body

    def client_events(self, event: Event, body: Body) -> bytes:
        """The event as the client `body` came from should see it: without the usage that it did not ask for; empty
        where nothing is left. Of stored events too."""
        return event.raw

    def ends(self, event: Event) -> bool:
        """Whether it is the stream's terminal event. Where an API has none, the end of the body is."""
        return False

    def has_terminal_event(self) -> bool:
        return False

    def incomplete(self, answer: Body) -> str | None:
        """Why a whole JSON answer with status 200 is not to be stored: it was truncated, filtered, is an error, or
        still under way. None: it may be. Short words for a header, with nothing of the answer's own in them."""
        return stops.incomplete(answer)

    def longest_ttl(self, answer: Body) -> int | None:
        """Seconds after which what the answer names is gone (URLs of images); None: never."""
        return None

    def usage(self, answer: Body) -> Usage | None:
        """What the answer says was used; None where it does not, or says nonsense."""
        return usages.usage_of(answer)

    def assemble(self, events: Sequence[Event]) -> Body:
        """The JSON answer that the events of a whole stream add up to. Where it does not convert: what `incomplete` and
        `usage` need of it (the last event's error, stop reason and usage). Raises ValueError for what is no such
        stream, or one that told an error.

        Here: the members of all events that are JSON objects, the latest of each.
        """
        answer: dict[str, Any] = {}
        for event in events:
            if not event.data or event.data == DONE:
                continue
            found = reading.loads(event.data)
            if isinstance(found, dict):
                if event.name == "error" or found.get("error") or found.get("type") == "error":
                    raise ValueError("the stream tells of an error")
                answer.update((name, value) for name, value in found.items() if value is not None)
        if not answer:
            raise ValueError("the stream holds no JSON objects")
        return answer

    def replay(self, answer: Body) -> list[bytes]:
        """The events of a stream that tells a stored JSON answer, usage included. Only where it converts. Raises
        ValueError for what is no such answer."""
        raise NotImplementedError

    def worst_output(self, body: Body) -> int | None:
        """How many output tokens the body allows at most, all choices together; None: it does not say, or not
        understandably."""
        most = reading.highest(self._values(body, self.limits, _LIMITS))
        choices = self.choices(body)
        return most * choices if most and choices else None

    def choices(self, body: Body) -> int | None:
        """How many answers the body asks for; None: it says so, and not understandably."""
        counts = self._values(body, self.counts, _CHOICES)
        return reading.highest(counts) if counts else 1

    def hidden_input(self, body: Body) -> bool:
        """Whether input counts that is not in the body: a conversation, a prompt or a file that the provider keeps or
        gets from elsewhere, or what its own tools find. How much it is, only the model's context window bounds."""
        prompt = body.get("prompt")
        if any(body.get(name) for name in _KEPT) or (isinstance(prompt, dict) and prompt.get("id")):
            return True
        if any(body.get(name) not in (None, False, []) for name in _SEARCHES) or _with_providers_tools(body):
            return True
        written = reading.encoded(body)
        return _KEPT_FILES.search(written) is not None or (_DOCUMENT in written and _BY_URL in written)

    def images(self, body: Body) -> int | None:
        """How many images the body asks for; None: it says so, and not understandably."""
        return 0

    def _values(self, body: Body, own: tuple[str, ...], others: tuple[str, ...]) -> list[Any]:
        """Of the members that the API has for it, else of all that any has."""
        if own:
            return [body[name] for name in own if body.get(name) is not None]
        return list(reading.nested(body, others))

    def _prompts(self, body: Body) -> list[str]:
        """The names of the members that hold it."""
        if self.prompts:
            return [name for name in self.prompts if name in body]
        return [name for name in body if name not in self.ignored and name != "model"]


def _with_prose(name: str, value: Any) -> Any:
    """The member of a body with its prompts normalized."""
    if name in _PROMPTS:
        return reading.normalized(value)
    if not isinstance(value, dict):
        return value
    return {inner: reading.normalized(held) if inner in _PROMPTS else held for inner, held in value.items()}


def _has(body: Body, names: tuple[str, ...], *, lists: bool = True) -> bool:
    return any(True for _ in reading.nested(body, names, lists=lists))


def _with_providers_tools(body: Body) -> bool:
    """Whether some of the body's tools are not the client's to run. Those without a type are, in Anthropic's API."""
    kinds = [reading.member(tool, "type") for tool in reading.items(body.get("tools"))]
    return any(kind is not None and not (isinstance(kind, str) and _CLIENTS_TOOLS.fullmatch(kind)) for kind in kinds)
