"""What the usage page is asked: over which time, by which periods, split by what."""

from datetime import timedelta

from django import forms
from django.http import QueryDict

from billing.usage import PERIODS
from billing.usage_requests import Question
from console.ranges import AUTOMATIC, CUSTOM, PRESETS, Choice, RangeForm

SPLITS = {"": "In total", "api_key": "By API key", "tag": "By tag"}
# What is split has a row for each part and period, so less of it is shown at once: periods, and the same in words.
SPLIT_LONGEST = {"hour": (72, "3 days"), "day": (92, "92 days"), "month": (60, "60 months")}


class UsageForm(RangeForm):
    """When it is valid, `question` is what was asked for."""

    presets = ("24h", "7d", "30d", "12m")
    group_by = forms.ChoiceField(
        choices=[(name, name) for name in PERIODS],
        required=False,
        error_messages={"invalid_choice": f"group_by: choose {', '.join(PERIODS)}."},
    )
    by = forms.ChoiceField(
        choices=list(SPLITS.items()),
        required=False,
        error_messages={"invalid_choice": "by: choose api_key or tag, or leave it out."},
    )

    def question(self, *, as_csv: bool = False) -> Question:
        return Question(self.chosen, self.split or None, as_csv)

    @property
    def split(self) -> str:
        """One of SPLITS."""
        return self.data.get("by") or ""

    def default(self, asked: QueryDict) -> str:
        return {"hour": "24h", "month": "12m"}.get(asked.get("group_by", ""), "30d")

    def periods(self) -> list[Choice]:
        """The periods that the range can be shown by."""
        possible = _splittable(self.split) if self.is_custom else _possible(self.name, self.split)
        return [self.choice(name.capitalize(), name == self.chosen.group_by, group_by=name) for name in possible]

    def splits(self) -> list[Choice]:
        choices = []
        for split, label in SPLITS.items():
            changes = {"by": split, "group_by": self.chosen.group_by}
            if not self.is_custom and self.chosen.group_by not in _possible(self.name, split):
                other = self.name if _possible(self.name, split) else "7d"
                changes |= {"range": other, "group_by": ""}
            elif self.is_custom and self.chosen.group_by not in _splittable(split):
                changes["group_by"] = ""
            choices.append(self.choice(label, split == self.split, **changes))
        return choices

    def ranges(self) -> list[Choice]:
        """Those that can be split so; each by its own periods, unless it has the present ones too."""
        choices = []
        for choice, name in zip(super().ranges(), (*self.presets, CUSTOM), strict=True):
            if name == CUSTOM or self.data.get("group_by") in _possible(name, self.split):
                choices.append(choice)
            elif _possible(name, self.split):
                choices.append(self.choice(choice.label, choice.current, range=name, group_by=""))
        return choices

    def preset_group_by(self) -> str | None:
        possible = _possible(self.name, self.split)
        asked = self.cleaned_data["group_by"] or next((name for name in PRESETS[self.name] if name in possible), None)
        if asked in possible:
            return str(asked)
        if possible:
            self.add_error("group_by", f"This range is not shown by {asked} here: choose {' or '.join(possible)}.")
        else:
            self.add_error("by", "Tags are counted by day: choose a range of 7 days or longer.")
        return None

    def custom_group_by(self, length: timedelta) -> str:
        asked = str(self.cleaned_data["group_by"])
        possible = _splittable(self.split)
        if asked and asked not in possible:
            self.add_error("group_by", f"Tags are counted by day: choose {' or '.join(possible)}.")
        return asked or next(
            name for name, longest in AUTOMATIC if name in possible and length <= min(longest, self._most(name))
        )

    def longest(self, group_by: str) -> tuple[int, str]:
        return SPLIT_LONGEST[group_by] if self.split else super().longest(group_by)

    def _most(self, group_by: str) -> timedelta:
        return timedelta.max if group_by == "month" else self.longest(group_by)[0] * timedelta(**{f"{group_by}s": 1})


def _splittable(split: str) -> tuple[str, ...]:
    return tuple(name for name in PERIODS if not (split == "tag" and name == "hour"))


def _possible(preset: str, split: str) -> tuple[str, ...]:
    """By what a preset can be shown."""
    counts = PRESETS[preset]
    return tuple(
        name for name in _splittable(split) if name in counts and (not split or counts[name] <= SPLIT_LONGEST[name][0])
    )
