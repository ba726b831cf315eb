"""Sealing and opening of values: AES-256-GCM, compressed first where that pays.

A sealed value is

    format (1 byte: FORMAT, or FORMAT | COMPRESSED) ‖ nonce (12 random bytes) ‖ ciphertext ‖ tag (16 bytes)

and opens only with the same format byte, tenant, space, key, data-key version, entry version and content type, all of
which the tag covers: bytes that were changed, or moved to another row, tenant or version, do not open.
96-bit random nonces are safe for 2^32 uses of a key (NIST SP 800-38D, 8.3); a data key is replaced after 2^30.
"""

import os
import struct
import threading
from typing import NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FORMAT, COMPRESSED = 0x02, 0x01
NONCE_BYTES, TAG_BYTES = 12, 16
OVERHEAD_BYTES = 1 + NONCE_BYTES + TAG_BYTES
MAX_USES = 1 << 30
# Below this a row fits its page either way, and the time costs more than the bytes (docs/decisions/004).
COMPRESS_FROM_BYTES = 2048
COMPRESS_LEVEL = 3

_IDENTITY = struct.Struct(">BqhiqH")
_zstd = threading.local()  # zstd's contexts are costly to make and must not be shared between threads


class Identity(NamedTuple):
    """What a sealed value is bound to."""

    tenant_id: int
    space: int
    key: str
    data_key_version: int
    version: int
    content_type: str | None


class CannotOpen(Exception):
    """The sealed value is not what was sealed under this identity."""


def seal(data_key: AESGCM, identity: Identity, value: bytes) -> bytes:
    """The sealed form of `value`, at most OVERHEAD_BYTES longer than it."""
    form, plain = FORMAT, value
    if len(value) >= COMPRESS_FROM_BYTES:
        packed = _compressor().compress(value)
        if len(packed) <= len(value) * 7 // 8:
            form, plain = FORMAT | COMPRESSED, packed
    nonce = os.urandom(NONCE_BYTES)
    return bytes((form,)) + nonce + data_key.encrypt(nonce, plain, _additional_data(form, identity))


def open_sealed(data_key: AESGCM, identity: Identity, sealed: bytes, size: int) -> bytes:
    """The value of `size` bytes that `seal` was given. Raises CannotOpen."""
    form = sealed[0] if sealed else 0
    if form not in (FORMAT, FORMAT | COMPRESSED) or len(sealed) < OVERHEAD_BYTES:
        raise CannotOpen("unknown format")
    nonce = sealed[1 : 1 + NONCE_BYTES]
    try:
        value = data_key.decrypt(nonce, sealed[1 + NONCE_BYTES :], _additional_data(form, identity))
        if form & COMPRESSED:
            if zstandard.frame_content_size(value) != size:  # else it would be given all the memory that it asks for
                raise CannotOpen("the compressed value's length is not its size")
            value = _decompressor().decompress(value, max_output_size=size)
    except InvalidTag:
        raise CannotOpen("the authentication tag does not match") from None
    except zstandard.ZstdError as error:
        raise CannotOpen("the compressed value is damaged") from error
    if len(value) != size:
        raise CannotOpen("the value's length is not its size")
    return value


def _additional_data(form: int, identity: Identity) -> bytes:
    tenant_id, space, key, data_key_version, version, content_type = identity
    media = content_type.encode() if content_type else b""
    return _IDENTITY.pack(form, tenant_id, space, data_key_version, version, len(media)) + media + key.encode()


def _compressor() -> zstandard.ZstdCompressor:
    if not hasattr(_zstd, "compressor"):
        _zstd.compressor = zstandard.ZstdCompressor(level=COMPRESS_LEVEL)
    compressor: zstandard.ZstdCompressor = _zstd.compressor
    return compressor


def _decompressor() -> zstandard.ZstdDecompressor:
    if not hasattr(_zstd, "decompressor"):
        _zstd.decompressor = zstandard.ZstdDecompressor()
    decompressor: zstandard.ZstdDecompressor = _zstd.decompressor
    return decompressor
