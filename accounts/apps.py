from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Who calls: tenants, API keys, data keys and the audit log."""

    name = "accounts"
