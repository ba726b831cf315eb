"""Master keys in AWS KMS, which never leave it: `docs/kms.md`.

Each thing wrapped costs one call: KMS makes a key for it (GenerateDataKey), which seals it here, and of which only
KMS's own ciphertext is kept; opening it asks KMS to open that ciphertext (Decrypt). The encryption context, which KMS
demands again at opening and writes into its audit log, says what it is for.

    length of the blob (2 bytes) ‖ KMS's blob ‖ nonce ‖ AES-256-GCM(key in the blob, what is wrapped, additional data)
"""

import importlib.util
import logging
import re
import struct
import time
from functools import cache
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import structlog
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from django.core.exceptions import ImproperlyConfigured

from accounts.wrapping import CannotUnwrap, MasterKeyUnavailable, Use, key_id, open_sealed, seal
from cacheservice import metrics

log = structlog.get_logger(__name__)

PREFIX = "aws-kms:"
# Two attempts, so within about seven seconds a call has its answer or has failed. KMS answers in milliseconds.
CONNECT_SECONDS, READ_SECONDS, ATTEMPTS = 1, 2, 2
PAUSE_SECONDS = 5.0  # after a call that failed for want of an answer, others fail at once for so long
CONNECTIONS = 8  # calls at once of a process

# KMS answered, and would answer the same again until an operator changes something.
_REFUSALS = frozenset(
    {
        "AccessDeniedException",
        "DisabledException",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidKeyUsageException",
        "InvalidSignatureException",
        "KMSInvalidStateException",
        "MissingAuthenticationTokenException",
        "NotFoundException",
        "OptInRequired",
        "UnrecognizedClientException",
        "ValidationException",
    }
)
# What was to be opened is not what it was, or not of this key, or not for this use.
_DOES_NOT_OPEN = frozenset({"IncorrectKeyException", "InvalidCiphertextException", "ValidationException"})

# An alias is refused: once it points to another key, nothing that is wrapped would open by it.
_arn = re.compile(r"arn:aws[a-z-]*:kms:([a-z0-9-]+):\d{12}:key/[A-Za-z0-9-]+")


class KMSKey:
    """A key in AWS KMS. Its repr shows its ARN, which is no secret."""

    def __init__(self, arn: str, endpoint: str) -> None:
        """Raises ImproperlyConfigured, and does not call KMS."""
        match = _arn.fullmatch(arn)
        if match is None:
            raise ImproperlyConfigured(
                f"{PREFIX} takes a key's ARN, such as arn:aws:kms:eu-central-1:123456789012:key/…; an alias will not do"
            )
        if importlib.util.find_spec("boto3") is None:
            raise ImproperlyConfigured("AWS KMS needs the package boto3: install requirements-extras.lock")
        self.id = key_id(arn.encode())
        self.failed = False  # the last call
        self._arn, self._region, self._endpoint = arn, match[1], _checked(endpoint)
        self._client: Any = None
        self._making = Lock()
        self._paused_until = self._quiet_until = 0.0

    def __repr__(self) -> str:
        return f"KMSKey({self._arn})"

    def encrypt(self, plain: bytes, use: Use) -> bytes:
        answer = self._call("generate_data_key", use, KeySpec="AES_256")
        blob: bytes = answer["CiphertextBlob"]
        return struct.pack(">H", len(blob)) + blob + seal(AESGCM(answer["Plaintext"]), plain, use)

    def decrypt(self, wrapped: bytes, use: Use) -> bytes:
        end = 2 + int.from_bytes(wrapped[:2], "big")
        if not 2 < end < len(wrapped):
            raise CannotUnwrap(f"{use.what} does not open")
        answer = self._call("decrypt", use, CiphertextBlob=wrapped[2:end])
        return open_sealed(AESGCM(answer["Plaintext"]), wrapped[end:], use)

    def _call(self, operation: str, use: Use, **arguments: Any) -> Any:
        """Raises CannotUnwrap, and MasterKeyUnavailable. Of an error only its code is told: a message may quote what
        was sent."""
        from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

        if time.monotonic() < self._paused_until:
            raise MasterKeyUnavailable
        try:
            call = getattr(self._connected(), operation)
            answer = call(KeyId=self._arn, EncryptionContext=use.context, **arguments)
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code"))
            if operation == "decrypt" and code in _DOES_NOT_OPEN:
                raise CannotUnwrap(f"{use.what} does not open: {code}") from None
            self._failed(operation, code, refused=code in _REFUSALS)
        except BotoCoreError as error:  # no answer, or no credentials to ask with
            self._failed(operation, type(error).__name__, refused=False)
        else:
            self._note(failed=False)
            return answer
        raise MasterKeyUnavailable

    def _failed(self, operation: str, reason: str, *, refused: bool) -> None:
        """A line in the log, every few seconds at most, and a pause unless KMS said no."""
        self._note(failed=True)
        now = time.monotonic()
        if not refused:
            self._paused_until = now + PAUSE_SECONDS
        if now >= self._quiet_until:
            self._quiet_until = now + PAUSE_SECONDS
            tell, event = (log.critical, "master_key_refused") if refused else (log.error, "master_key_unavailable")
            tell(event, key=self._arn, operation=operation, reason=reason)

    def _note(self, *, failed: bool) -> None:
        self.failed = failed
        metrics.KEY_SERVICE_FAILING.set(failed)

    def _connected(self) -> Any:
        """The client, made at the first call: that takes a moment, and processes may fork before."""
        with self._making:
            if self._client is None:
                import boto3  # type: ignore[import-untyped]
                from botocore.config import Config  # type: ignore[import-untyped]

                for name in ("boto3", "botocore", "urllib3"):  # which log requests and answers at DEBUG, keys and all
                    logging.getLogger(name).setLevel(logging.INFO)
                self._client = boto3.session.Session().client(
                    "kms",
                    region_name=self._region,
                    endpoint_url=self._endpoint or None,
                    config=Config(
                        connect_timeout=CONNECT_SECONDS,
                        read_timeout=READ_SECONDS,
                        retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
                        max_pool_connections=CONNECTIONS,
                    ),
                )
            return self._client


@cache
def key(arn: str, endpoint: str) -> KMSKey:
    """The one of this process, which keeps its connections. Raises ImproperlyConfigured."""
    return KMSKey(arn, endpoint)


def _checked(endpoint: str) -> str:
    """Raises ImproperlyConfigured for one that would carry keys in clear over a network."""
    parts = urlsplit(endpoint)
    own = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if endpoint and not (parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and own))):
        raise ImproperlyConfigured("CACHE_KMS_ENDPOINT must be an https:// URL (http:// for this machine's own only)")
    return endpoint
