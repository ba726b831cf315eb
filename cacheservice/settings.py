"""Django's settings. What is set from outside is declared in configuration.py, and is here under the same names.

Without `DATABASE_URL` this is the local mode of `manage.py up`: the embedded PostgreSQL, the secrets and the broker
live under `var/`. With it this is production: every secret must be given, and nothing has a default that is secret.
"""

from typing import Any
from urllib.parse import urlsplit

import psycopg
from celery.schedules import crontab
from csp import constants as csp
from django.core.exceptions import ImproperlyConfigured
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from cacheservice import configuration, embedded
from cacheservice.configuration import *  # noqa: F403  so that a setting is declared in one place only
from cacheservice.configuration import EMAIL_HOST, LOCAL, OIDC_ISSUER, PUBLIC_URL, VAR_DIR

# Secrets. In local mode `manage.py up` makes both files with mode 0600 before anything reads them.
LOCAL_SECRET_KEY_FILE = VAR_DIR / "secret.key"
LOCAL_MASTER_KEY_FILE = VAR_DIR / "master.key"
if LOCAL:
    SECRET_KEY = LOCAL_SECRET_KEY_FILE.read_text().strip() if LOCAL_SECRET_KEY_FILE.exists() else ""
    MASTER_KEY, MASTER_KEY_FILE = "", LOCAL_MASTER_KEY_FILE
else:
    SECRET_KEY = configuration.SECRET_KEY
    if len(SECRET_KEY) < 32 or len(set(SECRET_KEY)) < 8:
        raise ImproperlyConfigured("CACHE_SECRET_KEY must be at least 32 random characters")
    if not configuration.MASTER_KEY.strip():
        raise ImproperlyConfigured("CACHE_MASTER_KEY is not set: set it, or CACHE_MASTER_KEY_FILE to a file with it")

DEBUG = False

# Database. The store opens its own connections from DATABASE_DSN; Django's serve commands, tasks and /readyz.
DATABASE_DSN = embedded.dsn(VAR_DIR) if LOCAL else configuration.DATABASE_URL


def _parsed(variable: str, dsn: str) -> dict[str, Any]:
    """The parts of a libpq connection string. Raises ImproperlyConfigured."""
    try:
        parts: dict[str, Any] = dict(conninfo_to_dict(make_conninfo(dsn)))
        ports = str(parts.get("port", "5432")).split(",")
        if not parts or not all(port.isdigit() for port in ports):
            raise ValueError
    except (psycopg.Error, ValueError):  # whose message may hold the password
        example = "postgresql://user:password@host/database"
        raise ImproperlyConfigured(f"{variable} is not a connection string such as {example}") from None
    return parts


def _django_database(parts: dict[str, Any]) -> dict[str, Any]:
    """Django's DATABASES entry for a libpq connection string."""
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


DATABASES = {"default": _django_database(_parsed("DATABASE_URL", DATABASE_DSN))}
if configuration.REPLICA_URL:
    _parsed("CACHE_REPLICA_URL", configuration.REPLICA_URL)
DATA_UPLOAD_MAX_MEMORY_SIZE = None  # http.BodyReader bounds bodies before Django sees them
FILE_UPLOAD_MAX_MEMORY_SIZE = 1 << 40  # ... so Django need not put them into temporary files, in clear
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The console, and what a browser is told.
TLS = PUBLIC_URL.startswith("https://")
# Links in e-mails are made from the host that was asked for: no other name may get through. On one's own machine
# (tests, trying out) every name of it may.
_OWN_MACHINE = ["localhost", "127.0.0.1", "[::1]"]
_HOST = urlsplit(PUBLIC_URL).hostname or "localhost"
ALLOWED_HOSTS = _OWN_MACHINE if _HOST in ("localhost", "127.0.0.1", "::1") else [_HOST]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
# Django's own checks for production (`check --deploy`) that ask for what is not this service's to decide, or what
# checks.py says with the variable's name.
SILENCED_SYSTEM_CHECKS = [
    "security.W005",  # HSTS for subdomains: those of CACHE_PUBLIC_URL's host may be another's
    "security.W008",  # redirects to https: the proxy's (deploy/), which alone is reached in clear
    "security.W009",  # the secret key: cacheservice.W021
    "security.W021",  # HSTS preload: of a whole domain, as W005
]
if not TLS:  # cacheservice.E011, which all of these come from
    SILENCED_SYSTEM_CHECKS += ["security.W004", "security.W012", "security.W016"]
CSRF_FAILURE_VIEW = "console.problems.csrf_refused"
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TLS else None
SECURE_HSTS_SECONDS = 31_536_000 if TLS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# `__Host-`: only over TLS, only for this very host, so that no sibling domain can plant one.
SESSION_ENGINE = "accounts.sessions"
SESSION_COOKIE_NAME = "__Host-session" if TLS else "session"
CSRF_COOKIE_NAME = "__Host-csrf" if TLS else "csrf"
LANGUAGE_COOKIE_NAME = "__Host-language" if TLS else "language"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = TLS
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 86400
_OIDC_ORIGIN = [f"{urlsplit(OIDC_ISSUER).scheme}://{urlsplit(OIDC_ISSUER).netloc}"] if OIDC_ISSUER else []
CONTENT_SECURITY_POLICY = {
    "EXCLUDE_URL_PREFIXES": ["/api/", "/docs", "/static/"],
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'", csp.NONCE],
        "style-src": ["'self'", csp.NONCE],
        "img-src": ["'self'", "data:"],
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "manifest-src": ["'self'"],
        "form-action": ["'self'", *_OIDC_ORIGIN],  # browsers apply it to where a form's answer redirects to
        "frame-ancestors": ["'none'"],
        "base-uri": ["'none'"],
        "object-src": ["'none'"],
    },
}
# In the database, so that throttles hold over all server processes. The prefix tells its rows from those of Django's
# own database cache, which servers of an earlier version may still write during an upgrade.
CACHES = {
    "default": {"BACKEND": "cacheservice.throttle_counts.JSONCache", "LOCATION": "django_cache", "KEY_PREFIX": "json"}
}

# E-mails go to the console of the server process unless a server for them is named.
EMAIL_USE_TLS = bool(EMAIL_HOST)
EMAIL_TIMEOUT = 10
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if EMAIL_HOST else 'console'}.EmailBackend"
SERVER_EMAIL = configuration.DEFAULT_FROM_EMAIL

# Signing in: django-allauth. Its pages are under /console/account/.
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "CommonPasswordValidator", "NumericPasswordValidator")
] + [{"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}}]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "console:home"
ACCOUNT_ADAPTER = "console.signing_in.AccountAdapter"
ACCOUNT_FORMS = {
    "add_email": "console.account_forms.AddEmailForm",
    "change_password": "console.account_forms.ChangePasswordForm",
    "login": "console.account_forms.LoginForm",
    "reset_password": "console.account_forms.ResetPasswordForm",
    "reset_password_from_key": "console.account_forms.ResetPasswordKeyForm",
    "set_password": "console.account_forms.SetPasswordForm",
    "signup": "console.account_forms.SignupForm",
}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_UNIQUE_EMAIL = True
ACCOUNT_EMAIL_VERIFICATION = "optional"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_CONFIRM_EMAIL_ON_GET = False
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # for changes of the address and of connected accounts; all else asks anyway
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[cacheservice] "
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_RATE_LIMITS = {
    "login": "30/m/ip",
    "login_failed": "10/m/ip,5/5m/key",  # key: the e-mail address, whether anybody has it or not
    "signup": "10/h/ip",
    "reset_password": "10/m/ip,3/10m/key",
    "reauthenticate": "5/m/user",
    "manage_email": "10/m/user,20/h/ip",  # to change an unverified address tells whether another account has it
}
MFA_ADAPTER = "console.signing_in.MFAAdapter"
MFA_FORMS = {
    "activate_totp": "console.account_forms.ActivateTOTPForm",
    "add_webauthn": "console.account_forms.AddWebAuthnForm",
}
MFA_ALLOW_UNVERIFIED_EMAIL = True  # the forms above see to it
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "cacheservice"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not TLS
USERSESSIONS_TRACK_ACTIVITY = False  # console.sessions does, without a write for each request

# Signing in through the OpenID Connect provider too, if one is named.
SOCIALACCOUNT_ADAPTER = "console.signing_in.SocialAccountAdapter"
SOCIALACCOUNT_PROVIDERS: dict[str, Any] = {}
if OIDC_ISSUER:
    SOCIALACCOUNT_PROVIDERS["openid_connect"] = {
        "OAUTH_PKCE_ENABLED": True,
        "APPS": [
            {
                "provider_id": "oidc",
                "name": configuration.OIDC_NAME,
                "client_id": configuration.OIDC_CLIENT_ID,
                "secret": configuration.OIDC_CLIENT_SECRET,
                "settings": {"server_url": OIDC_ISSUER},
            }
        ],
    }

INSTALLED_APPS = [
    "console.admin_site.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "django_htmx",
    "csp",
    "console",  # before allauth: its templates replace those
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "accounts",
    "billing",
    "cacheservice",
    "cacheservice.entries",
    "gateway",
]
MIDDLEWARE = [
    "cacheservice.middleware.common_headers",
    "cacheservice.static_files.Middleware",
    "csp.middleware.CSPMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "accounts.sessions.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "console.sessions.track",
]
ROOT_URLCONF = "cacheservice.urls"
ASGI_APPLICATION = "cacheservice.asgi.application"
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "static/"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "cacheservice.static_files.Storage"},
}
WHITENOISE_USE_FINDERS = True  # files are served from their packages; no collectstatic to forget
WHITENOISE_ALLOW_ALL_ORIGINS = False  # CORS is off, for static files too
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
                "console.navigation.context",
            ]
        },
    }
]

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
CELERY_BROKER_URL = "filesystem://" if LOCAL else configuration.CELERY_BROKER_URL
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
    "alerts": {"task": "console.tasks.alerts", "schedule": 60.0, "options": {"expires": 55}},
    "drop old messages": {"task": "console.tasks.drop_old", "schedule": crontab(hour=2, minute=40)},
    "abandoned calls": {"task": "gateway.tasks.abandon", "schedule": 300.0, "options": {"expires": 290}},
    "drop old spend events": {"task": "gateway.tasks.drop_old", "schedule": crontab(hour=2, minute=50)},
    "tenant deletions": {"task": "console.tasks.delete_due_tenants", "schedule": crontab(minute="*/10")},
}

# Logs: JSON lines on stderr, by structlog.
LOGGING_CONFIG = "cacheservice.logs.configure"
LOGGING = {"level": configuration.LOG_LEVEL}
