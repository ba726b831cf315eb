"""Every setting, declared once: its name here, its variable, type, default, bounds and meaning.

    QUEUE_LIMIT = requests.integer("CACHE_QUEUE_LIMIT", 4096, "requests that may wait in a process; beyond: `503`")

`django.conf.settings` has each under the same name. `manage.py settings_table` writes docs/settings.md from here.
Without `DATABASE_URL` this is the local mode of `manage.py up`; with it production, where secrets have no defaults.
"""

from pathlib import Path

from cacheservice import environment
from cacheservice.environment import Section

BASE_DIR = Path(__file__).resolve().parent.parent
LOCAL = not environment.is_given("DATABASE_URL")

data = Section("Database and keys")
# Of "" the local mode makes the address of its own database, and its secrets are files under VAR_DIR (settings.py).
DATABASE_URL = data.text(
    "DATABASE_URL",
    "" if LOCAL else None,
    "libpq connection string or URL of PostgreSQL 15 or newer; several hosts with `target_session_attrs=read-write` "
    "fail over",
    secret=True,
    shown="– (local mode)",
)
SECRET_KEY = data.text(
    "CACHE_SECRET_KEY",
    "" if LOCAL else None,
    "Django's secret, at least 32 random characters",
    secret=True,
    shown="–",
)
MASTER_KEY = data.text(
    "CACHE_MASTER_KEY",
    "",
    "master keys, newest first, separated by white space: 32 bytes in base 64 each (`openssl rand -base64 32`), or "
    "`aws-kms:` and the ARN of a key in [AWS KMS](kms.md)",
    secret=True,
    shown="–",
)
MASTER_KEY_FILE = environment.file_of("CACHE_MASTER_KEY")
KMS_ENDPOINT = data.text(
    "CACHE_KMS_ENDPOINT",
    "",
    "where AWS KMS is called, if not at its region's own address: a VPC endpoint, or a server with its protocol; "
    "`https://`, or `http://` on this machine",
)
DATABASE_CONNECTIONS = data.integer(
    "CACHE_DATABASE_CONNECTIONS",
    2,
    "connections of a server process that serve gathered requests; more did not help",
)
REPLICA_URL = data.text(
    "CACHE_REPLICA_URL",
    "",
    "libpq connection string or URL of a streaming replica, for lists of entries and reports (docs/scaling.md); "
    "without it the primary answers those too",
    secret=True,
)
REPLICA_MAX_LAG_SECONDS = data.integer(
    "CACHE_REPLICA_MAX_LAG_SECONDS",
    5,
    "what the replica may be behind; beyond, the primary answers. A process measures it once a second",
    least=2,
    most=3600,
)
STATEMENT_TIMEOUT_SECONDS = data.integer(
    "CACHE_STATEMENT_TIMEOUT_SECONDS", 5, "how long a statement may run; then `503`"
)

processes = Section("Processes")
CELERY_BROKER_URL = processes.text(
    "CELERY_BROKER_URL",
    "filesystem://",
    "Redis or RabbitMQ; files under `CACHE_VAR_DIR` on one machine",
    secret=True,
)
VAR_DIR = Path(
    processes.text("CACHE_VAR_DIR", str(BASE_DIR / "var"), "where local data lives", shown="`var/` of the checkout")
)
DRAIN_SECONDS = processes.integer(
    "CACHE_DRAIN_SECONDS",
    0,
    "how long a server process that is told to end (SIGTERM) goes on answering while `/readyz` says `503`: longer than "
    "the proxy in front takes to notice. `0`: no proxy asks for `/readyz`",
    least=0,
    most=600,
)
LOG_LEVEL = processes.choice("CACHE_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"), "what is logged")
ACCESS_LOG = processes.switch("CACHE_ACCESS_LOG", False, "`on`: a line for each request")

monitoring = Section("Monitoring")
METRICS_TOKEN = monitoring.text(
    "CACHE_METRICS_TOKEN",
    "",
    "what [/metrics](observability.md) wants as `Authorization: Bearer …`, at least 16 characters; without it only "
    "loopback and private addresses are answered",
    secret=True,
)
OTLP_ENDPOINT = monitoring.text(
    "CACHE_OTLP_ENDPOINT",
    "",
    "where [traces](observability.md) go, by OTLP over HTTP: `http://collector.internal:4318`. Else that of "
    "`OTEL_EXPORTER_OTLP_ENDPOINT`; without either there are none",
)

requests = Section("Requests")
LANE = requests.switch(
    "CACHE_LANE", True, "`off` leaves item operations to Django REST framework: slower, same answers"
)
TRUSTED_PROXIES = requests.networks(
    "CACHE_TRUSTED_PROXIES",
    "networks of the proxies in front: only from these is `X-Forwarded-For` believed. Allow-lists of API keys need it "
    "behind a proxy",
)
MAX_VALUE_BYTES = requests.integer("CACHE_MAX_VALUE_BYTES", 10 * 1024 * 1024, "the largest value")
BODY_TIMEOUT_SECONDS = requests.integer("CACHE_BODY_TIMEOUT_SECONDS", 30, "how long a body may take to arrive")
BODY_BYTES_IN_FLIGHT = requests.integer(
    "CACHE_BODY_BYTES_IN_FLIGHT",
    64 * 1024 * 1024,
    "bytes of bodies over 64 KiB that a process holds at once; beyond: `503`",
)
ANSWER_BYTES_IN_FLIGHT = requests.integer(
    "CACHE_ANSWER_BYTES_IN_FLIGHT",
    128 * 1024 * 1024,
    "bytes of answers over 64 KiB that clients of a process have yet to take; beyond: `503`",
)
ANSWER_TIMEOUT_SECONDS = requests.integer(
    "CACHE_ANSWER_TIMEOUT_SECONDS",
    60,
    "how long a client may take to read an answer over 64 KiB; then the connection is closed",
)
QUEUE_LIMIT = requests.integer("CACHE_QUEUE_LIMIT", 4096, "requests that may wait in a process; beyond: `503`")
QUEUE_TIMEOUT_SECONDS = requests.integer(
    "CACHE_QUEUE_TIMEOUT_SECONDS", 2, "how long a request may wait for its turn; then `503`"
)

gateway = Section("Gateway")
GATEWAY_ALLOW_NETWORKS = gateway.networks(
    "CACHE_GATEWAY_ALLOW_NETWORKS",
    "networks that providers' base URLs may lead into although they are not public; `http://` works there, and nowhere "
    "else. For models on one's own premises: on a shared installation, tenants would reach what is behind it",
)
GATEWAY_MAX_ANSWER_BYTES = gateway.integer(
    "CACHE_GATEWAY_MAX_ANSWER_BYTES",
    10 * 1024 * 1024,
    "the largest answer of an upstream, decompressed; beyond, the call is broken off and the client told: `502`",
)
GATEWAY_BYTES_IN_FLIGHT = gateway.integer(
    "CACHE_GATEWAY_BYTES_IN_FLIGHT",
    128 * 1024 * 1024,
    "bytes of upstreams' answers that a process holds at once; beyond: `503`",
)

billing = Section("Usage and invoices")
RECEIPT_RETENTION_DAYS = billing.integer(
    "CACHE_RECEIPT_RETENTION_DAYS", 90, "how long receipts are kept after they are rolled up into usage"
)
SELLER = billing.text(
    "CACHE_SELLER",
    "cacheservice",
    "who invoices come from: name, address, tax number, a line each (`CACHE_SELLER_FILE` holds lines easily)",
)

console = Section("Console")
PUBLIC_URL = console.text(
    "CACHE_PUBLIC_URL",
    "http://localhost:8000",
    "where browsers find the service: the only host that is answered, and what links in e-mails begin with. With "
    "`https://`, cookies are `__Host-`, HSTS is sent and `X-Forwarded-Proto` is believed, which the proxy must set "
    "itself",
).rstrip("/")
OPERATOR_EMAIL = console.text(
    "CACHE_OPERATOR_EMAIL", "operator@localhost", "whom the console writes to for more credits"
)
TENANT_DELETION_DAYS = console.integer(
    "CACHE_TENANT_DELETION_DAYS",
    7,
    "days between an owner's wish to delete their tenant and its deletion; until then it can be cancelled",
)
WEBHOOK_ALLOW_NETWORKS = console.networks(
    "CACHE_WEBHOOK_ALLOW_NETWORKS",
    "networks that tenants' webhooks may lead into although they are not public; `http://` works there too. For an "
    "installation on one's own premises: on a shared one, tenants would reach what is behind it",
)
STAFF_MFA = console.switch(
    "CACHE_STAFF_MFA",
    not LOCAL,
    "operators need a second factor to open `/staff/`",
    shown="`on`; `off` in the local mode",
)

email = Section("E-mail")
EMAIL_HOST = email.text(
    "CACHE_SMTP_HOST",
    "",
    "the server that takes e-mails, by STARTTLS; without it they are printed into the server's log",
)
EMAIL_PORT = email.integer("CACHE_SMTP_PORT", 587, "its port", most=65535)
EMAIL_HOST_USER = email.text("CACHE_SMTP_USER", "", "its user")
EMAIL_HOST_PASSWORD = email.text("CACHE_SMTP_PASSWORD", "", "its password", secret=True)
DEFAULT_FROM_EMAIL = email.text("CACHE_EMAIL_FROM", "cacheservice <noreply@localhost>", "whom e-mails come from")

oidc = Section("Signing in through OpenID Connect")
OIDC_ISSUER = oidc.text(
    "CACHE_OIDC_ISSUER",
    "",
    "an OpenID Connect provider through which people may sign in too, as it names itself: `https://login.example.com`. "
    "Its redirect URI: `<CACHE_PUBLIC_URL>/console/account/oidc/oidc/login/callback/`",
).rstrip("/")
OIDC_CLIENT_ID = oidc.text(
    "CACHE_OIDC_CLIENT_ID", None if OIDC_ISSUER else "", "with an issuer: what it calls this service", shown="–"
)
OIDC_CLIENT_SECRET = oidc.text(
    "CACHE_OIDC_CLIENT_SECRET",
    None if OIDC_ISSUER else "",
    "with an issuer: the secret that it gave",
    secret=True,
    shown="–",
)
OIDC_NAME = oidc.text("CACHE_OIDC_NAME", "OpenID Connect", "what the button on the sign-in page calls it")
