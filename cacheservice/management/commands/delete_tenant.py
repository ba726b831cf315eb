from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import operator, tenant_named
from cacheservice.tenant_deletion import delete_tenant


class Command(BaseCommand):
    help = "Delete a tenant's entries and destroy its data keys, for ever; what it used and owes stays."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("--confirm", required=True, metavar="NAME", help="the tenant's name once more")

    def handle(self, *args: Any, tenant: str, confirm: str, **options: Any) -> None:
        found = tenant_named(tenant)
        if confirm != found.name:
            raise CommandError(f"--confirm: it is not '{found.name}'; nothing was deleted.")
        delete_tenant(found, operator())
        self.stdout.write(f"Tenant '{found.name}': entries deleted, API keys revoked, data keys destroyed.")
