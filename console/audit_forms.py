"""The filter of the audit log."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms

from accounts import audit_log

LABELS = {
    "": "Everything",
    "sign_ins": "Signing in",
    "team": "Team",
    "api_keys": "API keys",
    "entries": "Entries",
    "billing": "Billing",
    "settings": "Settings",
}


class FilterForm(forms.Form):
    """Days are UTC, and the last one is part of what is shown."""

    actor = forms.CharField(label="Who", max_length=200, required=False)
    group = forms.ChoiceField(label="About", choices=list(LABELS.items()), required=False)
    start = forms.DateField(label="From", required=False, widget=forms.DateInput({"type": "date"}))
    end = forms.DateField(label="To", required=False, widget=forms.DateInput({"type": "date"}))

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        start, end = cleaned.get("start"), cleaned.get("end")
        if start and end and start > end:
            self.add_error("end", f"This day is before the first one; choose {start} or later.")
        return cleaned

    def filter(self) -> audit_log.Filter:
        """What is asked for; of a form that is wrong, the fields that are right."""
        found = getattr(self, "cleaned_data", {})
        start, end = found.get("start"), found.get("end")
        return audit_log.Filter(
            found.get("actor", "").strip(),
            found.get("group", ""),
            _midnight(start) if start else None,
            _midnight(end + timedelta(days=1)) if end and end < date.max else None,
        )


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
