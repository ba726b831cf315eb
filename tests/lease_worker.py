"""A process whose store asks for one missing entry many times at once: `python -m tests.lease_worker <json>`.

Who gets the lease makes the value and fills the entry, unless the process is told to be slow: then it stops over it.
Prints what came, as JSON, and when, by the system-wide clock.
"""

import asyncio
import json
import sys
import time
from typing import Any

import django

SLEEP_SECONDS = 0.5  # what making the value takes


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(order: dict[str, Any]) -> None:
    from cacheservice.entries.operations import Caller
    from cacheservice.entries.requests import NewEntry
    from cacheservice.entries.store import Hit, Store
    from cacheservice.errors import LeaseLost

    caller = Caller(order["tenant_id"], order["api_key_id"], bytes.fromhex(order["digest"]))
    store = Store(order["dsn"])
    made: list[float] = []
    lost = 0

    async def ask() -> float | None:
        """When the value was there."""
        nonlocal lost
        outcome = await store.get_or_lease(caller, order["key"], seconds=order["lease"], wait=30)
        if isinstance(outcome, Hit):
            return time.monotonic()
        if outcome is None:
            return None
        await asyncio.sleep(SLEEP_SECONDS)
        if order["stops"]:
            say({"holds": True})
            await asyncio.sleep(order["lease"] + 2)  # stopped past its lease, or killed meanwhile
        try:
            await store.put(caller, order["key"], NewEntry(b'"made"', None, 3600, [], None), lease=outcome)
        except LeaseLost:
            lost += 1
        else:
            made.append(time.monotonic())
        return time.monotonic()

    await store.start()
    say({"ready": True})
    await asyncio.to_thread(sys.stdin.readline)
    had = await asyncio.gather(*(ask() for _ in range(order["requests"])))
    await store.close()
    say({"made": made, "had": had, "lost": lost})


if __name__ == "__main__":
    django.setup()
    asyncio.run(main(json.loads(sys.argv[1])))
