"""The forms of providers: where one is, what it is called with, and deleting it. Its policy has a form of its own.

A credential is typed and never shown: no form has it as its value.
"""

import re
from dataclasses import replace
from typing import Any, Final, NamedTuple

from django import forms
from django.core.exceptions import ValidationError
from django.db.models import TextChoices

from console.api_key_forms import ServiceForm
from gateway.models import Kind, Provider
from gateway.providers import BASE_URLS, CREDENTIAL_HEADERS, LONGEST_NAME, MOST_FALLBACKS, ProviderSettings

DROPPED: Final = "dropped"  # of POST: a credential was typed, but not kept while the member signed in again


class Preset(NamedTuple):
    """What the form to create a provider begins with."""

    label: str
    kind: Kind
    name: str
    base_url: str
    where: str  # help of the base URL
    own_header: bool  # whether its credential may go in another header than the kind's


class Presets(TextChoices):
    OPENAI = "openai", "OpenAI"
    ANTHROPIC = "anthropic", "Anthropic"
    COMPATIBLE = "compatible", "OpenAI-compatible"
    OTHER = "other", "Another JSON API"


PRESETS: Final = {
    Presets.OPENAI: Preset(
        "OpenAI",
        Kind.OPENAI,
        "openai",
        BASE_URLS[Kind.OPENAI],
        "OpenAI's own, unless you reach it by another host.",
        False,
    ),
    Presets.ANTHROPIC: Preset(
        "Anthropic",
        Kind.ANTHROPIC,
        "anthropic",
        BASE_URLS[Kind.ANTHROPIC],
        "Anthropic's own, without /v1, which its SDKs put before their paths.",
        False,
    ),
    Presets.COMPATIBLE: Preset(
        "OpenAI-compatible",
        Kind.OPENAI,
        "",
        "",
        "As its documentation gives it for OpenAI's SDK, such as https://openrouter.ai/api/v1.",
        True,
    ),
    Presets.OTHER: Preset(
        "Another JSON API",
        Kind.OTHER,
        "",
        "",
        "What clients' paths are put behind, such as https://api.cohere.com.",
        True,
    ),
}


class ConnectionForm(ServiceForm):
    """Where a provider is and what it is called with."""

    base_url = forms.CharField(
        label="Base URL",
        widget=forms.URLInput(attrs={"spellcheck": "false", "placeholder": "https://"}),
        error_messages={"required": "Give where the provider's API is, such as https://api.example.com."},
    )
    credential = forms.CharField(
        label="Credential",
        required=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    remove_credential = forms.BooleanField(
        label="Take the credential away", required=False, help_text="Clients then bring their own with each request."
    )
    credential_header = forms.CharField(
        label="Header that takes it",
        required=False,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
    )
    fallbacks = forms.CharField(
        label="Fall back on",
        required=False,
        max_length=(LONGEST_NAME + 2) * MOST_FALLBACKS * 2,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
    )
    dropped = forms.BooleanField(required=False, widget=forms.HiddenInput)

    def __init__(self, *arguments: Any, kind: str, others: list[str], has_credential: bool, **named: Any) -> None:
        """`others`: the names of the other providers of this kind."""
        super().__init__(*arguments, **named)
        self._kind = Kind(kind)
        header = CREDENTIAL_HEADERS[self._kind]
        sent_as = f"{header}, with Bearer before it" if header == "authorization" else header
        self.fields[
            "credential_header"
        ].help_text = f"Empty: {sent_as}. Any other one takes it as it is, such as api-key."
        self.fields["credential"].help_text = (
            "One is set, and never shown. Empty: it stays."
            if has_credential
            else "The API key that the provider gave you. It is kept sealed, and never shown again. Empty: clients "
            "bring their own with each request."
        )
        if not has_credential:
            del self.fields["remove_credential"]
        self.fields["fallbacks"].help_text = (
            f"Tried in this order when it fails, at most {MOST_FALLBACKS}, separated by commas. There is: "
            f"{', '.join(others)}."
            if others
            else "There is no other provider of this kind yet."
        )
        if not others and not self.initial.get("fallbacks"):
            del self.fields["fallbacks"]

    def clean_base_url(self) -> str:
        url: str = self.cleaned_data["base_url"]
        if self._kind == Kind.ANTHROPIC and url.rstrip("/").endswith("/v1"):
            raise ValidationError("Leave out the /v1 at its end: Anthropic's SDKs put it before their paths.")
        return url

    def clean(self) -> dict[str, Any]:
        fields = self.cleaned_data
        if fields.get(DROPPED) and not fields.get("credential"):
            self.add_error("credential", "It was not kept while you signed in again; give it once more.")
        if fields.get("credential") and fields.get("remove_credential"):
            self.add_error("remove_credential", "Give another credential or take it away, not both.")
        return fields

    def refuse(self, error: ValueError) -> None:
        """In the API an empty credential takes it away; here there is a box to tick."""
        super().refuse(ValueError(str(error).replace("or an empty one for none", "or take it away")))

    def settings(self, former: ProviderSettings) -> ProviderSettings:
        """The former ones with what the form says."""
        fields = self.cleaned_data
        credential: bytes | None = fields["credential"].encode() or None
        names = [name for name in re.split(r"[\s,]+", fields.get("fallbacks", "")) if name]
        return replace(
            former,
            base_url=fields["base_url"],
            credential_header=fields.get("credential_header", ""),
            fallbacks=tuple(names),
            credential=b"" if fields.get("remove_credential") else credential,
        )


class CreateForm(ConnectionForm):
    """A new provider, with the default policy."""

    preset = forms.ChoiceField(choices=Presets.choices, widget=forms.HiddenInput)
    name = forms.CharField(
        max_length=LONGEST_NAME,
        widget=forms.TextInput(attrs={"spellcheck": "false", "autocomplete": "off"}),
        error_messages={
            "required": "Give it a name, such as openai.",
            "max_length": "These are %(show_value)d characters; give at most %(limit_value)d.",
        },
        help_text="A part of the URL that your clients call: a to z, 0 to 9 and -. It stays as it is.",
    )

    def __init__(self, *arguments: Any, preset: str, others: list[str], **named: Any) -> None:
        found = PRESETS[Presets(preset)]
        initial = {"preset": preset, "name": found.name, "base_url": found.base_url}
        super().__init__(*arguments, kind=found.kind, others=others, has_credential=False, initial=initial, **named)
        self.fields["base_url"].help_text = found.where
        if not found.own_header:
            del self.fields["credential_header"]

    def new_settings(self) -> ProviderSettings:
        wanted = self.settings(ProviderSettings(kind=self._kind))
        return replace(wanted, credential=wanted.credential or b"")


class DeleteForm(ServiceForm):
    """The name of the provider, typed."""

    name = forms.CharField(strip=False, widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}))

    def __init__(self, *arguments: Any, provider: Provider, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._name = provider.name
        self.fields["name"].label = f"Type the provider's name, {provider.name}, to confirm"
        self.fields["name"].widget.attrs["data-confirm"] = provider.name

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self._name:
            raise ValidationError("This is not the provider's name; type it as it stands above.")
        return name


def preset_of(text: str | None) -> str:
    """One of `Presets`; the first for what is none."""
    return text if text in Presets.values else Presets.OPENAI


def initial_of(provider: Provider) -> dict[str, Any]:
    """What the form shows of a provider: without its credential."""
    return {
        "base_url": provider.base_url,
        "credential_header": provider.credential_header,
        "fallbacks": ", ".join(provider.fallbacks),
    }
