"""Describe pictures, the same picture once, whatever its file is called and whichever machine it is on.

CACHE_URL=… CACHE_API_KEY=… VISION_URL=… python describe_pictures.py a.png copy-of-a.png b.png
"""

import os
import sys
from pathlib import Path

import httpx2

from cacheservice_client import Cache, content_key

MODEL = "vision-1"

cache = Cache.from_env(on_error="miss")


# The key is of the picture's bytes, not of its name; another model has other descriptions.
@cache.memoize(key=content_key, version=MODEL, ttl=30 * 86_400, tags=["descriptions"], cost="0.04")
def describe(picture: Path) -> str:
    answer = httpx2.post(
        os.environ["VISION_URL"], params={"model": MODEL}, content=picture.read_bytes(), timeout=60
    ).raise_for_status()
    return str(answer.json()["description"])


def main() -> None:
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}: {describe(Path(name))}\n")


if __name__ == "__main__":
    main()
