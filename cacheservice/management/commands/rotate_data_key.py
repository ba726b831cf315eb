from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.actors import operator, tenant_named
from accounts.keys import rotate_data_key
from cacheservice.entries.reseal import reseal


class Command(BaseCommand):
    help = "Give a tenant a new data key and re-seal its entries with it; they stay readable throughout."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        version = rotate_data_key(tenant, operator())
        count = reseal(tenant)
        self.stdout.write(f"Tenant '{tenant.name}' has data key {version}; {count} entries re-sealed with it.")
