from argparse import ArgumentParser
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from accounts import keyring, kms
from accounts.actors import operator
from accounts.keys import rewrap_data_keys


class Command(BaseCommand):
    help = (
        "Wrap every data key with a new master key. With a key file, the new key is put first in it; with "
        "CACHE_MASTER_KEY, put the new key first in the variable yourself, restart the servers, then run this. "
        "Running servers read the file again when they meet the new key. Values stay as they are."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        where = parser.add_mutually_exclusive_group()
        where.add_argument("--kms", metavar="ARN", help="the key in AWS KMS that shall wrap from now on: docs/kms.md")
        where.add_argument("--local", action="store_true", help="a fresh local key, though the newest is in AWS KMS")
        where.add_argument(
            "--rewrap",
            action="store_true",
            help="no new key: the newest wraps and seals whatever a former one still holds",
        )

    def handle(self, *args: Any, kms: str | None, local: bool, rewrap: bool, **options: Any) -> None:
        path = settings.MASTER_KEY_FILE
        if path is None and (kms or local):
            raise CommandError("the master keys are in CACHE_MASTER_KEY: put the new one first there yourself")
        try:
            with nullcontext() if path is None else keyring.only_rotation(path):
                if path is not None and not rewrap:
                    _prepend(path, kms, local)
                count = rewrap_data_keys(operator())
        except keyring.MasterKeyUnavailable as error:
            raise CommandError(f"{error.message} What was wrapped so far stays so: run this again.") from None
        self.stdout.write(
            f"{count} data keys and secrets wrapped with master key {keyring.load().current}. Keep the former master "
            "keys for as long as backups from before today may be restored."
        )


def _prepend(path: Path, arn: str | None, local: bool) -> None:
    """Raises CommandError, and MasterKeyUnavailable for a key in AWS KMS that does not work: then nothing is put there.
    Once that is the newest, it is not put there again, so that an interrupted run can be repeated."""
    former = keyring.load()
    if arn is None:
        if not local and not former.newest_is_local:
            raise CommandError(
                "the newest master key is in AWS KMS, which can rotate it by itself: name another one with --kms ARN, "
                "or go back to a local one with --local"
            )
        _put_first(path)
        return
    line = kms.PREFIX + arn
    try:
        fresh = keyring.MasterKeys(line, "--kms")
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    if fresh.current == former.current:
        return
    try:
        fresh.open(fresh.seal("it works", "trial"), "trial")
    except keyring.CannotUnwrap as error:
        raise CommandError(f"--kms: the key does not open what it sealed: {error}") from None
    _put_first(path, line)


def _put_first(path: Path, line: str | None = None) -> None:
    """Raises CommandError where the file cannot be replaced, as in containers, whose secrets are mounted."""
    try:
        keyring.prepend_master_key(path, line)
    except OSError as error:
        raise CommandError(
            f"{path} cannot be replaced: {error.strerror}. Put the new line first where the file comes from, recreate "
            "the processes, then run this with --rewrap: docs/runbooks/rotate-master-key.md"
        ) from None
