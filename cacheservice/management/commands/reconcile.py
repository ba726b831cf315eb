from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts import tokens
from accounts.actors import tenant_named
from accounts.models import Tenant
from billing.reconciliation import Difference
from cacheservice.entries.reconciliation import reconcile


class Command(BaseCommand):
    help = "Prove that balances, storage meters, rollups and entries add up; ends with an error where they do not."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", nargs="?", help="only this tenant's")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"]) if options["tenant"] else None
        checked, differences = reconcile(tenant.id if tenant else None)
        if differences:
            self._show(differences)
            tenants = len({found.tenant_id for found in differences})
            raise CommandError(f"{len(differences)} differences, in {tenants} of {checked.tenants} tenants.")
        self.stdout.write(
            f"{checked.tenants} tenants, {checked.accounts} accounts and {checked.api_keys} API keys checked: "
            "everything adds up."
        )

    def _show(self, differences: list[Difference]) -> None:
        names = dict(Tenant.objects.values_list("id", "name"))
        row = "{:<16}  {:<11}  {:<32}  {:>24}  {:>24}".format
        self.stdout.write(row("tenant", "API key", "what", "expected", "actual"))
        for tenant_id, api_key_id, what, expected, actual in differences:
            api_key = "-" if api_key_id is None else tokens.encode_id(api_key_id)
            self.stdout.write(row(names.get(tenant_id, tenant_id), api_key, what, f"{expected:f}", f"{actual:f}"))
