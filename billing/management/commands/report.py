from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import tenant_named
from billing import csvs, months, reports
from billing.invoice_sql import NOW
from billing.models import Account
from billing.reports import Report
from billing.rows import django_rows
from cacheservice.entries.replica import command_rows


class Command(BaseCommand):
    help = "Show what tenants used in a month and what it comes to: one tenant's API keys, or all tenants."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--tenant", help="this one's API keys (default: a line for each tenant)")
        parser.add_argument("--month", help="YYYY-MM (default: the running month, so far)")
        parser.add_argument("--csv", action="store_true", help="as CSV")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"]) if options["tenant"] else None
        try:
            [(now,)] = django_rows(NOW, {})
            running = months.of(now)
            month = months.parse(options["month"]) if options["month"] else running
            if month > running:
                raise ValueError(f"month: {months.wire(month)} has not begun; give {months.wire(running)} or earlier.")
            if tenant is None:
                ids = list(Account.objects.order_by("tenant_id").values_list("tenant_id", flat=True))
                with command_rows() as rows:
                    self._show(reports.of_all(rows, ids, month), options["csv"])
                return
            with command_rows() as rows:
                draft, report, invoice = reports.of_tenant(rows, tenant.id, month)
        except ValueError as error:
            raise CommandError(str(error)) from None
        self._show(report, options["csv"])
        if not options["csv"]:
            self.stdout.write(f"\nPlan {draft.plan}. {invoice}")

    def _show(self, report: Report, as_csv: bool) -> None:
        if as_csv:
            rows = [(*map(csvs.plain, row[: report.names]), *row[report.names :]) for row in report.rows]
            self.stdout.write(csvs.answer("report.csv", report.columns, rows).body.decode(), ending="")
            return
        table = [report.columns, *report.rows]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        for row in table:
            cells = [
                cell.ljust(width) if n < report.names else cell.rjust(width)
                for n, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            self.stdout.write("  ".join(cells).rstrip())
