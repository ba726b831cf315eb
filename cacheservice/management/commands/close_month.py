from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import tenant_named
from billing import months
from cacheservice.month_close import close_months


class Command(BaseCommand):
    help = "Issue the invoices of the months that are over, as the task does every hour."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "month", nargs="?", help="no later months than this one, YYYY-MM (default: all that are over)"
        )
        parser.add_argument("--tenant", help="only this tenant's")
        parser.add_argument("--seconds", type=float, default=36000.0, help="stop after about this long (36000)")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"]) if options["tenant"] else None
        try:
            month = months.parse(options["month"]) if options["month"] else None
            issued = close_months(month, tenant_id=tenant.id if tenant else None, seconds=options["seconds"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        except ExceptionGroup as errors:
            reasons = "; ".join(str(error) for error in errors.exceptions[:5])
            raise CommandError(f"{errors.message}: {reasons}") from errors
        self.stdout.write(f"{issued} invoices issued.")
