from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import operator, tenant_named
from cacheservice.tenant_export import export_tenant


class Command(BaseCommand):
    help = "Write everything that the service has of a tenant into a new directory, as JSON Lines, without secrets."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("--output", required=True, metavar="DIRECTORY", help="a new or an empty one")
        parser.add_argument("--values", action="store_true", help="the entries' values too, as 'cachectl import' takes")

    def handle(self, *args: Any, tenant: str, output: str, values: bool, **options: Any) -> None:
        directory = Path(output)
        try:
            written, unopenable = export_tenant(
                tenant_named(tenant), directory, operator(), values=values, progress=self._show
            )
        except OSError as error:
            raise CommandError(f"--output: cannot write to {error.filename or directory}: {error.strerror}") from None
        if unopenable:
            raise CommandError(f"{unopenable} entries do not open and are left out; the log names them.")
        self.stdout.write(f"{written} entries, and all else that there is of '{tenant}', in {directory}.")

    def _show(self, name: str, count: int) -> None:
        if self.stderr.isatty():
            self.stderr.write(f"\r{name}: {count}", ending="")
