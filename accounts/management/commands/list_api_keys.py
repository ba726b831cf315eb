from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand

from accounts import tokens
from accounts.actors import tenant_named
from accounts.models import APIKey


class Command(BaseCommand):
    help = "List API keys: id, tenant, name, scopes, and when each was created, last used, expires and was revoked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", nargs="?", help="only this tenant's")

    def handle(self, *args: Any, **options: Any) -> None:
        api_keys = APIKey.objects.filter(internal=False).select_related("tenant").order_by("tenant__name", "created_at")
        if options["tenant"]:
            api_keys = api_keys.filter(tenant=tenant_named(options["tenant"]))
        row = "{:<11}  {:<16}  {:<16}  {:<32}  {:<20}  {:<20}  {:<20}  {:<20}".format
        self.stdout.write(row("id", "tenant", "name", "scopes", "created", "last used", "expires", "revoked").rstrip())
        for key in api_keys:
            times = (_shown(time) for time in (key.created_at, key.last_used_at, key.expires_at, key.revoked_at))
            scopes = ",".join(key.scope_names)
            self.stdout.write(row(tokens.encode_id(key.id), key.tenant.name, key.name, scopes, *times).rstrip())


def _shown(time: datetime | None) -> str:
    return "-" if time is None else f"{time:%Y-%m-%dT%H:%M:%SZ}"
