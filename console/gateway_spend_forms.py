"""What the gateway's page is asked: over which UTC days, split by what."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final, NamedTuple

from django import forms
from django.http import QueryDict

from billing.usage import Range
from console.ranges import CUSTOM, Choice, RangeForm

SPLITS: Final[Mapping[str, str]] = {"model": "Model", "user": "User", "key": "API key", "provider": "Provider"}
DEFAULT_SPLIT: Final = "model"
MOST_DAYS: Final = 366
_DAY: Final = timedelta(days=1)


class Question(NamedTuple):
    start: date
    end: date  # not included
    by: str  # one of SPLITS


def _day_field(label: str) -> forms.DateTimeField:
    return forms.DateTimeField(
        label=f"{label} (UTC)",
        required=False,
        widget=forms.DateTimeInput({"type": "date"}, format="%Y-%m-%d"),
        input_formats=["%Y-%m-%d"],
        error_messages={"invalid": f"{label}: give a UTC day such as 2026-11-20."},
    )


class SpendForm(RangeForm):
    """When it is valid, `question` is what was asked for. Both days of a custom range are in it."""

    presets = ("7d", "30d", "90d")
    start = _day_field("From")
    end = _day_field("To")
    by = forms.ChoiceField(
        choices=list(SPLITS.items()),
        required=False,
        error_messages={"invalid_choice": f"by: choose {', '.join(SPLITS)}, or leave it out."},
    )

    def question(self) -> Question:
        start, end, _ = self.chosen
        return Question(start.date(), end.date(), self.split)

    @property
    def split(self) -> str:
        """One of SPLITS."""
        return self.data.get("by") or DEFAULT_SPLIT

    @property
    def split_label(self) -> str:
        return SPLITS[self.split]

    @property
    def last_day(self) -> date:
        """Of what is shown."""
        last: date = (self.chosen.end - _DAY).date()
        return last

    def splits(self) -> list[tuple[str, Choice]]:
        """Each with its name."""
        return [(name, self.choice(label, name == self.split, by=name)) for name, label in SPLITS.items()]

    def default(self, asked: QueryDict) -> str:
        return "30d"

    def preset_group_by(self) -> str:
        return "day"

    def _filled(self, asked: QueryDict) -> QueryDict:
        """A custom range begins as the last seven days."""
        filled = asked.copy()
        if filled.get("range") == CUSTOM:
            for name, day in (("start", self.now - 6 * _DAY), ("end", self.now)):
                filled[name] = filled.get(name) or f"{day:%Y-%m-%d}"
        return super()._filled(filled)

    def _clean_custom(self, start: Any, end: Any) -> None:
        days = (end - start).days + 1
        if days < 1:
            self.add_error("start", f"From must not be after To, which is {_shown(end)}: choose an earlier day.")
        elif start > self.now:
            self.add_error("start", f"From lies ahead: choose today, {_shown(self.now)} UTC, or an earlier day.")
        elif days > MOST_DAYS:
            self.add_error("start", f"These are {days} days: choose a later From, for at most {MOST_DAYS} days.")
        else:
            self.chosen = Range(start, end + _DAY, "day")


def _shown(day: datetime) -> str:
    return f"{day:%Y-%m-%d}"
