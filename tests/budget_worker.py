"""A process whose ledger is asked for many reservations at once: `python -m tests.budget_worker <json>`.

Of those that it gets it settles as many as it is told, and dies without the others where it is told so. Prints how many
it got and how many it was refused, as JSON.
"""

import asyncio
import json
import os
import signal
import sys
from decimal import Decimal
from typing import Any

import django


def say(what: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


async def main(order: dict[str, Any]) -> None:
    from gateway.budgets import Budget
    from gateway.ledger import BudgetExceeded, Call, Event, Ledger
    from gateway.models import CacheStatus, SpendState

    tenant_id, worst = order["tenant_id"], Decimal(order["worst"])
    budgets = [Budget(tenant_id, id, None, "", Decimal(limit)) for id, limit in order["budgets"]]
    call = Call(tenant_id, "openai", "gpt-4o", "", 7, CacheStatus.MISS, "request")
    ledger = Ledger(order["dsn"])
    await ledger.start()
    say({"ready": True})
    await asyncio.to_thread(sys.stdin.readline)
    work = (ledger.reserve(call, budgets, worst) for _ in range(order["requests"]))
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    granted = [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]
    for reservation in granted[: order["settles"]]:
        cost = Decimal(order["cost"])
        at, state = reservation.at, SpendState.SETTLED
        ledger.settle(reservation, Event(tenant_id, reservation.id, at, "openai", "gpt-4o", "", 7,
                                         CacheStatus.MISS, state, 200, "request", cost))  # fmt: skip
    refused = sum(isinstance(outcome, BudgetExceeded) for outcome in outcomes)
    say({"granted": len(granted), "refused": refused})
    if order["dies"]:
        os.kill(os.getpid(), signal.SIGKILL)
    await ledger.close()
    say({"closed": True})


if __name__ == "__main__":
    django.setup()
    asyncio.run(main(json.loads(sys.argv[1])))
