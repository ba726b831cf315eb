"""What is to be done with a request, decided from the request and its provider's policy alone.

Most requests that are answered from the cache are byte for byte repeats, and a plan depends on nothing but bytes: so
plans are kept, and a repeat costs one SHA-256 instead of parsing, canonical JSON and a look for personal data.
"""

import asyncio
import hashlib
import itertools
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from threading import Lock
from typing import Any, NamedTuple
from urllib.parse import unquote

import msgspec

from cacheservice.entries import nesting
from cacheservice.entries.requests import shown
from cacheservice.errors import InvalidRequest
from gateway import personal_data, time_sensitive
from gateway.apis import api_for, other
from gateway.apis.base import API, Body
from gateway.fingerprint import accepted, canonical, fingerprint, significant, whose
from gateway.providers import Upstream
from gateway.requests import MAX_MODEL_BYTES, MAX_USER_BYTES, SHORT_LINE, Directives

KEPT_PLANS = 10_000
# Bytes of a body above which its plan, at about a microsecond a value, is made beside the event loop.
LARGE, HUGE = 32_768, 1_048_576
MAX_PROMPT_CHARACTERS = 500  # of what spend events keep, where the policy lets them

_NOTHING_SAID = (significant({}), b"", None, "")
_NOT_JSON = "not a JSON object"
PERSONAL_DATA = "personal-data"
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Plan(NamedTuple):
    """What every request with these bytes gets."""

    api: API
    model: str
    user: str
    streams: bool
    fingerprint: bytes  # SHA-256; empty where the body has none
    bypass: str  # why it is not cached; empty: it is
    unread: bool = False  # whether there is a body, of which is not known what it asks for
    personal: bool = False  # whether the prompt has personal data: known where it is to be cached or kept

    @property
    def key(self) -> str:
        """Of its entry."""
        return self.fingerprint.hex()


class Asked(NamedTuple):
    """A request, as far as plans are concerned."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes
    own_credential: bytes | None
    directives: Directives


def decoded(body: bytes) -> Body | None:
    """The JSON object that the body is; None if it is none."""
    try:
        return None if nesting.too_deep(body) else _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


class Planner:
    """Makes plans, and keeps the latest."""

    def __init__(self) -> None:
        self._plans: dict[_Place, Plan] = {}
        self._changing = Lock()
        # One body at a time: decoded it may take twenty times its size. The huge ones do not hold up the large ones.
        self._large, self._huge = ThreadPoolExecutor(1, "plans"), ThreadPoolExecutor(1, "huge-plans")

    def known(self, upstream: Upstream, asked: Asked) -> Plan | None:
        """The plan, if it is kept."""
        return self._plans.get(_place(upstream, asked))

    async def make(self, upstream: Upstream, asked: Asked) -> Plan:
        """As `plan`; that of a large body on a thread."""
        size = len(asked.body)
        if size <= LARGE:
            return self.plan(upstream, asked)
        thread = self._huge if size > HUGE else self._large
        return await asyncio.get_running_loop().run_in_executor(thread, self.plan, upstream, asked)

    def plan(self, upstream: Upstream, asked: Asked) -> Plan:
        """The kept plan, or a new one. Raises InvalidRequest. Threads may call it."""
        place = _place(upstream, asked)
        plan = self._plans.get(place)
        if plan is None:
            plan = _plan(upstream, asked)
            with self._changing:
                if len(self._plans) >= KEPT_PLANS:
                    del self._plans[next(iter(self._plans))]
                self._plans[place] = plan
        return plan


_Place = tuple[int, str, int, bytes]


def _place(upstream: Upstream, asked: Asked) -> _Place:
    """Where its plan is kept: whatever the client sent is in the digest alone, so that it takes no memory."""
    digest = _digest_of_line(asked.method, asked.path, asked.query)
    said = (
        significant(asked.headers),
        accepted(asked.headers),
        whose(upstream, asked.own_credential, asked.headers),
        asked.directives.key,
    )
    if said == _NOTHING_SAID:
        digest.update(b"\0")
    else:
        text = repr(said).encode()
        digest.update(b"\1%d " % len(text))
        digest.update(text)
    digest.update(asked.body)
    return upstream.tenant_id, upstream.name, upstream.revision, digest.digest()


def _digest_of_line(method: str, path: str, query: str) -> "hashlib._Hash":
    """One that has taken the request line in; of short ones it is kept."""
    if len(path) + len(query) > SHORT_LINE:
        return hashlib.sha256(repr((method, path, query)).encode())
    return _kept_digest(method, path, query).copy()


@lru_cache(maxsize=4096)
def _kept_digest(method: str, path: str, query: str) -> "hashlib._Hash":
    return hashlib.sha256(repr((method, path, query)).encode())


def prompt(api: API, body: Body) -> str:
    """What a spend event keeps of the prompt."""
    kept: list[str] = []
    left = MAX_PROMPT_CHARACTERS
    for text in api.texts(body):
        kept.append(text[:left])
        left -= len(text) + 1
        if left <= 0:
            break
    return "\n".join(kept).replace("\x00", "")


def ttl(upstream: Upstream, api: API, body: Body, answer: Body, wanted: int | None) -> int:
    """Seconds that the answer may be kept."""
    policy = upstream.policy
    if wanted is None:
        sensitive = time_sensitive.is_time_sensitive(api.texts(body), policy.time_sensitive_words)
        wanted = policy.time_sensitive_ttl if sensitive else policy.ttl
    longest = api.longest_ttl(answer)
    return min(wanted, policy.max_ttl, policy.max_ttl if longest is None else longest)


def _plan(upstream: Upstream, asked: Asked) -> Plan:
    """Raises InvalidRequest."""
    body = decoded(asked.body)
    api = api_for(upstream.kind, asked.path, body)
    posted = asked.method == "POST"
    if body is None:
        bypass = _NOT_JSON if posted else f"method {asked.method}"
        return Plan(api, _model_in(upstream, asked), "", False, b"", bypass, unread=bool(asked.body))
    _check_members(asked.body)
    model = _member(body, "model", MAX_MODEL_BYTES) or _model_in(upstream, asked)
    user, streams = _user(body), api.streams(body)
    if not posted:  # some upstreams take any method for the same: what it may cost is the body's
        bypass = f"method {asked.method}"
        return Plan(api, model, user, streams, b"", bypass, personal=_personal(upstream, api, body, bypass))
    content = asked.directives.key.encode() or canonical(api, upstream, body, streams=streams)
    if content is None:
        digest, bypass = b"", "no canonical JSON"
    else:
        digest = _digest(upstream, asked, api, streams, content)
        bypass = _bypass(upstream, api, asked.path, body)
    personal = _personal(upstream, api, body, bypass)
    return Plan(api, model, user, streams, digest, bypass or (PERSONAL_DATA if personal else ""), personal=personal)


def _check_members(body: bytes) -> None:
    """Raises InvalidRequest for a JSON value with an object that has a member twice: an upstream that reads the first
    of them would answer, and charge for, something else than is planned here."""
    json.loads(body, object_pairs_hook=_check_object, parse_int=_leave_out, parse_float=_leave_out)


def _leave_out(_: str) -> None:
    """Numbers: those with very many digits are none to Python. Its own function, so that other threads get a turn."""


def _check_object(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) == len(pairs):
        return
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            told = shown(name).encode("utf-8", "replace").decode()
            raise InvalidRequest(f"body: an object in it has the member '{told}' more than once; send it once.")
        seen.add(name)


def _digest(upstream: Upstream, asked: Asked, api: API, streams: bool, content: bytes) -> bytes:
    query = asked.query
    if asked.directives.key:  # never the fingerprint of a body that happens to be its bytes
        query += f"\nkey {streams and not api.converts}"
    credentials = whose(upstream, asked.own_credential, asked.headers)
    headers = significant(asked.headers)
    if other.is_unknown(api) and (formats := accepted(asked.headers)):
        headers = (*headers, formats)
    return fingerprint(upstream, credentials, asked.path, query, headers, content)


def _bypass(upstream: Upstream, api: API, path: str, body: Body) -> str:
    """Why the policy does not let it be cached, whatever the prompt says; empty if it does."""
    policy = upstream.policy
    if not policy.cache:
        return "policy"
    if other.creates(api, path):
        return "creates"
    if not policy.cache_random and (random := other.randomness(api, path, body)) is not None:
        return random
    return ""


def _personal(upstream: Upstream, api: API, body: Body, bypass: str) -> bool:
    """Whether the prompt has what the policy minds. Not looked for where it is neither cached nor kept."""
    policy = upstream.policy
    if not (policy.personal_data or policy.personal_patterns) or (bypass and not policy.keep_prompts):
        return False
    return personal_data.found(api.personal_texts(body), policy) is not None


def _user(body: Body) -> str:
    """Whom the body says the request is for, as OpenAI's and Anthropic's clients do."""
    metadata = body.get("metadata")
    return _member(body, "user", MAX_USER_BYTES) or (
        _member(metadata, "user_id", MAX_USER_BYTES) if isinstance(metadata, dict) else ""
    )


def _model_in(upstream: Upstream, asked: Asked) -> str:
    """The model that the URL names: Gemini's `/models/<model>:<method>`, Azure's `/deployments/<model>/` and Bedrock's
    `/model/<model>/`; empty where it names none."""
    parts = [unquote(part) for part in (upstream.base_url + asked.path).split("/") if part]
    for before, part in itertools.pairwise(parts):
        if before.lower() in ("deployments", "model"):  # Azure takes any case
            return _cut(part, MAX_MODEL_BYTES)
        if before.lower() in ("models", "tunedmodels") and ":" in part:
            return _cut(part.rpartition(":")[0], MAX_MODEL_BYTES)
    return ""


def _member(body: Body, name: str, most: int) -> str:
    """A text member, cut to what is kept of it; empty without one."""
    value = body.get(name)
    return _cut(value, most) if isinstance(value, str) else ""


def _cut(value: str, most: int) -> str:
    return value.replace("\x00", "").encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
