from django.apps import AppConfig


class EntriesConfig(AppConfig):
    """The cache itself."""

    name = "cacheservice.entries"
