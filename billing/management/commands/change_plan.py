from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import operator, tenant_named
from billing.tenants import change_plan


class Command(BaseCommand):
    help = "Put a tenant on another plan, from now on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("plan", help="such as free, pro, self-hosted")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        try:
            change_plan(tenant, options["plan"], operator())
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Tenant '{tenant.name}' has the plan {options['plan']} now.")
