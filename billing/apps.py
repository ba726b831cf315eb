from django.apps import AppConfig


class BillingConfig(AppConfig):
    """What tenants used and owe."""

    name = "billing"
