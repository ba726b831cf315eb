"""A provider's policy as a form, and as facts in words. Its limits are those of `gateway.policy`."""

import re
from collections.abc import Iterator
from typing import Any, Final

import msgspec
from django import forms
from django.core.exceptions import ValidationError

from cacheservice.entries.requests import MAX_TAG_BYTES
from console.api_key_forms import ServiceForm
from console.settings_forms import TimeField, written
from gateway.policy import (
    DEFAULT_POLICY,
    MAX_PATTERN_BYTES,
    MAX_TTL_SECONDS,
    MOST_PATTERNS,
    MOST_WORDS,
    TIME_SENSITIVE_WORDS,
    Policy,
)

PERSONAL_DATA: Final = (
    ("email", "E-mail addresses"),
    ("phone", "Phone numbers"),
    ("card", "Card numbers"),
    ("bank", "Bank accounts (IBANs)"),
)
TEXTS: Final = (
    ("exact", "Exactly: each character counts"),
    ("normalized", "Normalized: white space and upper or lower case do not count"),
)
ON_DISCONNECT: Final = (
    ("finish", "Finish the call and store its answer: it is paid for already"),
    ("cancel", "Cancel the call"),
)
_PLACE: Final = re.compile(r"(\w+)\[(\d+)\]: (.*)", re.DOTALL)  # how a service names an item of a list


_LIMITS: Final = msgspec.json.schema(Policy)["$defs"]["Policy"]["properties"]


def _bounds(name: str) -> tuple[int, int]:
    """The least and the most that a policy takes."""
    limits = next(limits for limits in _LIMITS[name].get("anyOf", [_LIMITS[name]]) if "minimum" in limits)
    return limits["minimum"], limits["maximum"]


def _whole(name: str, label: str, help_text: str, *, required: bool = True) -> forms.IntegerField:
    least, most = _bounds(name)
    problem = f"Give a whole number from {least:,} to {most:,}{'' if required else ', or leave it empty'}."
    return forms.IntegerField(
        label=label,
        required=required,
        min_value=least,
        max_value=most,
        help_text=help_text,
        error_messages=dict.fromkeys(("required", "invalid", "min_value", "max_value"), problem),
    )


class TTLField(TimeField):
    """A TTL in seconds that a policy may have."""

    def to_python(self, value: Any) -> Any:
        try:
            seconds = super().to_python(value)
        except ValidationError:
            seconds = None
        if seconds is None or seconds > MAX_TTL_SECONDS:
            raise ValidationError(
                f"Give a number and s, min, h or d, such as 12 h; at least 1 s, at most {written(MAX_TTL_SECONDS)}."
            )
        return seconds


class LinesField(forms.CharField):
    """A list of texts, one a line; those that are empty are left out."""

    def __init__(self, *, most: int, longest: int, rows: int, **arguments: Any) -> None:
        widget = forms.Textarea(attrs={"rows": rows, "spellcheck": "false"})
        super().__init__(required=False, max_length=most * (longest + 2), widget=widget, **arguments)
        self._most, self._longest = most, longest

    def clean(self, value: Any) -> Any:
        lines = tuple(filter(None, map(str.strip, super().clean(value).splitlines())))
        if len(lines) > self._most:
            raise ValidationError(f"These are {len(lines)}; give at most {self._most}.")
        for number, line in enumerate(lines, 1):
            if len(line) > self._longest:
                raise ValidationError(f"Number {number} has {len(line)} characters; give at most {self._longest}.")
        return lines


class PolicyForm(ServiceForm):
    """What of a provider is cached, for how long, and how it is called."""

    cache = forms.BooleanField(
        label="Cache answers", required=False, help_text="Off: every request goes to the provider."
    )
    cache_random = forms.BooleanField(
        label="Cache random answers too",
        required=False,
        help_text="Chat with a temperature above 0, or none given, and no seed; images with no seed. "
        "A repeat then gets the same answer again.",
    )
    text = forms.ChoiceField(label="When are two prompts the same?", choices=TEXTS, widget=forms.RadioSelect)
    ttl = TTLField(label="TTL", help_text="How long an answer is kept, where the request asks for nothing else.")
    max_ttl = TTLField(label="Maximum TTL", help_text="Whatever a request asks for.")
    time_sensitive_ttl = TTLField(
        label="TTL of what is time-sensitive", help_text="For prompts with one of the words below."
    )
    time_sensitive_words = LinesField(
        label="Time-sensitive words",
        most=MOST_WORDS,
        longest=MAX_TAG_BYTES,
        rows=6,
        help_text=f"Words or phrases, one a line, at most {MOST_WORDS}, in any case. Empty: none.",
    )
    personal_data = forms.MultipleChoiceField(
        label="Do not cache prompts with", choices=PERSONAL_DATA, required=False, widget=forms.CheckboxSelectMultiple
    )
    personal_patterns = LinesField(
        label="Nor those that match",
        most=MOST_PATTERNS,
        longest=MAX_PATTERN_BYTES,
        rows=3,
        help_text=f"Regular expressions of RE2's, one a line, at most {MOST_PATTERNS}, such as (?i)patient-[0-9]+.",
    )
    keep_prompts = forms.BooleanField(
        label="Keep the texts of prompts",
        required=False,
        help_text="With what each request cost, for the lists of top prompts. Off: only their fingerprints.",
    )
    on_disconnect = forms.ChoiceField(
        label="When a client goes before its answer has ended", choices=ON_DISCONNECT, widget=forms.RadioSelect
    )
    max_output_tokens = _whole(
        "max_output_tokens",
        "Tokens of an answer",
        "What budgets set aside for a call that names no maximum. Empty: as much as its model can answer.",
        required=False,
    )
    retries = _whole("retries", "Retries", "Of 429, 5xx and failed connections, before an answer begins.")
    connect_seconds = _whole("connect_seconds", "Seconds to connect", "")
    first_byte_seconds = _whole("first_byte_seconds", "Seconds until an answer begins", "")
    idle_seconds = _whole("idle_seconds", "Seconds between two pieces of it", "")
    total_seconds = _whole("total_seconds", "Seconds in all", "")

    def clean(self) -> dict[str, Any]:
        fields = self.cleaned_data
        most = fields.get("max_ttl")
        for name in ("ttl", "time_sensitive_ttl"):
            if most and fields.get(name, 0) > most:
                self.add_error(name, f"It is longer than the maximum TTL, {written(most)}.")
        return fields

    def refuse(self, error: ValueError) -> None:
        """Items of a list are named by their place, which is told to the reader from 1 on."""
        if (match := _PLACE.fullmatch(str(error))) and match[1] in self.fields:
            reason = match[3].rstrip(".")
            self.add_error(match[1], f"Number {int(match[2]) + 1}: {reason}.")
        else:
            super().refuse(error)

    def policy(self) -> Policy:
        """With what is as usual left out, so that it is kept as such: msgspec only knows a default that is the same
        object."""
        wanted = msgspec.structs.asdict(msgspec.convert(self.cleaned_data, Policy))
        return Policy(**{name: value for name, value in wanted.items() if value != getattr(DEFAULT_POLICY, name)})


def initial_of(policy: Policy) -> dict[str, Any]:
    """What the form shows of a policy: TTLs as text, lists by lines."""
    return {
        **msgspec.structs.asdict(policy),
        **{name: written(getattr(policy, name)) for name in ("ttl", "time_sensitive_ttl", "max_ttl")},
        **{name: "\n".join(getattr(policy, name)) for name in ("time_sensitive_words", "personal_patterns")},
        "personal_data": list(policy.personal_data),
    }


def facts(policy: Policy) -> Iterator[tuple[str, str]]:
    """A policy in words: what, and how it is."""
    if not policy.cache:
        yield "Answers", "not cached"
    else:
        yield "Answers", "cached, random ones too" if policy.cache_random else "cached, but for random ones"
        yield "Prompts", "white space and case do not count" if policy.text == "normalized" else "compared exactly"
        yield "TTL", f"{written(policy.ttl)}, at most {written(policy.max_ttl)}"
        words = len(policy.time_sensitive_words)
        usual = "the usual " if policy.time_sensitive_words == TIME_SENSITIVE_WORDS else ""
        told = f"{written(policy.time_sensitive_ttl)}, for {usual}{words} words"
        yield "Time-sensitive", told if words else "nothing is"
        kinds = [label.lower() for kind, label in PERSONAL_DATA if kind in policy.personal_data]
        if count := len(policy.personal_patterns):
            kinds.append(f"{count} pattern{'' if count == 1 else 's'} of your own")
        yield "Not cached with", ", ".join(kinds) or "no personal data looked for"
    yield "Texts of prompts", "kept with what they cost" if policy.keep_prompts else "not kept"
    yield "A client goes", "the call is finished" if policy.on_disconnect == "finish" else "the call is cancelled"
    tokens = policy.max_output_tokens
    yield "Tokens of an answer", f"{tokens:,} set aside by budgets" if tokens else "as many as the model can answer"
    yield "Retries", f"{policy.retries}"
    yield (
        "Waits",
        f"{policy.connect_seconds} s to connect, {policy.first_byte_seconds} s for the beginning, "
        f"{policy.idle_seconds} s between pieces, {policy.total_seconds} s in all",
    )
