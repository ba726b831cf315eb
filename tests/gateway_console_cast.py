"""What the tests of the console's pages for the gateway share: providers, forms, and what pages say is wrong."""

import html
import re
from typing import Any

import httpx

from accounts import sealed
from console import gateway_policy_form
from gateway import providers
from gateway.models import Kind, Provider
from gateway.policy import DEFAULT_POLICY, Policy
from gateway.providers import ProviderSettings
from tests.cast import ACTOR
from tests.console_cast import Person

SECRET = "sk-secret-0123456789"
MARKUP = '<img src=x onerror="alert(1)">'


def add(person: Person, name: str = "openai", kind: str = Kind.OPENAI, **changes: Any) -> Provider:
    changes.setdefault("base_url", "https://api.example.com")
    wanted = ProviderSettings(kind=kind, **{"credential": SECRET.encode(), **changes})
    return providers.create_provider(person.tenant.id, name, wanted, ACTOR)


def one(person: Person, name: str = "openai") -> Provider:
    return Provider.objects.get(tenant_id=person.tenant.id, name=name)


def credential(person: Person, name: str = "openai") -> bytes | None:
    return sealed.get(person.tenant.id, providers.secret_name(name))


def errors(page: httpx.Response) -> dict[str, str]:
    """What is said beside each field; what is said above the form, under its empty name."""
    found = re.findall(r'<ul class="errorlist[^>]*?(?: id="id_(\w+)_error")?><li>(.*?)</li>', page.text, re.DOTALL)
    return {field: html.unescape(text) for field, text in found}


def policy_fields(policy: Policy = DEFAULT_POLICY, **changes: Any) -> dict[str, Any]:
    """As a browser sends the form of it."""
    values = {**gateway_policy_form.initial_of(policy), **changes}
    return {
        name: "on" if value is True else value
        for name, value in values.items()
        if value is not None and value is not False
    }
