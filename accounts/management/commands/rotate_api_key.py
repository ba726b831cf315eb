from argparse import ArgumentParser
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import api_key_with_id, operator
from accounts.keys import rotate_api_key


class Command(BaseCommand):
    help = "Give an API key a new secret; the former one works until the overlap ends."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help="the key's id, as list_api_keys shows it")
        parser.add_argument("--overlap-hours", type=int, default=24, help="0 ends the former secret now (default 24)")

    def handle(self, *args: Any, **options: Any) -> None:
        hours = options["overlap_hours"]
        if not 0 <= hours <= 24 * 90:
            raise CommandError(f"--overlap-hours: {hours} is not allowed; give 0 to {24 * 90}.")
        api_key = api_key_with_id(options["id"])
        if api_key.revoked_at is not None:
            raise CommandError(f"id: the key '{options['id']}' is revoked; make a new one with create_api_key.")
        try:
            token = rotate_api_key(api_key, overlap=timedelta(hours=hours), actor=operator())
        except ValueError as error:
            raise CommandError(f"id: {error}.") from None
        self.stdout.write(f"The former secret works for {hours} more hours. The new one, shown only now:\n{token}")
