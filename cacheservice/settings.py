"""Settings, all from the environment. `docs/settings.md` describes each one.

Without `DATABASE_URL` this is the local mode of `manage.py up`: the embedded PostgreSQL, the secrets and the broker
live under `var/`. With it this is production: every secret must be given, and nothing has a default that is secret.
"""

import os
from pathlib import Path
from typing import Any

import psycopg
from celery.schedules import crontab
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cacheservice import embedded, environment

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(environment.text("CACHE_VAR_DIR", str(BASE_DIR / "var")))
LOCAL = "DATABASE_URL" not in os.environ and "DATABASE_URL_FILE" not in os.environ

# Secrets. In local mode `manage.py up` makes both files with mode 0600 before anything reads them.
LOCAL_SECRET_KEY_FILE = VAR_DIR / "secret.key"
LOCAL_MASTER_KEY_FILE = VAR_DIR / "master.key"
if LOCAL:
    SECRET_KEY = LOCAL_SECRET_KEY_FILE.read_text().strip() if LOCAL_SECRET_KEY_FILE.exists() else ""
    MASTER_KEY_FILE: Path | None = LOCAL_MASTER_KEY_FILE
    MASTER_KEY = ""
else:
    SECRET_KEY = environment.text("CACHE_SECRET_KEY")
    if len(SECRET_KEY) < 32 or len(set(SECRET_KEY)) < 8:
        raise ImproperlyConfigured("CACHE_SECRET_KEY must be at least 32 random characters")
    MASTER_KEY = environment.text("CACHE_MASTER_KEY", "")
    master_key_file = os.environ.get("CACHE_MASTER_KEY_FILE")
    MASTER_KEY_FILE = Path(master_key_file) if master_key_file and "CACHE_MASTER_KEY" not in os.environ else None
    if not MASTER_KEY.strip():
        raise ImproperlyConfigured("CACHE_MASTER_KEY is not set: set it, or CACHE_MASTER_KEY_FILE to a file with it")

DEBUG = False

# Database. The store opens its own connections from DATABASE_DSN; Django's serve commands, tasks and /readyz.
DATABASE_DSN = embedded.dsn(VAR_DIR) if LOCAL else environment.text("DATABASE_URL")
DATABASE_CONNECTIONS = environment.integer("CACHE_DATABASE_CONNECTIONS", 2)


def _django_database(dsn: str) -> dict[str, Any]:
    """Django's DATABASES entry for a libpq connection string."""
    try:
        parts: dict[str, Any] = dict(conninfo_to_dict(make_conninfo(dsn)))
        ports = str(parts.get("port", "5432")).split(",")
        if not parts or not all(port.isdigit() for port in ports):
            raise ValueError
    except (psycopg.Error, ValueError):  # whose message may hold the password
        example = "postgresql://user:password@host/database"
        raise ImproperlyConfigured(f"DATABASE_URL is not a connection string such as {example}") from None
    entry = {
        name: str(parts.pop(key, ""))
        for name, key in (
            ("NAME", "dbname"),
            ("USER", "user"),
            ("PASSWORD", "password"),
            ("HOST", "host"),
            ("PORT", "port"),
        )
    }
    parts.setdefault("connect_timeout", "3")
    return {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": 0, "OPTIONS": parts, **entry}


DATABASES = {"default": _django_database(DATABASE_DSN)}
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # http.BodyReader bounds bodies before Django sees them
FILE_UPLOAD_MAX_MEMORY_SIZE = 1 << 40  # ... so Django need not put them into temporary files, in clear
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The cache.
LANE = environment.switch("CACHE_LANE", True)
MAX_VALUE_BYTES = environment.integer("CACHE_MAX_VALUE_BYTES", 10 * 1024 * 1024)
BODY_TIMEOUT_SECONDS = environment.integer("CACHE_BODY_TIMEOUT_SECONDS", 30)
BODY_BYTES_IN_FLIGHT = environment.integer("CACHE_BODY_BYTES_IN_FLIGHT", 64 * 1024 * 1024)
ANSWER_BYTES_IN_FLIGHT = environment.integer("CACHE_ANSWER_BYTES_IN_FLIGHT", 128 * 1024 * 1024)
ANSWER_TIMEOUT_SECONDS = environment.integer("CACHE_ANSWER_TIMEOUT_SECONDS", 60)
QUEUE_LIMIT = environment.integer("CACHE_QUEUE_LIMIT", 4096)
QUEUE_TIMEOUT_SECONDS = environment.integer("CACHE_QUEUE_TIMEOUT_SECONDS", 2)
STATEMENT_TIMEOUT_SECONDS = environment.integer("CACHE_STATEMENT_TIMEOUT_SECONDS", 5)
RECEIPT_RETENTION_DAYS = environment.integer("CACHE_RECEIPT_RETENTION_DAYS", 90)
SELLER = environment.text("CACHE_SELLER", "cacheservice")

INSTALLED_APPS = [
    "django.contrib.staticfiles",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "billing",
    "cacheservice",
    "cacheservice.entries",
]
MIDDLEWARE = [
    "cacheservice.middleware.common_headers",
    "whitenoise.middleware.WhiteNoiseMiddleware",
]
ROOT_URLCONF = "cacheservice.urls"
ASGI_APPLICATION = "cacheservice.asgi.application"
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # the few files of /docs are served from their packages; no collectstatic to forget
WHITENOISE_ALLOW_ALL_ORIGINS = False  # CORS is off, for static files too
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True}]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["cacheservice.authentication.APIKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["cacheservice.authentication.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],  # bodies are parsed by entries/requests.py, once for all planes
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "cacheservice.negotiation.JSONOnly",
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "cacheservice.views.handle_exception",
    "UNAUTHENTICATED_USER": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "cacheservice",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "DESCRIPTION": "A key-value cache for AI responses. Errors, limits and prices: docs/api.md.",
    "POSTPROCESSING_HOOKS": ["cacheservice.openapi.finish"],
}

# Celery: Redis or RabbitMQ in production, files under var/ on one machine.
CELERY_BROKER_URL = "filesystem://" if LOCAL else environment.text("CELERY_BROKER_URL", "filesystem://")
if CELERY_BROKER_URL == "filesystem://":
    _broker = VAR_DIR / "broker"
    CELERY_BROKER_TRANSPORT_OPTIONS = {
        "data_folder_in": str(_broker / "messages"),
        "data_folder_out": str(_broker / "messages"),
        "control_folder": str(_broker / "control"),
    }
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TIMEZONE = "UTC"
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULE = {
    "purge": {"task": "cacheservice.entries.tasks.purge", "schedule": 60.0, "options": {"expires": 55}},
    "reseal": {"task": "cacheservice.entries.tasks.reseal", "schedule": 60.0, "options": {"expires": 55}},
    "rollup": {"task": "cacheservice.entries.tasks.rollup", "schedule": 60.0, "options": {"expires": 55}},
    "drop old": {"task": "cacheservice.entries.tasks.drop_old", "schedule": crontab(hour=2, minute=20)},
    "reconcile": {"task": "cacheservice.entries.tasks.reconcile", "schedule": crontab(hour=3, minute=20)},
    "monthly grants": {"task": "billing.tasks.grant_monthly", "schedule": crontab(minute=0)},
    "month close": {"task": "cacheservice.entries.tasks.close_month", "schedule": crontab(minute=10)},
}

# Logs: JSON lines on stderr, by structlog.
LOG_LEVEL = environment.choice("CACHE_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR"))
ACCESS_LOG = environment.switch("CACHE_ACCESS_LOG", False)
LOGGING_CONFIG = "cacheservice.logs.configure"
LOGGING = {"level": LOG_LEVEL}
