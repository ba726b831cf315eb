from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from cacheservice.entries.purge import purge


class Command(BaseCommand):
    help = "Remove expired entries, as the task does every minute."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=3600.0, help="stop after about this long (default 3600)")

    def handle(self, *args: Any, **options: Any) -> None:
        removed = purge(seconds=options["seconds"], progress=self._show)
        self.stdout.write(f"{removed} expired entries removed.")

    def _show(self, removed: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{removed} removed", ending="")
