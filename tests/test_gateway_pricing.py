"""What calls cost: by the tenant's prices, by the public list, and never by a guess."""

import random
from decimal import Decimal

import pytest

from gateway.apis.base import Usage
from gateway.pricing import IMAGE_TOKENS, MOST_MODELS, Rates, _find, count_image_parts, price, worst_case
from tests.store_cast import scaled

USAGE = Usage(input_tokens=1000, cached_tokens=200, output_tokens=500, reasoning_tokens=100)
NOTHING = Rates()


def usd(amount: str) -> Decimal:
    return Decimal(amount)


@pytest.mark.parametrize(
    ("kind", "model", "usage", "expected"),
    [
        # 800 at $0.15, 200 at $0.075 and 500 at $0.60 a million
        ("openai", "gpt-4o-mini", USAGE, "0.000435000"),
        ("openai", "gpt-4o-mini-2024-07-18", USAGE, "0.000435000"),
        # 700 at $3, 200 at $0.30, 100 written at $3.75, 500 at $15
        ("anthropic", "claude-sonnet-4-5", Usage(1000, 200, 100, 500), "0.010035000"),
        # of the 100 written, 40 at $6, for an hour
        ("anthropic", "claude-sonnet-4-5", Usage(1000, 200, 100, 500, cache_write_1h_tokens=40), "0.010125000"),
        # 400 of text at $2.50 and 600 of audio at $32, 100 at $10 and 400 at $64
        ("openai", "gpt-audio", Usage(1000, 0, 0, 500, 0, 0, 600, 400), "0.046800000"),
        ("openai", "gpt-audio", Usage(1000, output_tokens=500, output_audio_tokens=400), "0.029100000"),
        ("openai", "text-embedding-3-small", Usage(input_tokens=10), "0.000000200"),
        # its output is an image: $32 a million, where text is $10
        ("openai", "gpt-image-1.5", Usage(input_tokens=10, output_tokens=1000, images=1), "0.032050000"),
        ("other", "gpt-4o-mini", USAGE, "0.000435000"),
        ("openai", "house-model", USAGE, None),
        ("other", "house-model", USAGE, None),
        ("openai", "gpt-4o", None, None),
        ("openai", "gpt-4o", Usage(), None),
        ("openai", "gpt-4o", Usage(input_tokens=1, cached_tokens=2), None),  # contradicts itself
        ("openai", "text-embedding-3-small", Usage(input_tokens=1, output_tokens=1), None),  # whose output has no price
        # whose list has no price of audio, and no price of an hour in the cache: that of the rest is less
        ("openai", "gpt-4o", Usage(1000, output_tokens=500, input_audio_tokens=1), None),
        ("openai", "gpt-4o", Usage(1000, output_tokens=500, output_audio_tokens=1), None),
        ("openai", "gpt-4o", Usage(1000, 0, 100, 500, cache_write_1h_tokens=1), None),
        ("openai", "", USAGE, None),
        ("openai", "x" * 10_000, USAGE, None),
    ],
)
def test_public_prices(kind: str, model: str, usage: Usage | None, expected: str | None) -> None:
    cost = price(kind, model, usage, None)
    assert cost == (None if expected is None else usd(expected))
    assert price(kind, model, usage, NOTHING) == cost
    assert cost is None or cost.as_tuple().exponent == -9


def test_prices_of_those_that_speak_anothers_format_are_found_by_url() -> None:
    assert price("openai", "llama-3.3-70b-versatile", USAGE, None) is None
    assert price("openai", "llama-3.3-70b-versatile", USAGE, None, base_url="https://api.groq.com/openai/v1")


def test_tier_of_service_has_its_own_price() -> None:
    usage = Usage(input_tokens=1_000_000)
    assert price("openai", "gpt-4o", usage, None) == usd("2.5")
    assert price("openai", "gpt-4o", usage, None, tier="default") == usd("2.5")
    assert price("openai", "gpt-4o", usage, None, tier="priority") == usd("4.25")


def test_speed_has_its_own_price() -> None:
    usage = Usage(1000, 200, 100, 500)
    prices = {speed: price("anthropic", "claude-opus-4-8", usage, None, speed=speed) for speed in (None, "standard")}
    assert set(prices.values()) == {usd("0.016725")}
    assert price("anthropic", "claude-opus-4-8", usage, None, speed="fast") == 2 * usd("0.016725")
    own = Rates(per_call=usd("1"))
    assert price("anthropic", "claude-opus-4-8", usage, own, speed="fast") == 1


def test_speed_that_the_list_has_no_price_of_is_not_known() -> None:
    usage = Usage(1000, output_tokens=500)
    assert price("anthropic", "claude-sonnet-4-5", usage, None, speed="standard")
    assert price("anthropic", "claude-sonnet-4-5", usage, None, speed="fast") is None
    assert worst_case("anthropic", "claude-sonnet-4-5", 1000, 500, 0, None, None, speed="fast") is None
    assert worst_case("anthropic", "own", 10, 0, 0, Rates(per_call=usd("1")), None, speed="fast") == 1


@pytest.mark.parametrize(
    ("rates", "usage", "expected"),
    [
        (Rates(input_per_million=usd("2"), output_per_million=usd("10")), USAGE, "0.007"),
        (Rates(usd("2"), usd("0.5"), usd("10")), USAGE, "0.0067"),
        (Rates(cached_input_per_million=usd("0"), input_per_million=usd("1")), USAGE, "0.0008"),
        (Rates(per_call=usd("0.05")), USAGE, "0.05"),
        (Rates(per_call=usd("0")), USAGE, "0"),  # told to be free, which is not unknown
        (Rates(per_call=usd("0.05")), None, "0.05"),
        (Rates(per_second=usd("0.001")), None, "0.0025"),
        (Rates(per_image=usd("0.04")), Usage(images=3), "0.12"),
        (Rates(per_image=usd("0.04")), None, None),
        (Rates(input_per_million=usd("1")), None, None),
        (Rates(input_per_million=usd("0.0005")), Usage(input_tokens=1), "0"),  # 0.5 of the last place: half to even
        (Rates(input_per_million=usd("0.0015")), Usage(input_tokens=1), "0.000000002"),
    ],
)
def test_own_prices_go_first(rates: Rates, usage: Usage | None, expected: str | None) -> None:
    cost = price("openai", "gpt-4o", usage, rates, usd("2.5"))
    assert cost == (None if expected is None else usd(expected))


@pytest.mark.parametrize(
    ("model", "output", "policy", "expected"),
    [
        ("gpt-4o-mini", 100, None, "0.00021"),  # 1,000 bytes at $0.15 and 100 at $0.60 a million
        ("gpt-4o-mini", 100, 50, "0.00021"),
        ("gpt-4o-mini", None, 200, "0.00027"),
        ("gpt-4o-mini", None, None, "0.07695"),  # its context window, 128,000
        ("gpt-4o-mini-tts", None, None, None),  # has none
        ("house-model", 100, 100, None),
        ("text-embedding-3-small", None, None, "0.00002"),  # its output costs nothing
        ("gpt-5.6-sol", 100, None, "0.013"),  # the upper tiers, $10 written to the cache and $30
    ],
)
def test_worst_case(model: str, output: int | None, policy: int | None, expected: str | None) -> None:
    worst = worst_case("openai", model, 1000, output, 0, None, policy)
    assert worst == (None if expected is None else usd(expected))


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        ("default", "3.75"),  # a million of input at $2.50, and 125,000 of output at $10
        ("flex", "3.75"),
        ("priority", "6.375"),  # at $4.25 and $17
        ("auto", "6.375"),  # which of them, the account says
        ("made-up", "3.75"),
    ],
)
def test_worst_case_is_of_the_dearest_tier_that_the_answer_may_come_at(tier: str, expected: str) -> None:
    assert worst_case("openai", "gpt-4o", 1_000_000, 125_000, 0, None, None, tier=tier) == usd(expected)


def test_a_cheap_tier_may_be_answered_at_the_default_one() -> None:
    default = worst_case("openai", "gpt-5", 1000, 1000, 0, None, None)
    flex = price("openai", "gpt-5", Usage(1000, output_tokens=1000), None, tier="flex")
    assert default is not None
    assert flex is not None
    assert flex < default == worst_case("openai", "gpt-5", 1000, 1000, 0, None, None, tier="flex")


@pytest.mark.parametrize("tier", [None, "auto"])
def test_worst_case_is_of_the_speed_that_the_body_asks_for(tier: str | None) -> None:
    """1,000 written for an hour at $10, and 500 at $25; fast at twice that."""
    usual = worst_case("anthropic", "claude-opus-4-8", 1000, 500, 0, None, None, tier=tier)
    fast = worst_case("anthropic", "claude-opus-4-8", 1000, 500, 0, None, None, tier=tier, speed="fast")
    assert (usual, fast) == (usd("0.0225"), usd("0.045"))


def test_worst_case_of_hidden_input_is_the_context_window() -> None:
    """128,000 tokens at $0.15 a million."""
    assert worst_case("openai", "gpt-4o-mini", 10, 0, 0, None, None, hidden_input=True) == usd("0.0192")
    own = Rates(input_per_million=usd("1"))
    assert worst_case("openai", "gpt-4o-mini", 10, 0, 0, own, None, hidden_input=True) == usd("0.128")
    assert worst_case("openai", "own", 10, 0, 0, own, None, hidden_input=True) is None
    assert worst_case("openai", "own", 10, 0, 0, Rates(per_call=usd("1")), None, hidden_input=True) == 1


def test_worst_case_of_a_number_of_choices_that_is_not_understood_is_not_known() -> None:
    assert worst_case("openai", "gpt-4o-mini", 10, None, 0, None, 100, choices=None) is None
    assert worst_case("openai", "own", 10, None, 0, Rates(per_call=usd("1")), 100, choices=None) == 1
    assert worst_case("openai", "gpt-image-1", 10, None, None, None, 100) is None
    assert worst_case("openai", "own", 10, None, None, Rates(per_image=usd("1")), 100) is None
    assert worst_case("openai", "own", 10, None, None, Rates(per_call=usd("1")), 100) == 1


def test_worst_case_by_own_prices() -> None:
    rates = Rates(usd("1"), None, usd("2"), usd("0.1"), usd("0.5"), usd("0.01"))
    assert worst_case("other", "own", 1000, 500, 2, rates, None, seconds=60) == usd("1.702")
    assert worst_case("other", "own", 1000, None, 0, Rates(output_per_million=usd("2")), None) is None
    assert worst_case("other", "own", 1000, None, 0, Rates(per_call=usd("2")), None) == 2
    assert worst_case("openai", "gpt-4o", 0, None, 0, Rates(output_per_million=usd("1")), 10, choices=3) == usd(
        "0.00003"
    )


def test_images_count_by_the_allowance() -> None:
    body = {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "y"}}],
            },
            {"role": "user", "content": [{"type": "input_image"}, {"type": ["image"]}]},
        ],
        "type": "image",
    }
    assert count_image_parts(body) == 3
    assert count_image_parts({"text": '{"type":"image"}'}) == 0
    with_images = worst_case("openai", "gpt-4o-mini", 0, 0, 0, None, None, image_parts=2)
    assert with_images == usd("0.15") * 2 * IMAGE_TOKENS / 1_000_000
    assert worst_case("openai", "gpt-image-1", 0, None, 2, None, 1) == usd("40") * 2 * IMAGE_TOKENS / 1_000_000


@pytest.mark.parametrize("seed", range(scaled(20, 1000)))
def test_worst_case_is_never_below_the_cost(seed: int) -> None:
    rng = random.Random(seed)
    kind, model, speed = rng.choice(
        [("openai", model, None) for model in ("gpt-4o", "gpt-5.6-sol", "gpt-5", "gpt-audio")]
        + [("anthropic", "claude-opus-4-6", None), ("anthropic", "claude-opus-4-8", "fast")]
    )
    for _ in range(20):
        size, most = rng.randrange(1, 1_000_000), rng.randrange(1, 100_000)
        tokens, output = rng.randrange(size + 1), rng.randrange(most + 1)
        cached = rng.randrange(tokens + 1)
        written = rng.randrange(tokens - cached + 1)
        usage = Usage(tokens, cached, written, output, rng.randrange(output + 1))
        if model == "gpt-audio":
            usage = usage._replace(
                input_audio_tokens=rng.randrange(tokens + 1), output_audio_tokens=rng.randrange(output + 1)
            )
        if kind == "anthropic":
            usage = usage._replace(cache_write_1h_tokens=rng.randrange(written + 1))
        rate = Decimal(rng.randrange(10**6)) / 1000
        for rates in (None, Rates(rate, rate / 2, rate * 3, rate)):
            cost = price(kind, model, usage, rates, speed=speed)
            worst = worst_case(kind, model, size, most, 0, rates, None, speed=speed)
            assert worst is not None
            assert (cost or 0) <= worst


def test_names_that_clients_make_up_fill_no_memory() -> None:
    for number in range(MOST_MODELS + 100):
        price("openai", f"made-up-{number}", USAGE, None)
        price("other", f"made-up-{number}", USAGE, None)
    assert _find.cache_info().currsize <= MOST_MODELS
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    assert not snapshot._provider_misses
    assert not snapshot._lookup_cache
