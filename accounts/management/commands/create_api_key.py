from argparse import ArgumentParser
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts import tokens
from accounts.actors import operator, tenant_named
from accounts.keys import create_api_key
from accounts.models import SCOPES


class Command(BaseCommand):
    help = "Create an API key for a tenant and show it, once."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("--name", default="key", help="what the key is for (default: key)")
        parser.add_argument("--scopes", default=",".join(SCOPES), help=f"comma-separated, of {', '.join(SCOPES)}")
        parser.add_argument(
            "--allow",
            action="append",
            metavar="NETWORK",
            help="a network that the key may be used from, such as 203.0.113.0/24; repeatable (default: everywhere)",
        )
        parser.add_argument("--days", type=int, help="expire after so many days (default: never)")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        try:
            api_key, token = create_api_key(
                tenant,
                name=options["name"][:100],
                scopes=[scope.strip() for scope in options["scopes"].split(",") if scope.strip()],
                actor=operator(),
                expires_at=_expiry(options["days"]),
                allowed_networks=options["allow"],
            )
        except ValueError as error:
            raise CommandError(str(error)) from None
        self.stdout.write(f"API key {tokens.encode_id(api_key.id)} of tenant '{tenant.name}', shown only now:\n{token}")


def _expiry(days: int | None) -> datetime | None:
    if days is None:
        return None
    if not 1 <= days <= 36_500:
        raise CommandError(f"--days: {days} is not allowed; give 1 to 36500, or leave it out for a key without end.")
    return timezone.now() + timedelta(days=days)
