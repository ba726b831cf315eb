from typing import Any

import psycopg
from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from cacheservice.database_copy import CannotCopy, copy_embedded
from cacheservice.embedded import EmbeddedError
from cacheservice.supervisor import Failed


class Command(BaseCommand):
    help = "Copy the embedded database under CACHE_VAR_DIR into the empty one that DATABASE_URL names."

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.LOCAL:
            raise CommandError("DATABASE_URL is not set: it names the database to copy into.")
        try:
            count = copy_embedded(settings.VAR_DIR, settings.DATABASE_DSN, self._show)
        except (CannotCopy, EmbeddedError, Failed) as error:
            raise CommandError(f"{error}; nothing was copied.") from None
        except psycopg.Error as error:
            problem = str(error).strip().partition("\n")[0]
            raise CommandError(f"the database refused: {problem}; nothing was copied.") from None
        self.stdout.write(f"{count} rows copied.")

    def _show(self, table: str, count: int) -> None:
        if count:
            self.stdout.write(f"{table}: {count}")
