"""What the overview says of a tenant: as the API's reports have it, in six queries whatever there is."""

from typing import NamedTuple

from billing import account, usage
from billing.account import Account
from billing.usage import Counts, Range
from cacheservice.entries import collection
from cacheservice.entries.collection import TopEntry
from console import charts, reports
from console.charts import Chart

TOP = 8  # entries
NEARLY_FULL, FULL = 80, 100  # per cent of the free storage


class Figures(NamedTuple):
    """`range`, `counts` and the charts are of the range; what else there is, is as of now."""

    range: Range
    counts: Counts
    account: Account
    stored: int  # bytes
    hits: Chart
    others: list[Chart]
    top: dict[str, list[TopEntry]]  # by `hits` and `saved_usd`; empty for who may not list entries

    @property
    def requests(self) -> int:
        """Of any kind that is counted, in the range."""
        return sum((self.counts.hits, self.counts.misses, self.counts.writes, self.counts.deletes))

    @property
    def free_percent(self) -> int:
        """How much of the free storage is used; above 100 where more is stored. 0 where there is none."""
        free = self.account.free_storage
        return self.stored * 100 // free if free else 0

    @property
    def level(self) -> str:
        """Of the storage's meter."""
        return "bad" if self.free_percent >= FULL else "warn" if self.free_percent >= NEARLY_FULL else ""

    @property
    def owed(self) -> int:
        """Units that a postpaid tenant has used beyond its balance."""
        return 0 if self.account.prepaid else max(0, -self.account.balance)


def read(tenant_id: int, asked: Range, *, entries: bool) -> Figures:
    report = usage.read(reports.statistics, tenant_id, asked)
    by = ("hits", "saved_usd") if entries else ()
    return Figures(
        asked,
        usage.total(report.rows),
        account.read(reports.rows, tenant_id),
        account.storage_used(reports.rows, tenant_id),
        charts.hits(report.rows, asked.group_by),
        [make(report, asked.group_by) for make in (charts.credits_spent, charts.saved, charts.stored)],
        {figure: collection.top(reports.statistics, tenant_id, figure, TOP) for figure in by},
    )
