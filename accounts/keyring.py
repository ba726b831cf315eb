"""Master keys, and the data keys and other secrets that they wrap.

A master key is a line: 32 random bytes in base 64, or `aws-kms:` and the ARN of a key in AWS KMS (`kms.py`). The first
line wraps, every line unwraps, so that keys wrapped before a rotation stay readable. They come from `CACHE_MASTER_KEY`
or from the file that `CACHE_MASTER_KEY_FILE` names. The database holds only wrapped data keys, and other secrets of
tenants likewise; by a local key:

    nonce (12 bytes) ‖ AES-256-GCM(master key, data key, additional data = 1 ‖ tenant ‖ version)
    nonce (12 bytes) ‖ AES-256-GCM(master key, secret, additional data = 2 ‖ tenant ‖ name)

Other short secrets that must be had in clear again, such as those of second factors, are sealed with a master key
directly; their additional data is what they are for.
"""

import asyncio
import base64
import fcntl
import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from accounts import kms
from accounts.wrapping import KEY_BYTES, CannotUnwrap, LocalKey, MasterKey, MasterKeyUnavailable, Use

__all__ = ["CannotUnwrap", "MasterKeyUnavailable"]

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

# Apart from asyncio's own threads, which seal large values: a key service that hangs must not hold those up.
_threads = ThreadPoolExecutor(kms.CONNECTIONS, thread_name_prefix="master keys")


class WrappedKey(NamedTuple):
    wrapped: bytes
    master_key_id: str


class MasterKeys:
    """The master keys by id, newest first. Its repr shows no key. What wraps and seals raises MasterKeyUnavailable
    where the newest key is in a key service, and what unwraps and opens where the one that is needed is: then they may
    take seconds, and an event loop calls them by `in_thread`."""

    def __init__(self, text: str, source: str) -> None:
        """Raises ImproperlyConfigured, naming the source. Calls no key service."""
        self._keys = {key.id: key for key in _parse(text, source)}
        self.current = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"MasterKeys({', '.join(map(repr, self._keys.values()))})"

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    @property
    def failed(self) -> bool:
        """Whether a key service did not do what this process asked of it last."""
        return any(isinstance(key, kms.KMSKey) and key.failed for key in self._keys.values())

    @property
    def newest_is_local(self) -> bool:
        return isinstance(self._keys[self.current], LocalKey)

    def wrap(self, data_key: bytes, tenant_id: int, version: int) -> WrappedKey:
        """Seal a data key with the newest master key."""
        return self._seal(data_key, Use.data_key(tenant_id, version))

    def unwrap(self, key: WrappedKey, tenant_id: int, version: int) -> bytes:
        """Raises CannotUnwrap when the master key is not at hand or the wrapped key is not this tenant's version."""
        return self._open(key, Use.data_key(tenant_id, version))

    def seal_secret(self, secret: bytes, tenant_id: int, name: str) -> WrappedKey:
        """Seal a secret of a tenant with the newest master key, so that it opens as this tenant's and by this name."""
        return self._seal(secret, Use.secret(tenant_id, name))

    def open_secret(self, key: WrappedKey, tenant_id: int, name: str) -> bytes:
        """Raises CannotUnwrap when the master key is not at hand or it is another secret."""
        return self._open(key, Use.secret(tenant_id, name))

    def _seal(self, plain: bytes, use: Use) -> WrappedKey:
        return WrappedKey(self._keys[self.current].encrypt(plain, use), self.current)

    def _open(self, key: WrappedKey, use: Use) -> bytes:
        if key.master_key_id not in self._keys:
            raise CannotUnwrap(f"master key {key.master_key_id} is not among the configured ones")
        return self._keys[key.master_key_id].decrypt(key.wrapped, use)

    def seal(self, secret: str, purpose: str) -> str:
        """A short secret of nobody's tenant, as text."""
        key = self._seal(secret.encode(), Use.of_nobody(purpose))
        return f"{key.master_key_id}.{base64.b64encode(key.wrapped).decode()}"

    def open(self, sealed: str, purpose: str) -> str:
        """What `seal` sealed for the same purpose. Raises CannotUnwrap."""
        key_id, _, text = sealed.partition(".")
        try:
            wrapped = base64.b64decode(text, validate=True)
        except ValueError:
            wrapped = b""
        return self._open(WrappedKey(wrapped, key_id), Use.of_nobody(purpose)).decode()

    def is_current(self, sealed: str) -> bool:
        """Whether the newest master key sealed it."""
        return sealed.startswith(f"{self.current}.")


async def in_thread(work: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
    """Work that may call a key service, without holding the event loop up. At most a few at once; the others wait."""
    return await asyncio.wrap_future(_threads.submit(work, *args, **kwargs))


def load() -> MasterKeys:
    """The configured master keys, read afresh. Raises ImproperlyConfigured, naming the source, when unusable."""
    path: Path | None = settings.MASTER_KEY_FILE
    if path is None:
        return MasterKeys(settings.MASTER_KEY, "CACHE_MASTER_KEY")
    try:
        return MasterKeys(path.read_text(), str(path))
    except OSError as error:
        raise ImproperlyConfigured(f"cannot read the master key file {path}: {error.strerror}") from error


def new_master_key_line() -> str:
    """A fresh master key as a line of the file."""
    return base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()


def new_data_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


@contextmanager
def only_rotation(path: Path) -> Iterator[None]:
    """Waits for another rotation of this file to end: two at once would each drop the other's new key."""
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        yield
    finally:
        os.close(directory)


def prepend_master_key(path: Path, line: str | None = None) -> None:
    """Put a master key (a fresh local one, if none is given) before the others in the file, in one atomic step that
    keeps its mode and owner."""
    status = path.stat()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{line or new_master_key_line()}\n{path.read_text()}")
            os.fchmod(file.fileno(), status.st_mode & 0o777)
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _parse(text: str, source: str) -> list[MasterKey]:
    keys: list[MasterKey] = []
    for number, line in enumerate(text.split(), start=1):
        try:
            keys.append(_key(line))
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"{source}: key {number}: {error}") from None
    if not keys:
        raise ImproperlyConfigured(f"{source} is empty: put a key there, made with 'openssl rand -base64 32'")
    return keys


def _key(line: str) -> MasterKey:
    """Raises ImproperlyConfigured, without the line."""
    if line.startswith(kms.PREFIX):
        return kms.key(line.removeprefix(kms.PREFIX), settings.KMS_ENDPOINT)
    try:
        key = base64.b64decode(line, validate=True)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise ImproperlyConfigured(f"it must be {KEY_BYTES} bytes in base 64, or {kms.PREFIX} and a key's ARN")
    if len(set(key)) < 8:  # 32 random bytes have 8 or fewer distinct values once in 10^40
        raise ImproperlyConfigured("it is not random; make one with 'openssl rand -base64 32'")
    return LocalKey(key)
