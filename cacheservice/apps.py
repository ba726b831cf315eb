from django.apps import AppConfig

from cacheservice import checks


class CacheserviceConfig(AppConfig):
    """The project package: its management commands and the checks of its settings."""

    name = "cacheservice"

    def ready(self) -> None:
        checks.add()
