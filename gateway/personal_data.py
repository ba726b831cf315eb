"""Personal data in prompts: which kind of it, if any, a policy keeps out of the cache.

Every expression is RE2's, whose work grows with the text's length times the expression's size, and never faster. What
looks like the number of a card or bank account counts only where its check digits agree; how many of them are computed
is bounded.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final

import re2  # type: ignore[import-untyped]

from gateway.policy import PersonalData, Policy

# Numbers of a prompt whose check digits are computed. A prompt with more of them counts as one where they agree: of so
# many real ones some would.
MOST_CANDIDATES: Final = 5000
# Of a policy's patterns, all together: what bounds the work of searching a long prompt for them.
MOST_INSTRUCTIONS: Final = 1000
PATTERN: Final = "pattern"  # what `found` says for one of the policy's own
_MEMORY_BYTES: Final = 1 << 20  # of a compiled expression with its automaton

# What looks like a space, a hyphen, a digit or another sign of those numbers and addresses, as the ASCII one; what
# cannot be seen goes. Ideographic and full-width forms are common in East Asian texts.
_ASCII: Final = str.maketrans(
    {
        **dict.fromkeys("\u00a0\u2002\u2003\u2007\u2008\u2009\u202f\u3000", " "),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\uff0d", "-"),
        **dict.fromkeys("\u00ad\u200b\u200c\u200d\u2060\ufeff", None),
        **{chr(0xFF10 + digit): str(digit) for digit in range(10)},
        "\uff20": "@",
        "\uff0b": "+",
        "\uff0e": ".",
        "\uff08": "(",
        "\uff09": ")",
    }
)

# How many characters an account number has, by country: the SWIFT registry of IBANs (ISO 13616).
_IBAN_LENGTHS: Final = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d\d)",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 "
        "ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 "
        "LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 "
        "PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 "
        "YE30",
    )
}


_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")


def _compiled(pattern: str) -> Any:
    """Raises re2.error."""
    options = re2.Options()
    options.max_mem, options.log_errors, options.never_capture = _MEMORY_BYTES, False, True
    return re2.compile(pattern.encode(), options)


_EMAIL: Final = _compiled(r"[\pL\pN._%+'-]+@[\pL\pN-]+(?:\.[\pL\pN-]+)*\.\pL[\pL\pN-]+")
_PHONE: Final = _compiled(
    r"(?:^|[^0-9A-Za-z])(?:"
    r"\+[1-9](?:[ .()/-]{0,3}[0-9]){6,14}"  # international
    r"|00 ?[1-9](?:[ .()/-]{0,3}[0-9]){7,14}"
    r"|(?:\+?1[ .-]?)?(?:\([2-9][0-9]{2}\) ?|[2-9][0-9]{2}[ .-])[0-9]{3}[ .-][0-9]{4}"  # North America
    r"|\(?0[1-9][0-9]{1,4}\)?[ /-]{1,3}[0-9]{3,8}(?:[ -][0-9]{2,6}){0,3}"  # with an area code
    r"|0[1-9](?:[ .-][0-9]{2}){4}"  # in pairs, as in France
    r")(?:[^0-9A-Za-z]|$)"
)
_DIGITS: Final = _compiled(r"[0-9](?:[ -]?[0-9]){12,}")  # a run that may have a card's number in it
# The groups that stand on cards, with one separator among them that is none of a run's above. First of all what goes on
# for longer: a column of numbers is no card.
_NETWORK: Final = r"(?:[3-6][0-9]{3}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)"
_LAYOUTS: Final = [
    _compiled(
        rf"(?:^|[^0-9])(?:[0-9]{{4}}(?:{apart}[0-9]{{4}}){{4,}}"
        rf"|{_NETWORK}(?:{apart}[0-9]{{4}}){{2}}(?:{apart}[0-9]{{4}}(?:{apart}[0-9]{{3}})?|{apart}[0-9])"
        rf"|{_NETWORK}{apart}[0-9]{{6}}{apart}[0-9]{{4,5}})\b"
    )
    for apart in (r" ?\. ?", r" ?- ?", r"[ \t]{1,3}", r"[ \t]?\r?\n[ \t]?", r"[ \t\r\n]{1,3}")
]
_ACCOUNT: Final = _compiled(r"\b[A-Za-z]{2}[0-9]{2}(?:[ -]?[0-9A-Za-z]){11,30}")


class _TooMany(Exception):
    """The prompt has more candidates than are computed."""


class _Budget:
    """Of candidates, for a prompt."""

    def __init__(self) -> None:
        self._left = MOST_CANDIDATES

    def take(self) -> None:
        if self._left == 0:
            raise _TooMany
        self._left -= 1


def found(texts: Iterable[str], policy: Policy) -> str | None:
    """The first kind of personal data that the texts have and the policy minds: one of `PersonalData`, or `pattern`."""
    kinds, own = policy.personal_data, _together(policy.personal_patterns)
    budget = _Budget()
    for text in texts:
        # Half of a surrogate pair, which JSON can say, is nothing to find.
        if own is not None and own.search(text.encode(errors="replace")):
            return PATTERN
        plain = (text if text.isascii() else text.translate(_ASCII)).encode(errors="replace")
        for kind in kinds:
            try:
                if _FINDERS[kind](plain, budget):
                    return kind
            except _TooMany:
                return kind
    return None


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises ValueError, naming the field, for what does not compile or is too large."""
    size = 0
    for number, pattern in enumerate(patterns):
        if _CONTROL.search(pattern):
            raise ValueError(f"personal_patterns[{number}]: write a control character as an escape such as \\n")
        try:
            compiled = _compiled(pattern)
        except re2.error as error:
            reason = error.args[0].decode(errors="replace")
            raise ValueError(f"personal_patterns[{number}]: {reason}; give an expression of RE2's") from None
        if compiled.search(b""):
            raise ValueError(f"personal_patterns[{number}]: it is found in every text; ask for something")
        size += compiled.programsize
    if size > MOST_INSTRUCTIONS:
        raise ValueError(
            f"personal_patterns: together they compile to {size} instructions, and at most {MOST_INSTRUCTIONS} are "
            "searched for: make repetitions and character classes smaller"
        )


@lru_cache(maxsize=256)
def _together(patterns: tuple[str, ...]) -> Any | None:
    """One expression for all of them, which were checked when the policy was set."""
    return _compiled("|".join(f"(?:{pattern})" for pattern in patterns)) if patterns else None


def _email(text: bytes, budget: _Budget) -> bool:
    return b"@" in text and _EMAIL.search(text) is not None


def _phone(text: bytes, budget: _Budget) -> bool:
    return _PHONE.search(text) is not None


def _card(text: bytes, budget: _Budget) -> bool:
    return any(_has_card(run, budget) for run in _runs(text)) or any(
        _is_card(match[0], budget) for layout in _LAYOUTS for match in layout.finditer(text)
    )


def _runs(text: bytes) -> Iterator[list[bytes]]:
    """Where 13 digits or more stand in a row, perhaps with single spaces or hyphens among them: the groups of each."""
    for match in _DIGITS.finditer(text):
        yield match[0].replace(b"-", b" ").split()


def _has_card(groups: list[bytes], budget: _Budget) -> bool:
    """Whether some of the groups together are a card's number: 13 to 19 digits with Luhn's check digit (ISO/IEC 7812),
    the first one of a payment network's."""
    for first, group in enumerate(groups):
        if group[0] not in b"23456":
            continue
        number = b""
        for following in groups[first : first + 19]:
            number += following
            if len(number) > 19:
                break
            if len(number) >= 13:
                budget.take()
                if _luhn(number):
                    return True
    return False


def _is_card(groups: bytes, budget: _Budget) -> bool:
    """Whether what stands as on a card is its number, perhaps with three digits behind that are none of it."""
    number = groups.translate(None, _NO_DIGITS)
    if len(number) > 19:  # a column
        return False
    budget.take()
    return _luhn(number) or (len(number) == 19 and _luhn(number[:16]))


_NO_DIGITS: Final = bytes(byte for byte in range(256) if byte not in b"0123456789")
_DOUBLED: Final = bytes.maketrans(b"0123456789", bytes((0, 2, 4, 6, 8, 1, 3, 5, 7, 9)))
_SINGLE: Final = bytes.maketrans(b"0123456789", bytes(range(10)))


def _luhn(number: bytes) -> bool:
    return (sum(number[-1::-2].translate(_SINGLE)) + sum(number[-2::-2].translate(_DOUBLED))) % 10 == 0


def _bank(text: bytes, budget: _Budget) -> bool:
    start = 0
    while match := _ACCOUNT.search(text, start):
        budget.take()
        number = match[0].translate(None, b" -").upper().decode()
        length = _IBAN_LENGTHS.get(number[:2])
        if length is not None and len(number) >= length and _mod_97(number[:length]) == 1:
            return True
        start = match.start() + 4  # the next one cannot begin before: its first letter begins a word
    return False


def _mod_97(number: str) -> int:
    """Of an IBAN (ISO 7064): with its first four characters at the end, and letters as 10 to 35."""
    return int("".join(str(int(character, 36)) for character in number[4:] + number[:4])) % 97


_FINDERS: Final[dict[PersonalData, Callable[[bytes, _Budget], bool]]] = {
    "email": _email,
    "phone": _phone,
    "card": _card,
    "bank": _bank,
}
