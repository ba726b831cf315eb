from django.apps import AppConfig
from django.core.checks import Tags, register

from cacheservice.entries import pooler


class EntriesConfig(AppConfig):
    """The cache itself."""

    name = "cacheservice.entries"

    def ready(self) -> None:
        register(pooler.check, Tags.database)
