"""Budgets over processes: exactly as many calls pass as have room, and a killed process's calls stay counted."""

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from gateway import retention
from gateway.ledger import new_id
from gateway.models import SpendState
from tests.ledger_cast import events, spent, used
from tests.processes import Worker
from tests.store_cast import database_dsn, scaled

PROCESSES = 4
AT_ONCE = scaled(50, 200)  # reservations of each process
ROUNDS = scaled(2, 40)
KILLS = scaled(2, 40)


class BudgetWorker(Worker):
    """A process that reserves: see budget_worker.py."""

    def __init__(self, tenant_id: int, budgets: list[tuple[int, str]], **order: Any) -> None:
        order = {
            "dsn": database_dsn(),
            "tenant_id": tenant_id,
            "budgets": budgets,
            "requests": AT_ONCE,
            "worst": "1",
            "cost": "1",
            "settles": 0,
            "dies": False,
        } | order
        super().__init__("tests.budget_worker", order)


def run_workers(tenant_ids: list[int], budgets: list[tuple[int, str]], **order: Any) -> list[dict[str, Any]]:
    """What each said it got; the tenants' workers run at once."""
    with ExitStack() as stack:
        workers = [stack.enter_context(BudgetWorker(tenant_id, budgets, **order)) for tenant_id in tenant_ids]
        assert all(worker.says() == {"ready": True} for worker in workers)
        for worker in workers:
            worker.go()
        said = [worker.says() for worker in workers]
        for worker in workers:
            if not order.get("dies"):
                assert worker.says() == {"closed": True}
            worker.process.wait()
    return said


def test_budget_for_ten_calls_lets_ten_of_several_processes_pass() -> None:
    for _ in range(ROUNDS):
        tenant_id = new_id()
        wide, narrow = new_id(), new_id()
        said = run_workers([tenant_id] * PROCESSES, [(wide, "1000000"), (narrow, "10")])
        assert sum(each["granted"] for each in said) == 10
        assert sum(each["refused"] for each in said) == PROCESSES * AT_ONCE - 10
        assert used(tenant_id) == {wide: 10, narrow: 10}
        assert events(tenant_id) == [(SpendState.RESERVED, Decimal(1))] * 10


def test_killed_processes_leave_their_calls_counted() -> None:
    """What died with its calls counts at the worst; what was settled and written, at its cost."""
    for _ in range(KILLS):
        tenant_id, one = new_id(), new_id()
        budgets = [(one, "1000000")]
        run_workers([tenant_id], budgets, requests=20, settles=20, cost="0.25")
        run_workers([tenant_id] * 2, budgets, requests=20, settles=10, cost="0.25", dies=True)
        assert sum(cost or 0 for _, cost in events(tenant_id)) == used(tenant_id)[one]
        settled = [cost or 0 for state, cost in events(tenant_id) if state is SpendState.SETTLED]
        assert used(tenant_id)[one] >= sum(settled)
        assert len(events(tenant_id)) == 60
        before, (requests, cost) = used(tenant_id)[one], spent(tenant_id)
        assert (requests, cost) == (len(settled), sum(settled))
        retention.abandon(datetime.now(UTC) + timedelta(hours=2))
        assert retention.abandon(datetime.now(UTC) + timedelta(hours=2)) == 0
        assert {state for state, _ in events(tenant_id)} == {SpendState.SETTLED, SpendState.UNKNOWN}
        assert used(tenant_id)[one] == before
        assert spent(tenant_id) == (60, before)
