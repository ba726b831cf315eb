"""What is not chat: OpenAI's embeddings, images and transcriptions, and an API of which nobody knows anything."""

import base64
import email
import math
import struct
import zlib
from array import array
from typing import Any

from tests.upstream.directions import Directions, without_directions
from tests.upstream.wire import Answer, BadRequest, Body, Whole, digest, encoded, now, tokens, unique

MOST_INPUTS = 2048
IMAGE_TOKENS = 272  # what OpenAI counts for a small image of low quality
_DIMENSIONS = {"text-embedding-3-large": 3072}


def embeddings(body: Body, directions: Directions) -> Answer:
    inputs = _inputs(body.get("input"))
    dimensions = body.get("dimensions") or _DIMENSIONS.get(body["model"], 1536)
    vectors = [vector(text if isinstance(text, str) else str(text), dimensions) for text in inputs]
    as_base64 = body.get("encoding_format") == "base64"
    told = [base64.b64encode(v.tobytes()).decode() if as_base64 else v.tolist() for v in vectors]
    data = [{"object": "embedding", "index": index, "embedding": value} for index, value in enumerate(told)]
    answer: dict[str, Any] = {"object": "list", "data": data, "model": body["model"]}
    if not directions.no_usage:
        total = sum(tokens(text) if isinstance(text, str) else len(text) for text in inputs)
        answer["usage"] = {"prompt_tokens": total, "total_tokens": total}
    return Whole(encoded(answer))


def _inputs(given: object) -> list[str] | list[list[int]]:
    """A string, several, an array of tokens, several of them."""
    if isinstance(given, str):
        given = [given]
    if isinstance(given, list) and given and all(isinstance(token, int) for token in given):
        given = [given]
    if not isinstance(given, list) or not 0 < len(given) <= MOST_INPUTS or not all(given):
        raise BadRequest("'$.input' is invalid.")
    return given


def vector(text: str, dimensions: int) -> "array[float]":
    """A unit vector of float32 made from the text's SHA-256."""
    wanted = array("b", (digest(text) * (dimensions // 32 + 1))[:dimensions])
    length = math.sqrt(sum(value * value for value in wanted)) or 1.0
    return array("f", (value / length for value in wanted))


def images(body: Body, directions: Directions) -> Answer:
    """An image of 8 × 8 pixels in the prompt's colour. The gpt-image models give data, the others URLs unless told."""
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise BadRequest("Missing required parameter: 'prompt'.")
    is_gpt = body["model"].startswith("gpt-image")
    count = body.get("n") or 1
    if is_gpt or body.get("response_format") == "b64_json":
        image: dict[str, Any] = {"b64_json": base64.b64encode(png(without_directions(prompt))).decode()}
    else:
        image = {"url": f"https://images.example/{unique('img-')}.png", "revised_prompt": prompt}
    answer: dict[str, Any] = {"created": now(), "data": [image] * count}
    if is_gpt and not directions.no_usage:
        read, made = tokens(prompt), IMAGE_TOKENS * count
        details = {"text_tokens": read, "image_tokens": 0}
        answer |= {"size": body.get("size", "1024x1024"), "quality": "low", "output_format": "png"}
        answer["usage"] = {"input_tokens": read, "input_tokens_details": details, "output_tokens": made}
        answer["usage"] |= {"output_tokens_details": {"text_tokens": 0, "image_tokens": made}}
        answer["usage"]["total_tokens"] = read + made
    return Whole(encoded(answer))


def png(text: str, side: int = 8) -> bytes:
    rows = (b"\0" + digest(text)[:3] * side) * side
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    chunks = (
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def echo(body: Body, directions: Directions) -> Answer:
    return Whole(encoded({"id": unique("echo-"), "echo": body}))


def transcription(content_type: str, body: bytes) -> Whole:
    """Of a multipart form: what the file's SHA-256 is, as if somebody had said it."""
    form = email.message_from_bytes(b"Content-Type: " + content_type.encode() + b"\r\n\r\n" + body)
    parts: dict[str, bytes] = {}
    for part in form.walk():
        content = part.get_payload(decode=True)
        if isinstance(content, bytes):
            parts[str(part.get_param("name", header="content-disposition"))] = content
    if "file" not in parts or "model" not in parts:
        raise BadRequest("Missing required parameter: 'file'.")
    text = f"You said {digest(parts['file'].decode('latin-1')).hex()}"
    if parts.get("response_format") == b"text":
        return Whole(f"{text}\n".encode(), 200, "text/plain; charset=utf-8")
    return Whole(encoded({"text": text, "usage": {"type": "duration", "seconds": 3}}))


def models(model: str = "") -> Whole:
    names = [model] if model else ["gpt-4o-mini", "text-embedding-3-small", "gpt-image-1"]
    told = [{"id": name, "object": "model", "created": 1_700_000_000, "owned_by": "system"} for name in names]
    return Whole(encoded(told[0] if model else {"object": "list", "data": told}))
