from typing import Any

from django.core.management.base import BaseCommand

from cacheservice import tenant_deletion


class Command(BaseCommand):
    help = "Delete the tenants whose owner asked for it and whose day has come, as the worker does every ten minutes."

    def handle(self, *args: Any, **options: Any) -> None:
        self.stdout.write(f"{tenant_deletion.delete_due()} tenants deleted.")
