from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, register
from django.core.exceptions import ImproperlyConfigured

from accounts import keyring


class AccountsConfig(AppConfig):
    """Who calls: tenants, API keys, data keys and the audit log."""

    name = "accounts"

    def ready(self) -> None:
        register(check_master_keys)


def check_master_keys(**_: Any) -> list[Error]:
    """accounts.E001: the master keys are missing or unusable. In local mode `manage.py up` makes them."""
    if settings.LOCAL and not settings.LOCAL_MASTER_KEY_FILE.exists():
        return []
    try:
        keyring.load()
    except ImproperlyConfigured as error:
        return [Error(str(error), hint="docs/settings.md", id="accounts.E001")]
    return []
