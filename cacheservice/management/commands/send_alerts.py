from typing import Any

from django.core.management.base import BaseCommand

from console import alert_delivery, alert_evaluation


class Command(BaseCommand):
    help = "Open and close tenants' alerts and send what is due, as the worker does every minute."

    def handle(self, *args: Any, **options: Any) -> None:
        opened, closed, standing = alert_evaluation.evaluate()
        sent = alert_delivery.deliver()
        self.stdout.write(f"{opened} alerts opened, {closed} closed, {standing} stand; {sent} messages attempted.")
