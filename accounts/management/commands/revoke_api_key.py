from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from accounts.actors import api_key_with_id, operator
from accounts.keys import revoke_api_key


class Command(BaseCommand):
    help = "Revoke an API key: every server process refuses it from now on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("id", help="the key's id, as list_api_keys shows it")

    def handle(self, *args: Any, **options: Any) -> None:
        revoked = revoke_api_key(api_key_with_id(options["id"]), operator())
        self.stdout.write("Revoked." if revoked else "It was revoked before; nothing changed.")
