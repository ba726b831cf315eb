"""What a value on the command line, in a file or on stdin is stored as."""

import mimetypes

from cacheservice_client.cli import exits, jsontext
from cacheservice_client.values import BYTES, JSON, Encoded, dumps


def encoded(content: bytes, content_type: str | None, file_name: str | None = None) -> Encoded:
    """JSON byte for byte when it is JSON, other text as a JSON string, other bytes as they are.

    A content type decides: JSON must then be JSON, and all else is stored as it is. Raises Failure.
    """
    if content_type is not None and not is_json(content_type):
        return Encoded(content, content_type)
    try:
        text = content.decode()
        jsontext.check(text)
        return Encoded(content, None)
    except UnicodeDecodeError:
        if content_type is not None:
            raise exits.Failure("the value is not JSON: it is not UTF-8") from None
        return Encoded(content, guessed_type(file_name))
    except ValueError as error:
        if content_type is not None:
            raise exits.Failure(f"the value is not JSON: {error}") from None
        return Encoded(dumps(text).encode(), None)


def guessed_type(file_name: str | None) -> str:
    kind, encoding = mimetypes.guess_type(file_name or "")
    return kind if kind and not encoding and not is_json(kind) else BYTES


def is_json(content_type: str) -> bool:
    return content_type.partition(";")[0].strip().lower() == JSON
