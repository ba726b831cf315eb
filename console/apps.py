from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        from allauth.account.signals import email_confirmed

        from console import audit_signals, tenancy

        email_confirmed.connect(tenancy.on_email_confirmed)
        audit_signals.connect()
