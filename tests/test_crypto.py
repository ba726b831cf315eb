"""Sealing: what was sealed opens exactly, under its own identity only; anything else does not open at all."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st

from cacheservice.entries import crypto
from cacheservice.entries.crypto import (
    COMPRESS_FROM_BYTES,
    COMPRESSED,
    FORMAT,
    NONCE_BYTES,
    OVERHEAD_BYTES,
    CannotOpen,
    Identity,
    open_sealed,
    seal,
)
from tests.processes import ROOT
from tests.store_cast import FULL, scaled

KEY = AESGCM(bytes(range(32)))
IDENTITY = Identity(7, 0, "a key", 3, -42, "image/png")
SEALINGS, PROCESSES = scaled(60_000, 10_000_000), 4
VECTORS = json.loads((Path(__file__).parent / "data" / "wycheproof_aes_256_gcm.json").read_text())["tests"]

identities = st.builds(
    Identity,
    tenant_id=st.integers(-(1 << 63), (1 << 63) - 1),
    space=st.integers(0, 1),
    key=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128),
    data_key_version=st.integers(1, (1 << 31) - 1),
    version=st.integers(-(1 << 63), (1 << 63) - 1),
    content_type=st.none() | st.text(st.characters(max_codepoint=255), min_size=1, max_size=255),
)
AROUND_THE_THRESHOLD = (COMPRESS_FROM_BYTES - 1, COMPRESS_FROM_BYTES, COMPRESS_FROM_BYTES + 1)
sizes = st.sampled_from((0, 1, 15, 16, 17, *AROUND_THE_THRESHOLD, 4 * COMPRESS_FROM_BYTES, 300_000))


def compressible(size: int) -> bytes:
    return (b'{"answer": "yes"}, ' * (size // 19 + 1))[:size]


def incompressible(size: int) -> bytes:
    return random.Random(size).randbytes(size)


@effort(max_examples=scaled(100, 5000), deadline=None)
@given(identity=identities, size=sizes, kind=st.sampled_from((compressible, incompressible)))
def test_what_was_sealed_opens(identity: Identity, size: int, kind: Callable[[int], bytes]) -> None:
    value = kind(size)
    sealed = seal(KEY, identity, value)
    assert len(sealed) <= size + OVERHEAD_BYTES
    assert open_sealed(KEY, identity, sealed, size) == value


@effort(max_examples=scaled(100, 5000), deadline=None)
@given(value=st.binary(max_size=4 * COMPRESS_FROM_BYTES))
def test_any_bytes_come_back(value: bytes) -> None:
    assert open_sealed(KEY, IDENTITY, seal(KEY, IDENTITY, value), len(value)) == value


@pytest.mark.parametrize(
    ("value", "form"),
    (
        (compressible(COMPRESS_FROM_BYTES - 1), FORMAT),
        (compressible(COMPRESS_FROM_BYTES), FORMAT | COMPRESSED),
        (incompressible(COMPRESS_FROM_BYTES), FORMAT),
        (incompressible(300_000), FORMAT),
        (compressible(300_000), FORMAT | COMPRESSED),
    ),
)
def test_values_are_compressed_where_that_pays(value: bytes, form: int) -> None:
    sealed = seal(KEY, IDENTITY, value)
    assert sealed[0] == form
    assert (len(sealed) < len(value)) == (form != FORMAT)


@pytest.mark.parametrize("value", (b'{"a": 1}', compressible(COMPRESS_FROM_BYTES)), ids=("plain", "compressed"))
def test_no_changed_byte_opens(value: bytes) -> None:
    """Every position; every other value of the byte at some of them."""
    sealed = seal(KEY, IDENTITY, value)
    thorough = {0, 1, NONCE_BYTES, NONCE_BYTES + 1, len(sealed) // 2, len(sealed) - 1}
    for position in range(len(sealed)):
        changes = range(1, 256) if FULL or position in thorough else (0x01, 0x80, 0xFF)
        for change in changes:
            changed = bytearray(sealed)
            changed[position] ^= change
            with pytest.raises(CannotOpen):
                open_sealed(KEY, IDENTITY, bytes(changed), len(value))


@pytest.mark.parametrize("value", (b'{"a": 1}', compressible(COMPRESS_FROM_BYTES)), ids=("plain", "compressed"))
def test_nothing_cut_or_longer_opens(value: bytes) -> None:
    sealed = seal(KEY, IDENTITY, value)
    for length in range(len(sealed)):
        with pytest.raises(CannotOpen):
            open_sealed(KEY, IDENTITY, sealed[:length], len(value))
        with pytest.raises(CannotOpen):
            open_sealed(KEY, IDENTITY, sealed[length + 1 :], len(value))
    for more in (b"\x00", sealed):
        with pytest.raises(CannotOpen):
            open_sealed(KEY, IDENTITY, sealed + more, len(value))


OTHERS = {
    "tenant_id": (8, -7, 7 << 32, 0),
    "space": (1,),
    "key": ("a kez", "a key ", "", "A key", "image/pnga key"),
    "data_key_version": (2, 4),
    "version": (42, -41, 0),
    "content_type": ("image/pn", "image/pnga", "image/png ", "", None),
}


@pytest.mark.parametrize(("field", "other"), [(field, other) for field, others in OTHERS.items() for other in others])
def test_sealed_value_opens_under_no_other_identity(field: str, other: Any) -> None:
    sealed = seal(KEY, IDENTITY, b"1")
    assert open_sealed(KEY, IDENTITY, sealed, 1) == b"1"
    with pytest.raises(CannotOpen):
        open_sealed(KEY, IDENTITY._replace(**{field: other}), sealed, 1)


@pytest.mark.parametrize("moved", range(1, 9))
def test_border_of_content_type_and_key_does_not_move(moved: int) -> None:
    """Both are texts of any length, and the same bytes one after the other."""
    text = "image/png"
    identity = IDENTITY._replace(content_type=text, key="key")
    sealed = seal(KEY, identity, b"1")
    with pytest.raises(CannotOpen):
        open_sealed(KEY, identity._replace(content_type=text[:-moved], key=text[-moved:] + "key"), sealed, 1)


@effort(max_examples=scaled(200, 10_000), deadline=None)
@given(one=identities, other=identities)
def test_identities_do_not_collide(one: Identity, other: Identity) -> None:
    same = crypto._additional_data(FORMAT, one) == crypto._additional_data(FORMAT, other)
    assert same == (one == other)
    assert crypto._additional_data(FORMAT, one) != crypto._additional_data(FORMAT | COMPRESSED, one)


def test_other_data_key_does_not_open() -> None:
    with pytest.raises(CannotOpen):
        open_sealed(AESGCM(bytes(32)), IDENTITY, seal(KEY, IDENTITY, b"1"), 1)


@pytest.mark.parametrize("value", (b"12345", compressible(COMPRESS_FROM_BYTES), incompressible(COMPRESS_FROM_BYTES)))
@pytest.mark.parametrize("lie", (-2, -1, 1, 1000, 1 << 30))
def test_size_that_lies_does_not_open(value: bytes, lie: int) -> None:
    with pytest.raises(CannotOpen):
        open_sealed(KEY, IDENTITY, seal(KEY, IDENTITY, value), len(value) + lie)


@pytest.mark.parametrize("form", [form for form in range(256) if form not in (FORMAT, FORMAT | COMPRESSED)])
def test_unknown_formats_do_not_open(form: int) -> None:
    """Even when they are sealed rightly: no later format is taken for one of these."""
    with pytest.raises(CannotOpen):
        open_sealed(KEY, IDENTITY, sealed_as(form, b"1"), 1)


def sealed_as(form: int, plain: bytes) -> bytes:
    """As `seal` would, for a holder of the key who means harm, or a defect."""
    nonce = os.urandom(NONCE_BYTES)
    return bytes((form,)) + nonce + KEY.encrypt(nonce, plain, crypto._additional_data(form, IDENTITY))


@pytest.mark.parametrize("with_size", (True, False))
def test_decompression_is_bounded_by_the_size(with_size: bool) -> None:
    """A frame of 32 KiB that holds a gibibyte: refused before that is allocated."""
    bomb = zstandard.ZstdCompressor(level=3, write_content_size=with_size)
    writer = bomb.compressobj(size=1 << 30) if with_size else bomb.compressobj()
    packed = b"".join(writer.compress(bytes(1 << 20)) for _ in range(1 << 10)) + writer.flush()
    assert len(packed) < 60_000  # it fits a command line
    command = [sys.executable, "-c", OPEN_MEASURED, sealed_as(FORMAT | COMPRESSED, packed).hex()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    outcome, megabytes = done.stdout.split()
    assert outcome == "CannotOpen"
    assert int(megabytes) < 64


# Opens what it is given, of 1000 bytes by its size; says what came and by how many MB the process grew for it.
OPEN_MEASURED = """
import resource, sys
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cacheservice.entries.crypto import CannotOpen, Identity, open_sealed
sealed = bytes.fromhex(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    open_sealed(AESGCM(bytes(range(32))), Identity(7, 0, "a key", 3, -42, "image/png"), sealed, 1000)
    outcome = "opened"
except CannotOpen:
    outcome = "CannotOpen"
print(outcome, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10)
"""


def test_compressed_value_that_is_no_zstd_does_not_open() -> None:
    for plain in (b"", b"not zstd", zstandard.compress(b"12345")[:-1]):
        with pytest.raises(CannotOpen):
            open_sealed(KEY, IDENTITY, sealed_as(FORMAT | COMPRESSED, plain), 5)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: str(vector["tcId"]))
def test_wycheproof_vector(vector: dict[str, Any]) -> None:
    """The primitive as it is used here: 256-bit keys, 96-bit nonces, the tag behind the ciphertext."""
    key, nonce, message, additional = (bytes.fromhex(vector[name]) for name in ("key", "iv", "msg", "aad"))
    sealed = bytes.fromhex(vector["ct"] + vector["tag"])
    cipher = AESGCM(key)
    if vector["result"] == "valid":
        assert cipher.encrypt(nonce, message, additional) == sealed
        assert cipher.decrypt(nonce, sealed, additional) == message
    else:
        with pytest.raises(InvalidTag):
            cipher.decrypt(nonce, sealed, additional)


def test_no_nonce_repeats_over_forked_processes() -> None:
    """Sealing in the parent first, so that the children inherit whatever state there is."""
    seal(KEY, IDENTITY, b"")
    readers = [_fork_sealer(SEALINGS // PROCESSES) for _ in range(PROCESSES)]
    nonces: set[bytes] = set()
    count = 0
    for pid, reader in readers:
        with os.fdopen(reader, "rb") as pipe:
            while nonce := pipe.read(NONCE_BYTES):
                nonces.add(nonce)
                count += 1
        assert os.waitpid(pid, 0)[1] == 0
    assert count == SEALINGS // PROCESSES * PROCESSES
    assert len(nonces) == count


def _fork_sealer(count: int) -> tuple[int, int]:
    """A forked process's pid, and the pipe that its nonces come through."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    status = 1
    try:
        with os.fdopen(writer, "wb") as pipe:
            for _ in range(count):
                pipe.write(seal(KEY, IDENTITY, b"")[1 : 1 + NONCE_BYTES])
        status = 0
    finally:
        os._exit(status)
