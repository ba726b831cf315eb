from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction

from accounts.actors import api_key_with_id, operator, tenant_named
from billing.limits import UNCHANGED, set_api_key_limits, set_tenant_limits, set_ttls
from billing.management.arguments import number_or_none, units_or_none
from billing.units import credits
from cacheservice.entries.requests import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS


class Command(BaseCommand):
    help = "Set limits on a tenant or an API key, in place of its plan's, or a tenant's ttls; none takes them back."

    def add_arguments(self, parser: ArgumentParser) -> None:
        whose = parser.add_mutually_exclusive_group(required=True)
        whose.add_argument("--tenant", metavar="NAME")
        whose.add_argument("--api-key", metavar="ID")
        for option, of in (
            ("--requests-per-minute", "of the API key; of a tenant's, each of its keys"),
            ("--storage-quota-bytes", "of the tenant or API key"),
            ("--api-key-storage-quota-bytes", "of each API key of the tenant"),
        ):
            parser.add_argument(option, type=number_or_none, metavar="N|none", default=UNCHANGED, help=of)
        parser.add_argument(
            "--credit-limit",
            type=units_or_none,
            metavar="CREDITS|none",
            default=UNCHANGED,
            help="of the API key, each UTC month, this one included",
        )
        for option, of in (
            ("--default-ttl", "seconds, of a PUT of the tenant without a ttl"),
            ("--max-ttl", "seconds, the most that the tenant's requests may ask for"),
        ):
            parser.add_argument(option, type=number_or_none, metavar="N|none", default=UNCHANGED, help=of)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            if options["tenant"] is not None:
                self._set_tenant_limits(options)
            else:
                self._set_api_key_limits(options)
        except ValueError as error:
            raise CommandError(str(error)) from None

    def _set_tenant_limits(self, options: dict[str, Any]) -> None:
        if options["credit_limit"] is not UNCHANGED:
            raise CommandError("--credit-limit: only an API key has one; give --api-key instead of --tenant.")
        tenant = tenant_named(options["tenant"])
        ttls = {name: options[name] for name in ("default_ttl", "max_ttl") if options[name] is not UNCHANGED}
        limits = {
            name.removesuffix("_bytes"): options[name]
            for name in ("requests_per_minute", "storage_quota_bytes", "api_key_storage_quota_bytes")
            if options[name] is not UNCHANGED
        }
        with transaction.atomic():
            if ttls:
                account = set_ttls(tenant, **ttls, actor=operator())
                most = account.max_ttl or MAX_TTL_SECONDS
                self._show("seconds of ttl by default", min(account.default_ttl or DEFAULT_TTL_SECONDS, most))
                self._show("seconds of ttl at most", most)
            if limits or not ttls:
                account = set_tenant_limits(tenant, **limits, actor=operator())
                self._show("requests a minute of each API key", account.requests_per_minute)
                self._show("bytes of storage", account.storage_quota)
                self._show("bytes of storage of each API key", account.api_key_storage_quota)

    def _set_api_key_limits(self, options: dict[str, Any]) -> None:
        if options["api_key_storage_quota_bytes"] is not UNCHANGED:
            raise CommandError("--api-key-storage-quota-bytes: it is a tenant's; an API key has --storage-quota-bytes.")
        for name in ("default_ttl", "max_ttl"):
            if options[name] is not UNCHANGED:
                raise CommandError(f"--{name.replace('_', '-')}: only a tenant has one; give --tenant, not --api-key.")
        api_key = set_api_key_limits(
            api_key_with_id(options["api_key"]),
            requests_per_minute=options["requests_per_minute"],
            storage_quota=options["storage_quota_bytes"],
            credit_limit=options["credit_limit"],
            actor=operator(),
        )
        self._show("requests a minute", api_key.requests_per_minute)
        self._show("bytes of storage", api_key.storage_quota)
        limit = "none" if api_key.credit_limit is None else credits(api_key.credit_limit)
        self.stdout.write(f"credits a month: {limit}")

    def _show(self, what: str, limit: int | None) -> None:
        shown = "the plan's" if limit is None else limit
        self.stdout.write(f"{what}: {shown}")
