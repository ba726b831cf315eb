"""The forms of the team's pages."""

from collections.abc import Sequence
from typing import Any

from django import forms

from accounts import policy
from accounts.models import Membership
from accounts.policy import Role


class InviteForm(forms.Form):
    """To an address, as anything that the one who invites may give; owners are made of members."""

    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(label="Role")

    def __init__(self, *args: Any, inviter: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        roles = [role for role in policy.manageable(inviter.role) if role != Role.OWNER]
        self.fields["role"] = _role_field(roles, initial=Role.DEVELOPER)


class RoleForm(forms.Form):
    """What a member shall be from now on."""

    role = forms.ChoiceField(label="Role")

    def __init__(self, *args: Any, acting: Membership, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["role"] = _role_field(policy.manageable(acting.role), initial=self.initial.get("role"))


class ConfirmForm(forms.Form):
    """A text that must be typed exactly: what is done then is hard to take back."""

    confirm = forms.CharField(label="")

    def __init__(self, *args: Any, text: str, consent: str, **kwargs: Any) -> None:
        """`consent`: the label, which tells the text."""
        super().__init__(*args, **kwargs)
        self.text = text
        self.fields["confirm"].label = consent
        self.fields["confirm"].widget.attrs.update({"data-confirm": text, "autocomplete": "off", "spellcheck": "false"})

    def clean_confirm(self) -> str:
        typed: str = self.cleaned_data["confirm"]
        if typed != self.text:
            raise forms.ValidationError(f"This does not match; type {self.text} exactly.")
        return typed


def _role_field(roles: Sequence[Role], initial: str | None) -> forms.ChoiceField:
    return forms.ChoiceField(label="Role", choices=[(role.value, role.label) for role in roles], initial=initial)
