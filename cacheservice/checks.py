"""What `manage.py check` says of the settings; `check --deploy` adds each that is not safe for paying customers.

An error is never right in production. A warning may be meant: on one's own premises, with an e-mail relay elsewhere.
docs/settings.md lists the ids.
"""

import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import OperationalError, connections
from psycopg.conninfo import conninfo_to_dict

from accounts import kms
from accounts.networks import Network
from accounts.networks import parse as parse_network
from cacheservice import environment

# Variables of others that share the prefix: the client's, and those of this project's tests.
NOT_OURS = ("CACHE_URL", "CACHE_API_KEY", "CACHE_ADMIN_KEY", "CACHE_TEST_", "CACHE_FAULTS_")
SECRET_KEY_LENGTH = 50  # what Django's own check asks for (security.W009)
# An invoice comes right after its month; for a month more, a question about it finds its receipts.
RETENTION_DAYS = 62
# Where no tenant's request may be led, whatever the operator's own networks are.
NEVER_ALLOWED: dict[str, tuple[str, ...]] = {
    "this machine": ("127.0.0.0/8", "0.0.0.0/8", "::1/128", "::/128"),
    "link-local addresses, the metadata services of clouds among them": ("169.254.0.0/16", "fe80::/10"),
    "a cloud's metadata service": ("168.63.129.16/32", "100.100.100.200/32", "fd00:ec2::254/128", "fd20:ce::254/128"),
}
BROADEST_PROXIES = {4: 8, 6: 16}  # bits of a prefix: no operator's proxies are spread wider

TAG = "cacheservice"  # `check --tag`

Messages = Iterator[CheckMessage]


def add() -> None:
    """Make the checks known to Django."""
    register(_listed(unknown_variables), TAG)
    for check in DEPLOYMENT:
        register(_listed(check), TAG, deploy=True)
    register(database_role, TAG, Tags.database, deploy=True)


def _listed(check: Callable[[], Messages]) -> Any:
    def run(**_: Any) -> list[CheckMessage]:
        return list(check())

    return run


def unknown_variables() -> Messages:
    """W001: the environment has a `CACHE_` variable that no setting has. A typo would change nothing."""
    known = {declaration.variable for declaration in environment.declarations()}
    for name in environment.names("CACHE_"):
        if not name.startswith(NOT_OURS) and not {name, name.removesuffix("_FILE")} & known:
            yield Warning(f"{name} is no setting.", hint=_nearest(name, known), id="cacheservice.W001")


def _nearest(name: str, known: set[str]) -> str:
    suffix = "_FILE" if name.endswith("_FILE") else ""
    near = difflib.get_close_matches(name.removesuffix(suffix), known, n=1, cutoff=0.8)
    return f"Did you mean {near[0]}{suffix}?" if near else "docs/settings.md has them all: correct or unset it."


def local_mode() -> Messages:
    """E010."""
    if settings.LOCAL:
        yield Error(
            "DATABASE_URL is not set: this is the local mode, for trying out on one machine.",
            hint="Set DATABASE_URL_FILE to a file with the address of a PostgreSQL that has backups.",
            id="cacheservice.E010",
        )


def public_url() -> Messages:
    """E011."""
    if not settings.PUBLIC_URL.startswith("https://"):
        yield Error(
            f"CACHE_PUBLIC_URL is {settings.PUBLIC_URL}: passwords, sessions and API keys would go in clear.",
            hint="Set it to the https:// address that browsers use; a proxy in front ends TLS (deploy/).",
            id="cacheservice.E011",
        )


def secret_files() -> Messages:
    """E012: whoever is neither owner nor in the group may read it, or others than the owner may write it."""
    named = {f"{d.variable}_FILE": environment.file_of(d.variable) for d in environment.declarations() if d.secret}
    if settings.LOCAL:
        named |= {"the master key": settings.LOCAL_MASTER_KEY_FILE, "the secret key": settings.LOCAL_SECRET_KEY_FILE}
    for name, path in named.items():
        mode = _mode(path)
        if mode & 0o026:
            yield Error(
                f"{name}: {path} has mode {mode:04o}, so others may read or change it.",
                hint=f"chmod 0400 {path}, or 0440 with a group that only the service is in.",
                id="cacheservice.E012",
            )


def _mode(path: Path | None) -> int:
    try:
        return 0 if path is None else path.stat().st_mode & 0o777
    except OSError:  # that it cannot be read is another's to say
        return 0


def trusted_proxies() -> Messages:
    """E013, W023."""
    for network in settings.TRUSTED_PROXIES:
        if network.prefixlen < BROADEST_PROXIES[network.version]:
            yield Error(
                f"CACHE_TRUSTED_PROXIES has {network}: clients could write the address that they seem to come from.",
                hint="Name the addresses of the proxies alone.",
                id="cacheservice.E013",
            )
    if settings.TLS and not settings.TRUSTED_PROXIES:
        yield Warning(
            "CACHE_TRUSTED_PROXIES is not set: to allow-lists of API keys, throttles of signing in and the audit log, "
            "everybody has the address of the proxy that ends TLS.",
            hint="Name the addresses of the proxies.",
            id="cacheservice.W023",
        )


def secrets_in_environment() -> Messages:
    """W020: programs that are started from there inherit it, and /proc and crash reports show it."""
    for variable in (declaration.variable for declaration in environment.declarations() if declaration.secret):
        if variable in environment.names(variable) and _tells(variable, environment.text(variable)):
            yield Warning(
                f"{variable} is given in the environment, which other programs and crash reports may see.",
                hint=f"Set {variable}_FILE to a file with it that only the service may read.",
                id="cacheservice.W020",
            )


def _tells(variable: str, text: str) -> bool:
    """Whether it holds a secret: an address without a password does not, nor does the name of a key in AWS KMS."""
    if variable == "CACHE_MASTER_KEY":
        return not all(line.startswith(kms.PREFIX) for line in text.split())
    if "://" in text:
        return bool(urlsplit(text).password) or "password=" in text
    return "password" in text if variable in ("DATABASE_URL", "CACHE_REPLICA_URL") else bool(text)


def secret_key() -> Messages:
    """W021, in place of Django's own, which does not know the variable."""
    if len(settings.SECRET_KEY) < SECRET_KEY_LENGTH and not settings.LOCAL:
        yield Warning(
            f"CACHE_SECRET_KEY has {len(settings.SECRET_KEY)} characters; {SECRET_KEY_LENGTH} or more are wanted.",
            hint="Make one with 'openssl rand -base64 48'; whoever is signed in must sign in again.",
            id="cacheservice.W021",
        )


def broker() -> Messages:
    """W022, W024."""
    parts = urlsplit(settings.CELERY_BROKER_URL)
    if parts.scheme == "filesystem":
        yield Warning(
            "CELERY_BROKER_URL is not set: tasks wait in files of one machine, and nobody else's worker sees them.",
            hint="Set CELERY_BROKER_URL_FILE to a file with the address of RabbitMQ or Redis.",
            id="cacheservice.W022",
        )
    elif parts.scheme in ("amqp", "redis") and not _is_here(parts.hostname or ""):
        yield Warning(
            f"CELERY_BROKER_URL leads to {parts.hostname} in clear: whoever is on the way may read its password.",
            hint=f"Use {parts.scheme}s://, or let only a network that you trust lie between.",
            id="cacheservice.W024",
        )


def allowed_networks() -> Messages:
    """W025: tenants say where webhooks and calls of the gateway go."""
    for variable, networks in (
        ("CACHE_GATEWAY_ALLOW_NETWORKS", settings.GATEWAY_ALLOW_NETWORKS),
        ("CACHE_WEBHOOK_ALLOW_NETWORKS", settings.WEBHOOK_ALLOW_NETWORKS),
    ):
        for network in networks:
            if within := "everything" if network.prefixlen == 0 else ", ".join(_never_allowed(network)):
                yield Warning(
                    f"{variable} has {network}, which holds {within}: tenants' requests could be led there.",
                    hint="Name only the networks of the hosts that they are meant for.",
                    id="cacheservice.W025",
                )


def _never_allowed(network: Network) -> Iterable[str]:
    for what, texts in NEVER_ALLOWED.items():
        if any(_overlap(network, parse_network(text)) for text in texts):
            yield what


def _overlap(one: Network, other: Network) -> bool:
    return one.version == other.version and one.overlaps(other)


def database_encryption() -> Messages:
    """W026."""
    for variable, dsn in (("DATABASE_URL", settings.DATABASE_DSN), ("CACHE_REPLICA_URL", settings.REPLICA_URL)):
        parts = conninfo_to_dict(dsn)
        hosts = f"{parts.get('host') or ''},{parts.get('hostaddr') or ''}".split(",")
        if parts.get("sslmode") != "verify-full" and not all(map(_is_here, hosts)):
            yield Warning(
                f"{variable} has sslmode {parts.get('sslmode') or 'prefer'}: others may pass for the database.",
                hint="Add sslmode=verify-full and, for a CA of your own, sslrootcert to it.",
                id="cacheservice.W026",
            )


def _is_here(host: str) -> bool:
    """Whether it is this machine: "" and paths are PostgreSQL's sockets."""
    return host in ("", "localhost", "127.0.0.1", "::1") or host.startswith(("/", "@"))


def people() -> Messages:
    """W027 to W030: e-mails, operators, and who says who somebody is."""
    if not settings.EMAIL_HOST:
        yield Warning(
            "CACHE_SMTP_HOST is not set: e-mails, with links that reset passwords, are printed into the server's log.",
            hint="Set it, CACHE_SMTP_USER, CACHE_SMTP_PASSWORD_FILE and CACHE_EMAIL_FROM.",
            id="cacheservice.W027",
        )
    for variable, address in (
        ("CACHE_EMAIL_FROM", settings.DEFAULT_FROM_EMAIL),
        ("CACHE_OPERATOR_EMAIL", settings.OPERATOR_EMAIL),
    ):
        if address.rstrip(">").endswith("@localhost"):
            yield Warning(
                f"{variable} is {address}: nobody can answer it.",
                hint="Set it to an address that somebody reads.",
                id="cacheservice.W028",
            )
    if not settings.STAFF_MFA:
        yield Warning(
            "CACHE_STAFF_MFA is off: an operator's password alone opens /staff/.",
            hint="Unset it.",
            id="cacheservice.W029",
        )
    if settings.OIDC_ISSUER and not settings.OIDC_ISSUER.startswith("https://"):
        yield Warning(
            f"CACHE_OIDC_ISSUER is {settings.OIDC_ISSUER}: whoever is on the way could sign in as anybody.",
            hint="Give its https:// address.",
            id="cacheservice.W030",
        )


def records() -> Messages:
    """W031, W032."""
    if settings.LOG_LEVEL == "DEBUG":
        yield Warning(
            "CACHE_LOG_LEVEL is DEBUG: the libraries' own lines, which nobody has looked through, fill the log.",
            hint="Unset it, or set it to INFO.",
            id="cacheservice.W031",
        )
    if settings.RECEIPT_RETENTION_DAYS < RETENTION_DAYS:
        yield Warning(
            f"CACHE_RECEIPT_RETENTION_DAYS is {settings.RECEIPT_RETENTION_DAYS}: a question about an invoice a month "
            "later would not find the receipts behind it.",
            hint=f"Set it to {RETENTION_DAYS} or more, or unset it.",
            id="cacheservice.W032",
        )


def database_role(databases: Sequence[str] | None = None, **_: Any) -> list[CheckMessage]:
    """E014: only by `check --deploy --database default`, since it asks the database."""
    messages: list[CheckMessage] = []
    for name in databases or ():
        try:
            with connections[name].cursor() as cursor:
                cursor.execute("select current_user, rolsuper from pg_roles where rolname = current_user")
                role, is_superuser = cursor.fetchone()
        except OperationalError:  # it is away, which the check of entries/pooler.py says
            continue
        if is_superuser:
            messages.append(
                Error(
                    f"The {name} database's role, {role}, is a superuser: above the privileges that keep the audit "
                    "log, the ledger and invoices append-only, and able to run programs on its machine.",
                    hint=f"alter role {role} nosuperuser, or make a role that owns the database and nothing else.",
                    id="cacheservice.E014",
                )
            )
    return messages


DEPLOYMENT = (
    local_mode,
    public_url,
    secret_files,
    trusted_proxies,
    secrets_in_environment,
    secret_key,
    broker,
    allowed_networks,
    database_encryption,
    people,
    records,
)
