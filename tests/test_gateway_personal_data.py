"""What counts as personal data in a prompt, and what makes it one about the time of asking."""

import random
from collections.abc import Callable

import pytest

from gateway import personal_data, time_sensitive
from gateway.personal_data import MOST_CANDIDATES, check_patterns, found
from gateway.policy import (
    MAX_PATTERN_BYTES,
    MOST_PATTERNS,
    MOST_WORDS,
    TIME_SENSITIVE_WORDS,
    PersonalData,
    Policy,
)

KINDS: tuple[PersonalData, ...] = ("email", "phone", "card", "bank")
MEGABYTE = 1_000_000


def kinds_in(text: str) -> set[str]:
    return {kind for kind in KINDS if found([text], Policy(personal_data=(kind,)))}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("write to bob.o'hara+news@mail.example.co.uk, please", "email"),
        ("<ÄNNE@BÜCHER.example>", "email"),
        ("bob\uff20example.com", "email"),
        ("call +49 170 1234567", "phone"),
        ("(555) 123-4567", "phone"),
        ("tel:555-123-4567.", "phone"),
        ("+1 (415) 555-2671", "phone"),
        ("0171 1234567", "phone"),
        ("030/1234567", "phone"),
        ("06 12 34 56 78", "phone"),
        ("06.12.34.56.78", "phone"),
        ("0044 20 7946 0958", "phone"),
        ("+44\u00a020\u00a07946\u00a00958", "phone"),
        ("+44 20 7946\u20110958", "phone"),
        ("4111 1111 1111 1111", "card"),
        ("my 2024 4111-1111-1111-1111 x", "card"),
        ("4111111111111111", "card"),
        ("card:4111111111111111,", "card"),
        ("378282246310005", "card"),
        ("3782 822463 10005", "card"),
        ("30569309025904", "card"),
        ("6304 0000 0000 0000 000", "card"),  # 19 digits
        ("4222222222222", "card"),  # 13
        ("\uff14\uff11\uff11\uff11 1111 1111 1111", "card"),
        ("4111.1111.1111.1111", "card"),
        ("card: 4111  1111  1111  1111 12/27 123", "card"),
        ("4111\n1111\n1111\n1111", "card"),
        ("4111 1111\n1111 1111", "card"),
        ("4111 - 1111 - 1111 - 1111", "card"),
        ("4111\t1111\t1111\t1111", "card"),
        ("1. 4111.1111.1111.1111", "card"),
        ("4111.1111.1111.1112\n4111.1111.1111.1111\n4111.1111.1111.1113", "card"),
        ("3782.822463.10005", "card"),
        ("4111.1111.1111.1111.123", "card"),
        ("5555  5555  5555  4444\n4111  1111  1111  1112", "card"),
        ("4111\r\n1111\r\n1111\r\n1111\r\n12/27", "card"),
        ("6304.0000.0000.0000.000", "card"),
        ("DE89 3704 0044 0532 0130 00 is mine", "bank"),
        ("de89370400440532013000", "bank"),
        ("GB82WEST12345698765432", "bank"),
        ("GB82-WEST-1234-5698-7654-32", "bank"),
        ("ref AB12 DE89 3704 0044 0532 0130 00", "bank"),
        ("MT84MALT011000012345MTLCAST001S", "bank"),
        ("NO9386011117947", "bank"),
    ],
)
def test_finds(text: str, kind: str) -> None:
    assert kind in kinds_in(text)
    assert kind in kinds_in(f"before\n{text}\nafter")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello, how are you?",
        "a@b, @property and x @ y.z",
        "version 1.2.3.4 of 2024-11-21 10:20:30",
        "at 1732200000 or 1732200000000",
        "192.168.100.200 and 10.0.0.1",
        "4111 1111 1111 1112",
        "4111 1111 1111 11111",
        "3.14159265358979323846264338327950288",
        "DE88370400440532013000",
        "DE8937040044053201300",
        "XX89370400440532013000",
        "in 2020 2021 2022 2023 2024",
        "\n".join(str(year) for year in range(1900, 2300)),
        "\n".join(str(number) for number in range(12_000)),
        "4111.1111.1111.1112",
        "4111.1111.1111",
        "52.520008, 13.404954 and 48.8566140 2.3522219",
        "3f2504e0-4f89-11d3-9a0c-0305e82c3301",
        "x[0-9]{3} + 12 = 15; (1) 2 - 3",
        "\ud800",
    ],
)
def test_does_not_find(text: str) -> None:
    assert kinds_in(text) == set()


def test_only_what_the_policy_minds_in_any_of_the_texts() -> None:
    texts = ["hello", "bob@example.com", "4111 1111 1111 1111"]
    assert found(texts, Policy()) is None
    assert found(iter(texts), Policy(personal_data=("card",))) == "card"
    assert found(texts, Policy(personal_data=("card", "email"))) == "email"  # of the first text that has some
    assert found(texts, Policy(personal_patterns=("hel+o",))) == "pattern"
    assert found(texts, Policy(personal_patterns=("nothing", "(?i)HELLO"))) == "pattern"
    assert found(texts, Policy(personal_patterns=("HELLO", "^b$"))) is None


def test_finds_each_card_that_luhns_rule_makes() -> None:
    """With random digits, groups and separators; and none where a digit is wrong."""
    chance = random.Random(6)
    for _ in range(500):
        digits = [chance.choice("23456"), *(chance.choice("0123456789") for _ in range(chance.randrange(11, 18)))]
        digits.append(str(-luhn_sum([*digits, "0"]) % 10))
        assert "card" in kinds_in(grouped(chance, digits))
        digits[-1] = str((int(digits[-1]) + chance.randrange(1, 10)) % 10)
        assert "card" not in kinds_in("".join(digits))


def luhn_sum(digits: list[str]) -> int:
    """As ISO/IEC 7812-1 words it: from the right, each second digit doubled, and of two digits their sum."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        doubled = int(digit) * (2 if place % 2 else 1)
        total += doubled // 10 + doubled % 10
    return total


def grouped(chance: random.Random, digits: list[str]) -> str:
    separator, parts = chance.choice(["", " ", "-"]), []
    while digits:
        size = chance.randrange(2, 7)
        parts.append("".join(digits[:size]))
        digits = digits[size:]
    return separator.join(parts)


HOSTILE = {
    "digits": "4" * MEGABYTE,
    "digits that are no card": "1" * MEGABYTE,
    "digits apart": "4 " * (MEGABYTE // 2),
    "dots": "4.4." * (MEGABYTE // 4),
    "a column of numbers": "4111\n" * (MEGABYTE // 5),
    "cards with dots but for a digit": "4111.1111.1111.1113\n" * (MEGABYTE // 20),
    "groups": "2345 " * (MEGABYTE // 5),
    "cards but for a digit": "4111 1111 1111 1113 x " * (MEGABYTE // 22),
    "at signs": "@" * MEGABYTE,
    "addresses without end": "a@" * (MEGABYTE // 2),
    "hosts without end": "a@" + "a." * (MEGABYTE // 2),
    "letters": "a" * MEGABYTE,
    "heads of accounts": "DE89 " * (MEGABYTE // 5),
    "accounts of nowhere": "aa11aa11-" * (MEGABYTE // 9),
    "plus signs": "+1" * (MEGABYTE // 2),
    "brackets": "(" * MEGABYTE,
    "other letters": "é" * (MEGABYTE // 2),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_costs_a_bounded_number_of_candidates(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All else is RE2's, whose work is linear by its construction. Too many candidates count as personal data."""
    computed = Computed(monkeypatch)
    for kind in KINDS:
        computed.count = 0
        answer = found([HOSTILE[name]], Policy(personal_data=(kind,)))
        assert computed.count <= MOST_CANDIDATES
        assert computed.count < MOST_CANDIDATES or answer == kind


class Computed:
    """How often check digits are computed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        for name in ("_luhn", "_mod_97"):
            monkeypatch.setattr(personal_data, name, self._counting(getattr(personal_data, name)))

    def _counting(self, function: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object) -> object:
            self.count += 1
            return function(*arguments)

        return counted


def test_searches_are_by_an_engine_that_never_backtracks() -> None:
    """One that backtracks would take more than 2^40 steps for the first of these on the shorter text."""
    policy = Policy(personal_patterns=(r"^(a+)+$", r"(a*)*(a*)*(a*)*b"))
    check_patterns(policy.personal_patterns)
    assert found(["a" * 40 + "!", "a" * MEGABYTE + "!"], policy) is None


@pytest.mark.parametrize(
    ("patterns", "why"),
    [
        (("fine", "("), r"personal_patterns\[1\]: missing \): \(; give an expression of RE2's"),
        ((r"(a)\1",), r"personal_patterns\[0\]: invalid escape sequence: \\1"),
        (("(?=a)",), r"personal_patterns\[0\]: invalid perl operator"),
        (("a{1001}",), r"personal_patterns\[0\]: invalid repetition size"),
        (("((a{100}){100}){100}",), r"personal_patterns\[0\]: invalid repetition size"),
        ((r"\pL{1000}",), r"personal_patterns\[0\]: pattern too large"),
        (("a*",), r"personal_patterns\[0\]: it is found in every text"),
        (("a\nb",), r"personal_patterns\[0\]: write a control character as an escape"),
        ((r"[a-z]{900}", r"[a-z]{900}"), "personal_patterns: together they compile to 18.. instructions, and at most"),
    ],
)
def test_refuses_a_pattern_that_cannot_be_searched_for(patterns: tuple[str, ...], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        check_patterns(patterns)


def test_as_many_patterns_as_a_policy_may_have_work_together() -> None:
    patterns = (*(rf"\bid-{number}-[0-9]{{4}}\b" for number in range(MOST_PATTERNS - 1)), "x" * MAX_PATTERN_BYTES)
    check_patterns(patterns)
    policy = Policy(personal_patterns=patterns)
    assert found(["an id-18-1234."], policy) == "pattern"
    assert found(["an id-18-123."], policy) is None


# The time of asking


@pytest.mark.parametrize(
    "text",
    [
        "what is new today?",
        "TODAY",
        "Now.",
        "(now)",
        "the\nlatest",
        "this\n \tweek",
        "This\u00a0Week",
        "this\u3000week",
        "what is up to\r\ndate",
        "live-stream",
        "it's 'current', is it",
    ],
)
def test_is_about_the_time_of_asking(text: str) -> None:
    assert time_sensitive.is_time_sensitive(["something else", text], TIME_SENSITIVE_WORDS)


@pytest.mark.parametrize(
    "text", ["", "todays", "know", "snow now2 _now now_", "nowé", "thisweek", "this, week", "alive", "\ud800"]
)
def test_is_not_about_the_time_of_asking(text: str) -> None:
    assert not time_sensitive.is_time_sensitive([text], TIME_SENSITIVE_WORDS)


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("σήμερα", "ΤΙ ΈΓΙΝΕ ΣΉΜΕΡΑ;"),
        ("heute früh", "HEUTE  FRÜH?"),
        ("straße", "STRASSE"),
        ("今日", "今日は何がありますか"),
        ("วันนี้", "ข่าววันนี้คืออะไร"),
        ("24/7", "open 24/7?"),
        (".*", "a .* b"),
        ("сегодня", "Что СЕГОДНЯ нового"),
    ],
)
def test_words_of_any_language_and_no_expressions(word: str, text: str) -> None:
    assert time_sensitive.is_time_sensitive([text], (word,))
    assert not time_sensitive.is_time_sensitive(["anything else"], (word,))


def test_no_words_find_nothing() -> None:
    assert not time_sensitive.is_time_sensitive(["now"], ())
    assert not time_sensitive.is_time_sensitive(["  "], (" ",))


def test_longest_list_works_and_what_is_larger_is_refused() -> None:
    words = tuple(f"{number:03}" + "x" * 125 for number in range(MOST_WORDS))
    time_sensitive.check_words(words)
    assert time_sensitive.is_time_sensitive([f"a {words[-1]}!"], words)
    with pytest.raises(ValueError, match="time_sensitive_words: all together they are too long"):
        time_sensitive.check_words(tuple(f"{number:03}" + "\ufb03 " * 62 for number in range(MOST_WORDS * 3)))


@pytest.mark.parametrize("word", ["", " ", "a\x00b", "a\nb"])
def test_refuses_what_is_no_word(word: str) -> None:
    with pytest.raises(ValueError, match=r"time_sensitive_words\[1\]: give a word or phrase"):
        time_sensitive.check_words(("now", word))
