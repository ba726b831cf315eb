from argparse import ArgumentParser
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from accounts.actors import operator, tenant_named
from billing.documents import reference
from billing.invoices import issue_credit_note


class Command(BaseCommand):
    help = "Take back some of an invoice, or all of it, by a credit note."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("tenant")
        parser.add_argument("number", type=int, help="the invoice's number, such as 7")
        parser.add_argument("amount_usd", help="US dollars, such as 12.50; no more than the invoice has left")
        parser.add_argument("reason", help="stands on the credit note, for the customer")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant = tenant_named(options["tenant"])
        amount = _dollars(options["amount_usd"])
        try:
            note = issue_credit_note(tenant, options["number"], amount, options["reason"], operator())
        except ValueError as error:
            raise CommandError(str(error)) from None
        name = reference(note.kind, note.number)
        self.stdout.write(f"Credit note {name} of {note.total} USD for tenant '{tenant.name}' issued.")


def _dollars(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("nan")
    if not amount.is_finite():
        raise CommandError(f"amount_usd: '{text[:20]}' is not an amount; give US dollars such as 12.50.")
    return amount
