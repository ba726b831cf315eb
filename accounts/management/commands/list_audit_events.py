from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.actors import tenant_named
from accounts.models import AuditEvent


class Command(BaseCommand):
    help = "Show the audit log, newest first."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant", nargs="?", help="only this tenant's")
        parser.add_argument("--limit", type=int, default=50)

    def handle(self, *args: Any, **options: Any) -> None:
        events = AuditEvent.objects.order_by("-at")
        if options["tenant"]:
            events = events.filter(tenant_id=tenant_named(options["tenant"]).id)
        for event in events[: max(0, options["limit"])]:
            self.stdout.write(f"{event}  {event.details or ''}".rstrip())
