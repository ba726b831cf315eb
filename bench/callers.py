"""A process of many callers that want one key at the same moment: `python -m bench.callers KEY CALLERS SECONDS START`.

`make` takes SECONDS; all begin at START. Prints when it was made here, and when the last of them had the value.
"""

import asyncio
import json
import sys
import time

from cacheservice_client import AsyncCache


async def main(key: str, callers: int, seconds: float, start: float) -> None:
    made_at = []

    async def make() -> dict[str, bool]:
        await asyncio.sleep(seconds)
        made_at.append(time.time())
        return {"made": True}

    async def call() -> float:
        assert await cache.get_or_create(key, make) == {"made": True}
        return time.time()

    async with AsyncCache.from_env() as cache:
        await cache.get("warm")
        await asyncio.sleep(start - time.time())
        had_at = await asyncio.gather(*(call() for _ in range(callers)))
    print(json.dumps({"made_at": made_at, "last_had_at": max(had_at)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])))
