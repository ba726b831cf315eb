"""What people ask for on the pages of entries. The rules are the API's: `cacheservice.entries.requests`."""

from dataclasses import dataclass
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django.http import QueryDict

from cacheservice.entries import requests
from cacheservice.entries.collection import Selection
from cacheservice.entries.requests import MAX_TAG_BYTES, MAX_TAGS, MAX_TTL_SECONDS, Condition
from cacheservice.errors import InvalidRequest

ORDERS = {
    "key": "Key",
    "newest": "Newest first",
    "expiry": "Next to expire first",
    "size": "Largest first",
    "hits": "Most hits first",
}
UNITS = {60: "minutes", 3600: "hours", 86_400: "days"}


@dataclass(frozen=True)
class Search:
    """Which entries a list is of, from the page's URL."""

    selection: Selection
    order: str
    cursor: str | None

    @classmethod
    def parse(cls, query: QueryDict) -> "Search":
        """Raises InvalidRequest for a prefix or a tag that no entry can have."""
        order = query.get("sort", "key")
        return cls(selection(query), order if order in ORDERS else "key", query.get("cursor"))


def selection(fields: QueryDict) -> Selection:
    """From `prefix` and any number of `tag`, empty ones left out. Raises InvalidRequest."""
    return Selection.parse({"prefix": [fields.get("prefix", "")], "tag": list(filter(None, fields.getlist("tag")))})


class VersionForm(forms.Form):
    """Which version of an entry is meant: the one that the page showed, not what may have replaced it."""

    etag = forms.CharField(required=False)

    def clean_etag(self) -> Condition:
        try:
            return requests.parse_conditions(self.cleaned_data["etag"] or "*", None)
        except InvalidRequest:
            raise ValidationError("Reload the entry's page.") from None


class ChangeForm(VersionForm):
    """A change of an entry that stays."""

    about: ClassVar[str]  # the field beside which a refusal stands
    done: ClassVar[str]

    def change(self) -> dict[str, Any]:
        """For `store.patch`: the TTL in seconds, or the tags."""
        raise NotImplementedError

    def logged(self) -> dict[str, Any]:
        """For the audit log: what is changed."""
        return {name: value for name, value in self.change().items() if value is not None}


class TagsForm(ChangeForm):
    """Other tags."""

    about, done = "tags", "The tags are changed."
    tags = forms.CharField(
        required=False,
        strip=False,
        widget=forms.Textarea(attrs={"rows": 4, "spellcheck": "false"}),
        help_text=f"One a line: at most {MAX_TAGS}, each of at most {MAX_TAG_BYTES} bytes.",
    )

    def clean_tags(self) -> list[str]:
        lines = self.cleaned_data["tags"].replace("\r\n", "\n").split("\n")
        try:
            return requests.check_tags(list(filter(None, lines)))
        except InvalidRequest as error:
            raise ValidationError(error.message) from None

    def change(self) -> dict[str, Any]:
        return {"ttl": None, "tags": self.cleaned_data["tags"]}


class TTLForm(ChangeForm):
    """A new TTL."""

    about, done = "amount", "The TTL is changed: it counts from now."
    amount = forms.IntegerField(
        label="Expire in",
        min_value=1,
        error_messages=dict.fromkeys(("required", "invalid", "min_value"), "Give a whole number from 1 on."),
    )
    unit = forms.TypedChoiceField(choices=list(UNITS.items()), coerce=int, initial=3600)

    def clean(self) -> dict[str, Any]:
        if self._seconds() > MAX_TTL_SECONDS:
            self.add_error("amount", f"An entry lives at most {MAX_TTL_SECONDS // 86_400} days; give less.")
        return self.cleaned_data

    def change(self) -> dict[str, Any]:
        return {"ttl": self._seconds(), "tags": None}

    def _seconds(self) -> int:
        seconds: int = self.cleaned_data.get("amount", 0) * self.cleaned_data.get("unit", 0)
        return seconds


class PurgeForm(forms.Form):
    """To be typed before many entries are deleted: what they are selected by."""

    confirmation = forms.CharField(
        strip=False, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"})
    )

    def __init__(self, *arguments: Any, selection: Selection, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.phrase = selection.prefix or ", ".join(selection.tags)
        field = self.fields["confirmation"]
        field.label = f"Type “{self.phrase}” to confirm"
        field.widget.attrs["data-confirm"] = self.phrase

    def clean_confirmation(self) -> str:
        typed: str = self.cleaned_data["confirmation"]
        if typed != self.phrase:
            raise ValidationError("This is not what the entries are selected by; type it exactly as it stands there.")
        return typed
