from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import IntegrityError

from accounts.actors import operator
from billing.tenants import DEFAULT_PLAN, create_tenant


class Command(BaseCommand):
    help = "Create a tenant with its first data key and its account."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("name", help="a name of up to 100 characters that no other tenant has")
        parser.add_argument("--plan", default=DEFAULT_PLAN, help="such as free, pro, self-hosted (default %(default)s)")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["name"].strip()
        if not 1 <= len(name) <= 100:
            raise CommandError(f"name: it has {len(name)} characters; 1 to 100 are allowed.")
        try:
            tenant = create_tenant(name, operator(), options["plan"])
        except IntegrityError:
            raise CommandError(f"name: a tenant '{name}' exists already; choose another name.") from None
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"Tenant '{tenant.name}' created. Now make a key: manage.py create_api_key '{tenant.name}'")
