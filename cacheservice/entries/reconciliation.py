"""The whole reconciliation: billing's numbers (`billing/reconciliation.py`), and their storage against the entries."""

from typing import Final, NamedTuple

import structlog

from billing import reconciliation
from billing.reconciliation import Checked, Difference
from cacheservice import metrics_tasks

log = structlog.get_logger(__name__)

# The bytes of an API key's storage meter = Σ sizes of its entries, expired ones that are not booked yet included.
STORED: Final = """
select tenant_id, api_key_id, 'stored bytes', sum(expected), sum(actual)
from (
  select tenant_id, api_key_id, sum(size) as expected, 0 as actual from entry group by tenant_id, api_key_id
  union all
  select tenant_id, api_key_id, 0, bytes from storage_meter where api_key_id <> 0
) as x
where %(tenant_id)s::bigint is null or tenant_id = %(tenant_id)s
group by tenant_id, api_key_id having sum(expected) <> sum(actual)
order by tenant_id, api_key_id
"""


class Reconciled(NamedTuple):
    """What was looked at, and what does not add up."""

    checked: Checked
    differences: list[Difference]


def reconcile(tenant_id: int | None = None) -> Reconciled:
    """Check one tenant, or all, at one instant. Each difference is an alert in the log."""
    with reconciliation.snapshot():
        differences = [
            *reconciliation.differences(tenant_id),
            *reconciliation.differences_by(STORED, tenant_id),
        ]
        checked = reconciliation.counts(tenant_id)
    for found in differences:
        numbers = {"expected": f"{found.expected:f}", "actual": f"{found.actual:f}"}
        log.critical("reconciliation_difference", **{**found._asdict(), **numbers})
    if tenant_id is None:
        metrics_tasks.note_found(metrics_tasks.RECONCILIATION, len(differences))
    return Reconciled(checked, differences)
