"""What a master key does, wherever it is: the interface that local keys and those in AWS KMS (`kms.py`) share."""

import hashlib
import os
import struct
from typing import NamedTuple, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cacheservice.errors import Unavailable

KEY_BYTES, NONCE_BYTES, FORMAT, SECRET_FORMAT = 32, 12, 1, 2


class CannotUnwrap(Exception):
    """It does not open with any master key at hand: it was changed, is something else's, or its master key is gone."""


class MasterKeyUnavailable(Unavailable):
    """The key service does not answer, or refuses; nothing is lost. The operator's log says which and why."""

    headers = ((b"retry-after", b"5"),)

    def __init__(self) -> None:
        super().__init__(
            "The service that keeps the master key cannot be used just now, and this needs it: try again shortly. "
            "Nothing was changed or charged."
        )


class Use(NamedTuple):
    """What something is wrapped for, in three forms: it opens for nothing else."""

    additional_data: bytes  # to AES-GCM
    context: dict[str, str]  # to a key service, which binds it too and writes it into its audit log: nothing secret
    what: str  # to people

    @classmethod
    def data_key(cls, tenant_id: int, version: int) -> "Use":
        return cls(
            struct.pack(">Bqi", FORMAT, tenant_id, version),
            {"purpose": "data key", "tenant": str(tenant_id), "version": str(version)},
            f"data key {version} of tenant {tenant_id}",
        )

    @classmethod
    def secret(cls, tenant_id: int, name: str) -> "Use":
        return cls(
            struct.pack(">Bq", SECRET_FORMAT, tenant_id) + name.encode(),
            {"purpose": "secret", "tenant": str(tenant_id), "name": name},
            f"secret {name} of tenant {tenant_id}",
        )

    @classmethod
    def of_nobody(cls, purpose: str) -> "Use":
        """Of no tenant's."""
        return cls(purpose.encode(), {"purpose": purpose}, f"the secret for {purpose}")


class MasterKey(Protocol):
    @property
    def id(self) -> str:
        """Names the key without telling it: 16 characters."""

    def encrypt(self, plain: bytes, use: Use) -> bytes:
        """Raises MasterKeyUnavailable."""

    def decrypt(self, wrapped: bytes, use: Use) -> bytes:
        """Raises CannotUnwrap, and MasterKeyUnavailable."""


class LocalKey:
    """32 bytes in this process's memory. Its repr shows the id only."""

    def __init__(self, key: bytes) -> None:
        self.id = key_id(key)
        self._cipher = AESGCM(key)

    def __repr__(self) -> str:
        return f"LocalKey({self.id})"

    def encrypt(self, plain: bytes, use: Use) -> bytes:
        return seal(self._cipher, plain, use)

    def decrypt(self, wrapped: bytes, use: Use) -> bytes:
        return open_sealed(self._cipher, wrapped, use)


def key_id(name: bytes) -> str:
    """A key's id, made of what it is or of what it is called."""
    return hashlib.sha256(b"master key id" + name).hexdigest()[:16]


def seal(cipher: AESGCM, plain: bytes, use: Use) -> bytes:
    """nonce (12 bytes) ‖ AES-256-GCM."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, use.additional_data)


def open_sealed(cipher: AESGCM, sealed: bytes, use: Use) -> bytes:
    """What `seal` sealed for the same use. Raises CannotUnwrap."""
    try:
        return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], use.additional_data)
    except (InvalidTag, ValueError):  # ValueError: it is too short to hold a nonce
        raise CannotUnwrap(f"{use.what} does not open") from None
