"""The time that a page reports on, in UTC: a preset up to the running period, or from one time to another.

A form over the query string. What is impossible is an error that names the limit and what to choose.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from django import forms
from django.http import QueryDict

from billing.usage import Range, shifted, start_of
from billing.usage_requests import SPANS, YEARS

CUSTOM = "custom"
LABELS = {"24h": "24 h", "7d": "7 d", "30d": "30 d", "90d": "90 d", "12m": "12 months", CUSTOM: "Custom"}
# How many periods up to the end of the running one, by what they are; the first is what a preset is shown by.
PRESETS: Mapping[str, Mapping[str, int]] = {
    "24h": {"hour": 24},
    "7d": {"hour": 7 * 24, "day": 7},
    "30d": {"day": 30, "hour": 30 * 24},
    "90d": {"day": 90},
    "12m": {"month": 12, "day": 365},
}
# The first that is long enough is what a custom range is shown by.
AUTOMATIC = (("hour", timedelta(days=7)), ("day", timedelta(days=92)), ("month", timedelta.max))


_TIMES = ("start", "end")


class Choice(NamedTuple):
    """A link that asks for the page another way."""

    label: str
    query: str
    current: bool


def _time_field(label: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=f"{label} (UTC)",
        required=False,
        widget=forms.DateTimeInput({"type": "datetime-local", "step": 3600}, format="%Y-%m-%dT%H:%M"),
        error_messages={"invalid": f"{label}: give a UTC time such as 2026-11-20T10:00."},
    )


class RangeForm(forms.Form):
    """When it is valid, `chosen` is what was asked for. A custom range is widened to whole periods."""

    presets: tuple[str, ...] = ("24h", "7d", "30d")
    start = _time_field("From")
    end = _time_field("To")

    chosen: Range

    def __init__(self, asked: QueryDict, now: datetime) -> None:
        self.now = now
        super().__init__(self._filled(asked))
        self.fields["range"] = forms.ChoiceField(
            choices=[(name, LABELS[name]) for name in (*self.presets, CUSTOM)],
            error_messages={"invalid_choice": f"range: choose {', '.join(self.presets)} or {CUSTOM}."},
        )

        for name in _TIMES:
            self.fields[name].required = self.is_custom

    @property
    def name(self) -> str:
        """The preset, or CUSTOM."""
        return str(self.data["range"])

    @property
    def is_custom(self) -> bool:
        return self.name == CUSTOM

    def ranges(self) -> list[Choice]:
        return [self.choice(LABELS[name], name == self.name, range=name) for name in (*self.presets, CUSTOM)]

    def choice(self, label: str, current: bool, **changes: str) -> Choice:
        """The same question with these changes."""
        asked = {name: self.data[name] for name in self.fields if self.data.get(name)} | changes
        if asked["range"] != CUSTOM:
            asked = {name: value for name, value in asked.items() if name not in _TIMES}
        query = QueryDict(mutable=True)
        query.update({name: value for name, value in asked.items() if value})
        return Choice(label, query.urlencode(), current)

    def query(self) -> str:
        """The question as it stands."""
        return self.choice("", True, range=self.name).query

    def kept(self) -> list[tuple[str, str]]:
        """What the form of a custom range sends along."""
        return [(name, self.data[name]) for name in self.fields if name not in _TIMES and self.data.get(name)]

    def other_errors(self) -> list[str]:
        """Of what is chosen by links, which have no field to show them at."""
        return [str(error) for name, errors in self.errors.items() if name not in _TIMES for error in errors]

    def clean_start(self) -> datetime | None:
        return self._in_years("From", self.cleaned_data["start"])

    def clean_end(self) -> datetime | None:
        return self._in_years("To", self.cleaned_data["end"])

    def clean(self) -> dict[str, Any]:
        cleaned: dict[str, Any] = self.cleaned_data
        if not self.errors and self.is_custom:
            self._clean_custom(cleaned["start"], cleaned["end"])
        elif not self.errors and (group_by := self.preset_group_by()):
            end = shifted(start_of(self.now, group_by), group_by, 1)
            self.chosen = Range(shifted(end, group_by, -PRESETS[self.name][group_by]), end, group_by)
        return cleaned

    def default(self, asked: QueryDict) -> str:
        """The preset where none is asked for."""
        return "7d"

    def preset_group_by(self) -> str | None:
        """None, with an error, where the preset cannot be shown."""
        return next(iter(PRESETS[self.name]))

    def custom_group_by(self, length: timedelta) -> str:
        return next(name for name, longest in AUTOMATIC if length <= longest)

    def longest(self, group_by: str) -> tuple[int, str]:
        """How many such periods are shown at most, and the same in words."""
        return SPANS[group_by].most, SPANS[group_by].longest

    def _filled(self, asked: QueryDict) -> QueryDict:
        """With the defaults; a custom range begins as the last 24 hours."""
        filled = asked.copy()
        filled["range"] = filled.get("range") or self.default(asked)
        if filled["range"] != CUSTOM:
            filled["start"] = filled["end"] = ""
        else:
            end = shifted(start_of(self.now, "hour"), "hour", 1)
            for name, time in (("start", end - timedelta(days=1)), ("end", end)):
                filled[name] = filled.get(name) or f"{time:%Y-%m-%dT%H:%M}"
        return filled

    def _clean_custom(self, start: datetime, end: datetime) -> None:
        if start >= end:
            self.add_error("start", f"From must be before To, which is {_shown(end)}: choose an earlier time.")
        elif start > self.now:
            self.add_error("start", f"From lies ahead: choose a time before now, {_shown(self.now)} UTC.")
        else:
            group_by = self.custom_group_by(end - start)
            first, last = start_of(start, group_by), start_of(end, group_by)
            self.chosen = Range(first, last if last == end else shifted(last, group_by, 1), group_by)
            self._check_length()

    def _check_length(self) -> None:
        first, last, group_by = self.chosen
        most, words = self.longest(group_by)
        if last > shifted(first, group_by, most):
            longer = "" if group_by == "month" else ", or longer periods"
            self.add_error(
                "start",
                f"{_shown(first)} to {_shown(last)} is too long: by {group_by}, at most {words} can be shown. "
                f"Choose a later start{longer}.",
            )

    def _in_years(self, label: str, time: datetime | None) -> datetime | None:
        if time is not None and time.year not in YEARS:
            raise forms.ValidationError(f"{label}: give a year from {YEARS[0]} to {YEARS[-1]}.")
        return time and time.astimezone(UTC)


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M}"
