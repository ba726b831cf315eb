"""What a call costs in USD: by the tenant's own prices, else by the public price list of genai-prices.

Where neither knows a price the cost is None, shown as unknown: it is never taken for 0. The list is the installed
package's: it is never fetched from the internet, and a new version of the package brings new prices. It knows since
when each price holds. What a provider charges beside tokens, such as its tools' web searches, is not counted.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from gateway.apis.base import Usage
from gateway.apis.reading import encoded

if TYPE_CHECKING:  # importing it takes 0.4 s, which commands that price nothing need not wait for: see `load`
    from genai_prices.types import ModelInfo, ModelPrice, Provider

NANO_USD = Decimal("1e-9")
MILLION = 1_000_000
# What an image or file that a body sends or shows adds to its input at most, and an image that it asks for to the
# output. The most that OpenAI's formulas give for an image in is 48,169 tokens (gpt-4o-mini, 8 tiles of 5,667 and
# 2,833), and for one out 6,240 (gpt-image-1, high); Anthropic's are below 5,000. Of a file it covers some 20 pages.
IMAGE_TOKENS = 50_000
_IMAGE_PART = re.compile(rb'"type":"(?:image|image_url|input_image|document|file|input_file)"')
# The `service_tier` that leaves it to the account which one it is.
_ANY_TIER = "auto"
# Anthropic's `speed` unless another one is asked for: the list's prices without a variant are of it.
_USUAL_SPEED = "standard"

MOST_MODELS = 4096  # names come from clients
MAX_MODEL_LENGTH = 200


class Rates(NamedTuple):
    """A tenant's own prices of a model, in USD. None: not priced by that."""

    input_per_million: Decimal | None = None
    cached_input_per_million: Decimal | None = None  # None: as input
    output_per_million: Decimal | None = None
    per_call: Decimal | None = None
    per_image: Decimal | None = None
    per_second: Decimal | None = None  # of the upstream's time

    @property
    def by_tokens(self) -> bool:
        return any(rate is not None for rate in self[:3])


def load() -> None:
    """Read the list, which else the first price waits for."""
    from genai_prices.data_snapshot import get_snapshot

    get_snapshot()


def price(
    kind: str,
    model: str,
    usage: Usage | None,
    rates: Rates | None,
    seconds: Decimal = Decimal(0),
    *,
    tier: str | None = None,
    speed: str | None = None,
    base_url: str = "",
) -> Decimal | None:
    """What an answered call costs, with 9 decimal places, rounded half to even; None: not known.

    `kind` is the provider's, `model` as the client named it; `usage` None: the answer told none. `seconds` is the
    upstream's time. `tier` is the `service_tier` that the answer names, `speed` that of its usage. `base_url`, the
    provider's, finds the prices of those that speak another one's format.
    """
    if rates is not None and any(rate is not None for rate in rates):
        return _own_price(rates, usage, seconds)
    found = _find(kind, base_url, model)
    if found is None or usage is None:
        return None
    provider, info = found
    context = _context(tier, speed)
    if not _has_speed(info, speed) or not _covers(info.get_prices(datetime.now(UTC), context), usage):
        return None
    try:
        cost = info.calc_price(_usage(usage), provider, price_context=context).total_price
    except ValueError:  # counts that contradict each other, such as more cached tokens than there were
        return None
    return _rounded(cost)


def worst_case(
    kind: str,
    model: str,
    request_bytes: int,
    output_tokens: int | None,
    images: int | None,
    rates: Rates | None,
    policy_max_output: int | None,
    *,
    image_parts: int = 0,
    seconds: int = 3600,
    choices: int | None = 1,
    tier: str | None = None,
    speed: str | None = None,
    base_url: str = "",
    hidden_input: bool = False,
) -> Decimal | None:
    """What a call may cost at most, before it goes upstream; None: not known, or not bounded.

    Byte-level tokenizers make no more tokens than there are bytes: the input is at most `request_bytes`, those of the
    body in UTF-8, and IMAGE_TOKENS for each of its `image_parts` (`count_image_parts`); with `hidden_input`, of which
    the body has only a name, it is the model's context window. The output is what the body allows (`output_tokens`),
    else IMAGE_TOKENS for each of the `images` it asks for, else for each of the `choices` the policy's maximum, else
    the model's context window; where `images` or `choices` is None it is not known. Each token at the highest price
    that its direction has.

    `seconds` is the policy's total time, `tier` the body's `service_tier`, `speed` its `speed`: the answer may come at
    the default ones all the same, and with the tier `auto` at any. One that an account has by default is counted when
    the call is settled.
    """
    found = _find(kind, base_url, model)
    window = found[1].context_window if found else None
    input_tokens = window if hidden_input else request_bytes + IMAGE_TOKENS * image_parts
    output = output_tokens
    if output is None and images != 0:
        output = None if images is None else IMAGE_TOKENS * images
    elif output is None:
        most = policy_max_output or window
        output = None if most is None or choices is None else most * max(1, choices)
    if rates is not None and any(rate is not None for rate in rates):
        return _own_worst_case(rates, input_tokens, output, images, seconds)
    if found is None or not _has_speed(found[1], speed):
        return None
    highest = _highest([found[1].get_prices(datetime.now(UTC), each) for each in _contexts(found[1], tier, speed)])
    if highest is None:
        return None
    per_input, per_output, per_call = highest
    return _bounded(per_input, input_tokens, per_output, output, per_call)


def count_image_parts(body: Mapping[str, Any]) -> int:
    """The images and files that a body sends or refers to, at any depth."""
    return sum(1 for _ in _IMAGE_PART.finditer(encoded(body)))


def _own_price(rates: Rates, usage: Usage | None, seconds: Decimal) -> Decimal | None:
    cost = (rates.per_call or Decimal(0)) + (rates.per_second or Decimal(0)) * seconds
    if usage is None:
        return None if rates.by_tokens or rates.per_image is not None else _rounded(cost)
    per_input = rates.input_per_million or Decimal(0)
    per_cached = per_input if rates.cached_input_per_million is None else rates.cached_input_per_million
    per_output = rates.output_per_million or Decimal(0)
    cached = min(usage.cached_tokens, usage.input_tokens)
    cost += (
        per_input * (usage.input_tokens - cached) + per_cached * cached + per_output * usage.output_tokens
    ) / MILLION
    return _rounded(cost + (rates.per_image or Decimal(0)) * usage.images)


def _own_worst_case(
    rates: Rates, input_tokens: int | None, output_tokens: int | None, images: int | None, seconds: int
) -> Decimal | None:
    per_input = max(rates.input_per_million or Decimal(0), rates.cached_input_per_million or Decimal(0))
    per_output = rates.output_per_million or Decimal(0)
    if rates.per_image and images is None:
        return None
    per_call = (
        (rates.per_call or Decimal(0))
        + (rates.per_image or Decimal(0)) * max(1, images or 0)
        + (rates.per_second or Decimal(0)) * seconds
    )
    return _bounded(per_input, input_tokens, per_output, output_tokens, per_call)


def _bounded(
    per_input: Decimal, input_tokens: int | None, per_output: Decimal, output_tokens: int | None, per_call: Decimal
) -> Decimal | None:
    """None where tokens cost something and it is not known how many they may be."""
    if (per_input and input_tokens is None) or (per_output and output_tokens is None):
        return None
    return _rounded((per_input * (input_tokens or 0) + per_output * (output_tokens or 0)) / MILLION + per_call)


@lru_cache(MOST_MODELS)
def _find(kind: str, base_url: str, model: str) -> "tuple[Provider, ModelInfo] | None":
    """The list's provider and model: by the base URL, else the kind, else whoever makes models of such a name.

    Not by the package's own look-ups, which remember every name that they were ever asked for.
    """
    from genai_prices.data_snapshot import get_snapshot

    if not model or len(model) > MAX_MODEL_LENGTH:
        return None
    providers = get_snapshot().providers
    name = model.lower()
    provider = next((p for p in providers if base_url and re.match(p.api_pattern, base_url)), None)
    if provider is None and kind != "other":
        provider = next((p for p in providers if p.id == kind), None)
    elif provider is None:
        provider = next((p for p in providers if p.model_match is not None and p.model_match.is_match(name)), None)
    info = None if provider is None else provider.find_model(name, all_providers=providers)
    return None if provider is None or info is None else (provider, info)


def _context(tier: str | None, speed: str | None) -> dict[str, str] | None:
    return {name: said for name, said in (("service_tier", tier), ("speed", speed)) if said} or None


def _contexts(info: "ModelInfo", tier: str | None, speed: str | None) -> list[dict[str, str] | None]:
    """In which an answer may come where the body asks for this one."""
    named = {variant.when.get("service_tier") for variant in info.price_variants or ()}
    tiers = {None, "default", *(named if tier == _ANY_TIER else (tier,))}
    return [_context(each, at) for each in tiers for at in {None, speed}]


def _has_speed(info: "ModelInfo", speed: str | None) -> bool:
    """Whether it has a price for it: that of the usual speed is less than that of a higher one."""
    variants = info.price_variants or ()
    return not speed or speed == _USUAL_SPEED or any(variant.when.get("speed") == speed for variant in variants)


def _usage(usage: Usage) -> Any:
    from genai_prices import Usage as ListUsage

    counts = {
        "input_tokens": usage.input_tokens,
        "cache_read_tokens": usage.cached_tokens,
        "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens,
        "output_tokens": usage.output_tokens,
        "output_reasoning_tokens": usage.reasoning_tokens,
        "input_audio_tokens": usage.input_audio_tokens,
        "output_audio_tokens": usage.output_audio_tokens,
        "output_image_tokens": usage.output_tokens if usage.images else 0,
    }
    return ListUsage(**{name: count for name, count in counts.items() if count})


def _covers(prices: "ModelPrice", usage: Usage) -> bool:
    """Whether it prices all that was used: what it does not, the list's own sum takes for 0, or for something cheaper
    of the same direction."""
    units = _units(prices)
    directions, names = {direction for direction, _, _ in units}, {name for _, name, _ in units}
    dearer = {
        "cache_write_1h_mtok": usage.cache_write_1h_tokens,
        "input_audio_mtok": usage.input_audio_tokens,
        "output_audio_mtok": usage.output_audio_tokens,
    }
    return (
        bool(usage.input_tokens or usage.output_tokens or "request" in directions)
        and ("input" in directions or not usage.input_tokens)
        and ("output" in directions or not usage.output_tokens)
        and all(name in names for name, count in dearer.items() if count)
    )


def _highest(alternatives: "Iterable[ModelPrice]") -> tuple[Decimal, Decimal, Decimal] | None:
    """USD per million of input tokens, of output tokens, and per call; None where they price neither."""
    highest = {"input": Decimal(0), "output": Decimal(0), "request": Decimal(0)}
    units = [unit for prices in alternatives for unit in _units(prices)]
    for direction, _, amount in units:
        highest[direction] = max(highest[direction], amount)
    if not any(direction in ("input", "request") for direction, _, _ in units):
        return None
    return highest["input"], highest["output"], highest["request"] / 1000


def _units(prices: "ModelPrice") -> list[tuple[str, str, Decimal]]:
    """The direction, name and USD of its prices of tokens, per million, and of requests, per thousand. Of a price in
    tiers the highest."""
    found = []
    for name, amount in vars(prices).items():
        if amount is None:
            continue
        most = amount if isinstance(amount, Decimal) else max([amount.base, *(tier.price for tier in amount.tiers)])
        if name == "requests_kcount":
            found.append(("request", name, most))
        elif name.endswith("_mtok"):
            found.append(("output" if name.startswith("output") else "input", name, most))
    return found


def _rounded(cost: Decimal) -> Decimal:
    return cost.quantize(NANO_USD, ROUND_HALF_EVEN)
