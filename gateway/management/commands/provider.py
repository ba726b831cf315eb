import sys
from argparse import ArgumentParser
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from django.core.management.base import BaseCommand, CommandError

from accounts.actors import operator, tenant_named
from gateway import providers
from gateway.models import Kind, Provider
from gateway.policy import Policy
from gateway.providers import MOST_FALLBACKS, ProviderSettings


class Command(BaseCommand):
    help = "Add, change, list and remove the providers that a tenant's gateway calls."

    def add_arguments(self, parser: ArgumentParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="add|set|list|remove")
        for action, of in (
            ("add", "add a provider"),
            ("set", "change a provider: what is left out stays"),
            ("list", "list a tenant's providers"),
            ("remove", "remove a provider, with its credential and prices"),
        ):
            options = actions.add_parser(action, help=of, description=of)
            options.add_argument("--tenant", required=True, metavar="TENANT")
            if action != "list":
                options.add_argument("--name", required=True, help="as in the gateway's URLs: /gateway/NAME/…")
            if action in ("add", "set"):
                _add_settings(options, kind_required=action == "add")

    def handle(self, *args: Any, **options: Any) -> None:
        tenant_id = tenant_named(options["tenant"]).id
        try:
            match options["action"]:
                case "add":
                    new = providers.create_provider(tenant_id, options["name"], _wanted(None, options), operator())
                    self._show(new, providers.with_credential(tenant_id))
                case "set":
                    former = _existing(tenant_id, options["name"])
                    new = providers.update_provider(tenant_id, former.name, _wanted(former, options), operator())
                    self._show(new, providers.with_credential(tenant_id))
                case "list":
                    for each in providers.list_providers(tenant_id):
                        self._show(each, providers.with_credential(tenant_id))
                case "remove":
                    providers.delete_provider(tenant_id, _existing(tenant_id, options["name"]).name, operator())
                    self.stdout.write(f"Provider {options['name']} removed.")
        except ValueError as error:
            raise CommandError(f"{error}.") from None

    def _show(self, provider: Provider, with_credential: set[str]) -> None:
        """In one line; never its credential."""
        credential = provider.credential_header if provider.name in with_credential else "no credential"
        fallbacks = f"  then {', '.join(provider.fallbacks)}" if provider.fallbacks else ""
        policy = f"  {msgspec.json.encode(provider.policy).decode()}" if provider.policy else ""
        self.stdout.write(f"{provider.name}  {provider.kind}  {provider.base_url}  {credential}{fallbacks}{policy}")


def _add_settings(options: ArgumentParser, *, kind_required: bool) -> None:
    options.add_argument("--kind", choices=Kind.values, required=kind_required, help="whose API it speaks")
    options.add_argument("--base-url", metavar="URL", help="where its API is (default: the kind's own)")
    credential = options.add_mutually_exclusive_group()
    credential.add_argument(
        "--credential-file", metavar="FILE", help="the file that holds the provider's API key; - reads it from stdin"
    )
    credential.add_argument("--no-credential", action="store_true", help="forget the one that there is")
    options.add_argument(
        "--credential-header", metavar="HEADER", help="which header takes it, such as x-api-key (default: the kind's)"
    )
    options.add_argument("--policy", metavar="JSON", help='what differs from the default policy, such as {"ttl": 60}')
    options.add_argument(
        "--fallback",
        dest="fallbacks",
        action="append",
        metavar="NAME|none",
        help=f"a provider to try when this one fails; repeatable, up to {MOST_FALLBACKS}",
    )


def _existing(tenant_id: int, name: str) -> Provider:
    provider = providers.find_provider(tenant_id, name)
    if provider is None:
        names = ", ".join(each.name for each in providers.list_providers(tenant_id)) or "none yet"
        raise CommandError(f"--name: there is no provider '{name}'. Providers: {names}.")
    return provider


def _wanted(former: Provider | None, options: dict[str, Any]) -> ProviderSettings:
    """The options that were given, over what there is."""
    changes = {name: options[name] for name in ("kind", "base_url", "credential_header") if options[name] is not None}
    if options["policy"] is not None:
        changes["policy"] = _policy(options["policy"])
    if options["fallbacks"] is not None:
        changes["fallbacks"] = tuple(name for name in options["fallbacks"] if name != "none")
    if options["no_credential"]:
        changes["credential"] = b""
    elif options["credential_file"] is not None:
        changes["credential"] = _secret(options["credential_file"])
    return ProviderSettings(**changes) if former is None else replace(providers.settings_of(former), **changes)


def _policy(text: str) -> Policy:
    try:
        return msgspec.json.decode(text, type=Policy)
    except (msgspec.DecodeError, UnicodeError) as error:
        raise CommandError(f'--policy: {error}; give a JSON object such as {{"ttl": 3600}}.') from None


def _secret(source: str) -> bytes:
    """From a file or stdin: what stands on a command line, other users can see."""
    try:
        secret = (sys.stdin.read().encode() if source == "-" else Path(source).read_bytes()).strip()
    except (OSError, UnicodeError) as error:
        raise CommandError(f"--credential-file: cannot read it ({error}).") from None
    if not secret:
        raise CommandError("--credential-file: it is empty; give --no-credential for none.")
    return secret
