"""`manage.py up`: the whole service on one machine, to try it out. Ctrl-C ends all of it."""

import os
import secrets
import signal
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand, CommandError, CommandParser, call_command
from django.db import DatabaseError, connections, transaction

from cacheservice import supervisor
from cacheservice.embedded import EmbeddedError, Server
from cacheservice.supervisor import Child, Failed, StopRequested

READY_SECONDS = 60.0
TAKE_OVER_SECONDS = 10.0  # for the processes of a killed run to leave the port
DEMO_TENANT, DEMO_EMAIL = "demo", "demo@example.com"


class Command(BaseCommand):
    help = "Run the service with an embedded PostgreSQL, a server and a worker, until Ctrl-C. For trying out."
    requires_system_checks = ()  # they want the secrets that this makes

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8000, help="port to listen on (default: %(default)s)")
        parser.add_argument("--workers", type=int, default=1, help="server processes (default: %(default)s)")

    def handle(self, *args: Any, host: str, port: int, workers: int, **options: Any) -> None:
        if not settings.LOCAL:
            raise CommandError("DATABASE_URL is set, and up runs a database of its own: unset it")
        try:
            with supervisor.stop_on_signals(), ExitStack() as running:
                self._run(running, host, port, workers)
        except StopRequested:
            self._say("Stopped.")
        except (Failed, EmbeddedError) as error:
            raise CommandError(str(error)) from None

    def _run(self, running: ExitStack, host: str, port: int, workers: int) -> None:
        """Everything started goes onto `running`, which stops it in the reverse order, whatever happens."""
        self._say(f"Checking {settings.VAR_DIR} and port {port}")
        self._make_directories()
        killed_run = running.enter_context(supervisor.only_run(settings.VAR_DIR / "up.lock"))
        if killed_run:
            self._say(f"Taking over from a run that was killed (pid {killed_run})")
        supervisor.require_free_port(host, port, patience=TAKE_OVER_SECONDS if killed_run else 0)
        self._make_secrets()

        database = self._start_database(running)
        self._migrate()
        beat, worker = self._start_beat_and_worker(running)
        os.environ.setdefault("CACHE_PUBLIC_URL", _base_url(host, port))
        server = self._start_server(running, host, port, workers)
        children = [server, worker, beat, database]
        self._say("Waiting until it is ready")
        supervisor.wait_until_ready(host, port, children, READY_SECONDS)

        self._announce(_base_url(host, port), self._make_demo_tenant())
        supervisor.watch(children)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()  # a pipe would hold it back

    def _make_directories(self) -> None:
        broker = settings.CELERY_BROKER_TRANSPORT_OPTIONS
        try:
            for path in (settings.VAR_DIR, settings.VAR_DIR / "log", *map(Path, broker.values())):
                path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=settings.VAR_DIR).close()
        except OSError as error:
            problem = f"cannot write to {error.filename or settings.VAR_DIR}: {error.strerror}"
            raise Failed(f"{problem}; CACHE_VAR_DIR chooses another directory") from None

    def _make_secrets(self) -> None:
        from accounts import keyring  # imports settings, which the command line must not need

        master_key_file = settings.LOCAL_MASTER_KEY_FILE
        if not master_key_file.exists() and (settings.VAR_DIR / "postgres").exists():
            fix = f"put it back, or start anew without {settings.VAR_DIR}"
            raise Failed(f"{master_key_file} is gone, and only it opens the data under {settings.VAR_DIR}: {fix}")
        if supervisor.make_secret_file(master_key_file, keyring.new_master_key_line()):
            self._say(f"Made {master_key_file}")
        if supervisor.make_secret_file(settings.LOCAL_SECRET_KEY_FILE, secrets.token_urlsafe(48)):
            self._say(f"Made {settings.LOCAL_SECRET_KEY_FILE}")
        settings.SECRET_KEY = settings.LOCAL_SECRET_KEY_FILE.read_text().strip()  # settings were loaded before it

    def _start_database(self, running: ExitStack) -> Child:
        self._say("Starting PostgreSQL")
        server = Server(settings.VAR_DIR)
        server.start()
        running.callback(server.stop)
        assert server.process is not None  # noqa: S101
        return Child("database", server.process, server.log_path)

    def _migrate(self) -> None:
        self._say("Applying migrations")
        try:
            call_command("migrate", verbosity=0, interactive=False)
        except DatabaseError as error:
            raise Failed(f"the migrations failed: {str(error).strip().splitlines()[0]}") from error
        finally:
            connections.close_all()  # else they stay open for as long as we wait

    def _start_beat_and_worker(self, running: ExitStack) -> tuple[Child, Child]:
        """Tasks may die midway without harm, and Celery's own end takes seconds: too long when we were killed."""
        self._say("Starting the worker")
        beat = supervisor.beat_command(settings.VAR_DIR / "celerybeat-schedule")
        return (
            self._start(running, "beat", beat, signal.SIGKILL),
            self._start(running, "worker", supervisor.worker_command(), signal.SIGKILL),
        )

    def _start_server(self, running: ExitStack, host: str, port: int, workers: int) -> Child:
        self._say("Starting the server")
        return self._start(running, "server", supervisor.server_command(host, port, workers), signal.SIGTERM)

    def _start(self, running: ExitStack, name: str, command: list[str], death_signal: int) -> Child:
        log_path = settings.VAR_DIR / "log" / f"{name}.log"
        directory = settings.BASE_DIR
        child = Child.start(name, command, log_path=log_path, directory=directory, death_signal=death_signal)
        running.callback(child.stop)
        return child

    def _make_demo_tenant(self) -> tuple[str, str] | None:
        """API key and password of the tenant made on the first start: only now are they known in clear. Later None."""
        from accounts import keys
        from accounts.models import SCOPES, Tenant
        from billing.tenants import create_tenant
        from console.tenancy import add_owner

        try:
            with transaction.atomic():
                if Tenant.objects.filter(name=DEMO_TENANT).exists():
                    return None
                tenant = create_tenant(DEMO_TENANT, "manage.py up", "self-hosted")
                _, token = keys.create_api_key(tenant, name="demo", scopes=list(SCOPES), actor="manage.py up")
                password = secrets.token_urlsafe(12)
                add_owner(tenant, DEMO_EMAIL, password)
                return token, password
        finally:
            connections.close_all()

    def _announce(self, base_url: str, made: tuple[str, str] | None) -> None:
        token, password = made or (None, None)
        if token:
            key_line = f"{token}  (shown only now: keep it)"
            login_line = f"{DEMO_EMAIL}, password {password}  (shown only now: keep it)"
        else:
            key_line = f"the one you have; another: .venv/bin/python manage.py create_api_key {DEMO_TENANT}"
            login_line = f"{DEMO_EMAIL}; another password: .venv/bin/python manage.py changepassword {DEMO_EMAIL}"
        authorization = f'-H "Authorization: Bearer {token or "$CACHE_API_KEY"}"'
        url = f"{base_url}/api/v1/cache/greeting"
        body = """-H "Content-Type: application/json" -d '{"value": {"text": "Hello!"}, "ttl": 3600}'"""
        set_key = "" if token else " (after: export CACHE_API_KEY=<your API key>)"
        self._say(
            f"\nReady. Ctrl-C stops everything.\n\n"
            f"  API      {base_url}/api/v1\n"
            f"  Console  {base_url}/console/\n"
            f"  Docs     {base_url}/docs\n"
            f"  Logs     {settings.VAR_DIR / 'log'}; e-mails are printed into server.log there\n"
            f"  API key  {key_line}\n"
            f"  Login    {login_line}\n\n"
            f"Write an entry, then read it{set_key}:\n\n"
            f"  curl -X PUT {url} {authorization} {body}\n"
            f"  curl {url} {authorization}\n"
        )


def _base_url(host: str, port: int) -> str:
    """What to type: `localhost` wherever it leads here, because cookies and passkeys want a name."""
    here = {"127.0.0.1", "0.0.0.0", "::", "::1"}  # noqa: S104
    name = "localhost" if host in here else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
