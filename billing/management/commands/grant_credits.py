from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import operator, tenant_named
from billing.credits import OWN_KINDS, grant
from billing.management.arguments import units
from billing.models import Account, LedgerEntry
from billing.units import credits

KINDS = [kind.value for kind in LedgerEntry.Kind if kind not in OWN_KINDS]


class Command(BaseCommand):
    help = "Book credits to a tenant; once for each idempotency key, however often it is run."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("credits", type=units, help="how many, with up to two places; a correction may be below 0")
        parser.add_argument("--kind", required=True, choices=KINDS)
        parser.add_argument("--idempotency-key", required=True, help="names this booking, such as the payment's id")
        parser.add_argument("--note", default="", help="why, for the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        amount, kind, key = options["credits"], options["kind"], options["idempotency_key"].strip()
        if amount == 0 or (amount < 0 and kind != LedgerEntry.Kind.CORRECTION):
            raise CommandError(
                f"credits: {credits(amount)} is not allowed; only a correction may be below 0, none is 0."
            )
        if not 1 <= len(key) <= 100:
            raise CommandError(f"--idempotency-key: it has {len(key)} characters; 1 to 100 are allowed.")
        if len(options["note"]) > 200:
            raise CommandError(f"--note: it has {len(options['note'])} characters; up to 200 are allowed.")
        try:
            new = grant(tenant.id, kind, amount, idempotency_key=key, actor=operator(), note=options["note"])
        except ValueError as error:
            raise CommandError(str(error)) from None
        balance = credits(Account.objects.get(tenant=tenant).balance)
        done = f"Booked {credits(amount)} credits" if new else "It was booked before; nothing changed"
        self.stdout.write(f"{done}. The balance of '{tenant.name}' is {balance} credits.")
