"""The secrets of users' second factors, at rest: sealed with a master key, as `allauth.mfa` gives them."""

from typing import Any

from allauth.mfa.models import Authenticator
from django.db import transaction

from accounts import keyring
from accounts.keyring import MasterKeys

PURPOSE = "second factor"


def seal(secret: str) -> str:
    """Raises keyring.MasterKeyUnavailable."""
    return keyring.load().seal(secret, PURPOSE)


def unseal(sealed: str) -> str:
    """Raises keyring.CannotUnwrap, and keyring.MasterKeyUnavailable."""
    return keyring.load().open(sealed, PURPOSE)


def reseal(master_keys: MasterKeys) -> int:
    """Seal them all with the newest master key; returns how many rows it was new to. Safe to stop and repeat."""
    with_secrets = (Authenticator.Type.TOTP, Authenticator.Type.RECOVERY_CODES)
    ids = list(Authenticator.objects.filter(type__in=with_secrets).values_list("pk", flat=True))
    return sum(_reseal(pk, master_keys) for pk in ids)


@transaction.atomic
def _reseal(pk: int, master_keys: MasterKeys) -> bool:
    """Under the row's lock, for a recovery code that is used up is noted in the row too. A key service may hold it for
    seconds: only this user's second factors wait."""
    factor = Authenticator.objects.select_for_update().filter(pk=pk).first()
    data = {} if factor is None else {name: _fresh(value, master_keys) for name, value in factor.data.items()}
    if factor is None or data == factor.data:
        return False
    factor.data = data
    factor.save(update_fields=["data"])
    return True


def _fresh(value: Any, master_keys: MasterKeys) -> Any:
    """The secrets are the only texts in an authenticator's data."""
    if not isinstance(value, str) or master_keys.is_current(value):
        return value
    return master_keys.seal(master_keys.open(value, PURPOSE), PURPOSE)
