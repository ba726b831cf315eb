"""Master keys, and the data keys and other secrets that they wrap.

A master key is 32 random bytes in base 64, one to a line: the first line wraps, every line unwraps, so that keys
wrapped before a rotation stay readable. They come from `CACHE_MASTER_KEY` or from the file that
`CACHE_MASTER_KEY_FILE` names. The database holds only wrapped data keys, and other secrets of tenants likewise:

    nonce (12 bytes) ‖ AES-256-GCM(master key, data key, additional data = 1 ‖ tenant ‖ version)
    nonce (12 bytes) ‖ AES-256-GCM(master key, secret, additional data = 2 ‖ tenant ‖ name)

Other short secrets that must be had in clear again, such as those of second factors, are sealed with a master key
directly; their additional data is what they are for.
"""

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

KEY_BYTES, NONCE_BYTES, FORMAT, SECRET_FORMAT = 32, 12, 1, 2


class WrappedKey(NamedTuple):
    wrapped: bytes
    master_key_id: str


class CannotUnwrap(Exception):
    """A data key does not open with any master key at hand."""


class MasterKeys:
    """The master keys by id, newest first. Its repr shows ids only."""

    def __init__(self, text: str, source: str) -> None:
        self._keys = {master_key_id(key): AESGCM(key) for key in _parse(text, source)}
        self.current = next(iter(self._keys))

    def __repr__(self) -> str:
        return f"MasterKeys({', '.join(self._keys)})"

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def wrap(self, data_key: bytes, tenant_id: int, version: int) -> WrappedKey:
        """Seal a data key with the newest master key."""
        return self._seal(data_key, _additional_data(tenant_id, version))

    def unwrap(self, key: WrappedKey, tenant_id: int, version: int) -> bytes:
        """Raises CannotUnwrap when the master key is not at hand or the wrapped key is not this tenant's version."""
        return self._open(key, _additional_data(tenant_id, version), f"data key {version} of tenant {tenant_id}")

    def seal_secret(self, secret: bytes, tenant_id: int, name: str) -> WrappedKey:
        """Seal a secret of a tenant with the newest master key, so that it opens as this tenant's and by this name."""
        return self._seal(secret, _secret_data(tenant_id, name))

    def open_secret(self, key: WrappedKey, tenant_id: int, name: str) -> bytes:
        """Raises CannotUnwrap when the master key is not at hand or it is another secret."""
        return self._open(key, _secret_data(tenant_id, name), f"secret {name} of tenant {tenant_id}")

    def _seal(self, plain: bytes, additional_data: bytes) -> WrappedKey:
        nonce = os.urandom(NONCE_BYTES)
        return WrappedKey(nonce + self._keys[self.current].encrypt(nonce, plain, additional_data), self.current)

    def _open(self, key: WrappedKey, additional_data: bytes, what: str) -> bytes:
        if key.master_key_id not in self._keys:
            raise CannotUnwrap(f"master key {key.master_key_id} is not among the configured ones")
        nonce, sealed = key.wrapped[:NONCE_BYTES], key.wrapped[NONCE_BYTES:]
        try:
            return self._keys[key.master_key_id].decrypt(nonce, sealed, additional_data)
        except (InvalidTag, ValueError):  # ValueError: it is too short to hold a nonce
            raise CannotUnwrap(f"{what} does not open") from None

    def seal(self, secret: str, purpose: str) -> str:
        """A short secret of nobody's tenant, as text."""
        key = self._seal(secret.encode(), purpose.encode())
        return f"{key.master_key_id}.{base64.b64encode(key.wrapped).decode()}"

    def open(self, sealed: str, purpose: str) -> str:
        """What `seal` sealed for the same purpose. Raises CannotUnwrap."""
        key_id, _, text = sealed.partition(".")
        try:
            wrapped = base64.b64decode(text, validate=True)
        except binascii.Error:
            wrapped = b""
        return self._open(WrappedKey(wrapped, key_id), purpose.encode(), f"the secret for {purpose}").decode()

    def is_current(self, sealed: str) -> bool:
        """Whether the newest master key sealed it."""
        return sealed.startswith(f"{self.current}.")


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


def prepend_master_key(path: Path) -> None:
    """Put a fresh master key before the others in the file, in one atomic step that keeps its mode and owner."""
    status = path.stat()
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{new_master_key_line()}\n{path.read_text()}")
            os.fchmod(file.fileno(), status.st_mode & 0o777)
            os.fchown(file.fileno(), status.st_uid, status.st_gid)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def master_key_id(key: bytes) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(b"master key id" + key).hexdigest()[:16]


def _parse(text: str, source: str) -> list[bytes]:
    keys = []
    for number, line in enumerate(text.split(), start=1):
        try:
            key = base64.b64decode(line, validate=True)
        except binascii.Error:
            key = b""
        if len(key) != KEY_BYTES:
            raise ImproperlyConfigured(f"{source}: key {number} must be {KEY_BYTES} bytes in base 64")
        if len(set(key)) < 8:  # 32 random bytes have 8 or fewer distinct values once in 10^40
            raise ImproperlyConfigured(f"{source}: key {number} is not random; make one with 'openssl rand -base64 32'")
        keys.append(key)
    if not keys:
        raise ImproperlyConfigured(f"{source} is empty: put a key there, made with 'openssl rand -base64 32'")
    return keys


def _additional_data(tenant_id: int, version: int) -> bytes:
    return struct.pack(">Bqi", FORMAT, tenant_id, version)


def _secret_data(tenant_id: int, name: str) -> bytes:
    return struct.pack(">Bq", SECRET_FORMAT, tenant_id) + name.encode()
