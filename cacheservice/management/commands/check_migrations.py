from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from cacheservice.migration_safety import problems


class Command(BaseCommand):
    help = "Say whether the migrations to come can be applied under the running version; an error where they cannot."

    def handle(self, *args: Any, **options: Any) -> None:
        executor = MigrationExecutor(connection)
        to_come = [migration for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]
        for problem in (found := problems(to_come)):
            self.stdout.write(problem)
        if found:
            raise CommandError(
                f"{len(found)} steps are not known to be safe for the running version: read its section of "
                "CHANGELOG.md, and stop the processes before you migrate if it says so."
            )
        self.stdout.write(f"{len(to_come)} migrations to apply; the running version goes on meanwhile.")
