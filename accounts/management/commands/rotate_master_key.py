from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from accounts import keyring
from accounts.actors import operator
from accounts.keys import rewrap_data_keys


class Command(BaseCommand):
    help = (
        "Wrap every data key with a new master key. With a key file, the new key is made and put first in it; with "
        "CACHE_MASTER_KEY, put the new key first in the variable yourself, restart the servers, then run this. "
        "Running servers read the file again when they meet the new key. Values stay as they are."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        if settings.MASTER_KEY_FILE is None:
            count = rewrap_data_keys(operator())
        else:
            with keyring.only_rotation(settings.MASTER_KEY_FILE):
                keyring.prepend_master_key(settings.MASTER_KEY_FILE)
                count = rewrap_data_keys(operator())
        self.stdout.write(
            f"{count} data keys wrapped with master key {keyring.load().current}. Keep the former master keys for as "
            "long as backups from before today may be restored."
        )
