from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from cacheservice.entries.rollup import drop_old, rollup


class Command(BaseCommand):
    help = "Fold receipts into usage, as the task does every minute, and drop old ones, as the task does every day."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--seconds", type=float, default=3600.0, help="stop folding after about this long (3600)")

    def handle(self, *args: Any, **options: Any) -> None:
        folded = rollup(seconds=options["seconds"], progress=self._show)
        self.stdout.write(f"{folded} receipts folded.")
        receipts, stats = drop_old()
        self.stdout.write(
            f"{receipts.days} days of receipts, {receipts.receipts} receipts of no day, and the hit counts of {stats} "
            "versions that are gone dropped."
        )

    def _show(self, folded: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{folded} folded", ending="")
