from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    name = "console"
    verbose_name = "Console"

    def ready(self) -> None:
        from allauth.account import signals

        from console import audit_signals, email_addresses, tenancy

        signals.email_confirmed.connect(tenancy.on_email_confirmed)
        signals.password_set.connect(email_addresses.on_new_password)
        signals.password_changed.connect(email_addresses.on_new_password)
        signals.password_reset.connect(email_addresses.on_password_reset)
        audit_signals.connect()
