from django.apps import AppConfig


class CacheserviceConfig(AppConfig):
    """The project package: its management commands."""

    name = "cacheservice"
