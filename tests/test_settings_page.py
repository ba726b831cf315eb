"""docs/settings.md is what is declared, and nothing reads the environment but by a declaration."""

import re

from django.conf import settings

from cacheservice import configuration, environment
from cacheservice.management.commands.settings_table import PAGE, page
from tests.processes import ROOT
from tests.test_settings import run


def test_the_page_is_what_is_declared() -> None:
    text = PAGE.read_text()
    assert page(text) == text, "run: .venv/bin/python manage.py settings_table"
    for declared in environment.declarations():
        assert text.count(f"| `{declared.variable}` |") == 1


def test_the_page_does_not_depend_on_where_it_is_written() -> None:
    """The defaults of the local mode, and those that an issuer makes necessary, are told in words."""
    script = "import django; django.setup(); from cacheservice.management.commands import settings_table; "
    script += "print(settings_table.page(''))"
    local = {"DATABASE_URL": None, "CACHE_SECRET_KEY": None, "CACHE_MASTER_KEY": None}
    oidc = {"CACHE_OIDC_ISSUER": "https://login.example", "CACHE_OIDC_CLIENT_ID": "a", "CACHE_OIDC_CLIENT_SECRET": "b"}
    done = run({"DJANGO_SETTINGS_MODULE": "cacheservice.settings", **local, **oidc}, "-c", script)
    assert done.stdout == page("") + "\n", done.stderr


def test_nothing_else_reads_the_environment() -> None:
    """So that no setting can be forgotten here. What makes the environment of other programs may read it whole."""
    whole = {"cacheservice/supervisor.py", "cacheservice/embedded.py", "cacheservice/environment.py"}
    whole.add("cacheservice/tracing.py")  # OpenTelemetry's own variables, by their standard names
    starts = {"cacheservice/asgi.py", "cacheservice/celery.py", "cacheservice/management/commands/up.py"}
    for directory in ("accounts", "billing", "cacheservice", "console", "gateway"):
        for path in (ROOT / directory).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            reads = re.findall(r"\bgetenv\b|\benviron\b(?!\.setdefault)", path.read_text())
            assert not reads or name in whole, f"{name} reads the environment: declare a setting in configuration.py"
            assert "environ.setdefault" not in path.read_text() or name in starts, name


def test_each_is_one_of_djangos_settings_by_the_same_name() -> None:
    names = [name for name in vars(configuration) if name.isupper()]
    assert len(names) > 30
    for name in set(names) - {"SECRET_KEY", "MASTER_KEY", "MASTER_KEY_FILE", "CELERY_BROKER_URL", "DATABASE_URL"}:
        assert getattr(settings, name) == getattr(configuration, name), name


def test_secrets_are_marked() -> None:
    secret = {declared.variable for declared in environment.declarations() if declared.secret}
    telling = re.compile(r"SECRET|PASSWORD|KEY|TOKEN|DATABASE_URL|REPLICA_URL|BROKER")
    assert secret == {d.variable for d in environment.declarations() if telling.search(d.variable)}
