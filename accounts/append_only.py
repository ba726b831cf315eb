"""Rows that are written once: the audit log, the credit ledger, invoices."""

from typing import Any, NoReturn

from django.db import models


class AppendOnlyQuerySet(models.QuerySet[Any]):
    """Refuses what would rewrite history."""

    def update(self, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self.model._meta.db_table} is append-only")

    def delete(self) -> NoReturn:
        raise TypeError(f"{self.model._meta.db_table} is append-only")


class AppendOnlyModel(models.Model):
    """A row that is never changed and never deleted. Its migration revokes the service's own right to; a superuser, as
    in the local mode, is above privileges."""

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        if not self._state.adding:
            raise TypeError(f"{self._meta.db_table} is append-only")
        super().save(*args, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(f"{self._meta.db_table} is append-only")
