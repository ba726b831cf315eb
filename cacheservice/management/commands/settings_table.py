"""`manage.py settings_table`: the tables of docs/settings.md, from what configuration.py declares."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management import BaseCommand

from cacheservice.environment import Declaration, Section

PAGE: Path = settings.BASE_DIR / "docs" / "settings.md"
BEGIN, END = "<!-- settings: written by manage.py settings_table -->\n", "<!-- end of settings -->\n"


class Command(BaseCommand):
    help = "Write the tables of docs/settings.md from the declarations in cacheservice/configuration.py."
    requires_system_checks = ()  # it is for whoever just wrote a declaration

    def handle(self, *args: Any, **options: Any) -> None:
        PAGE.write_text(page(PAGE.read_text()))


def page(text: str) -> str:
    """The page with its tables made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return before + BEGIN + "\n" + "\n".join(map(_table, Section.all)) + "\n" + END + after


def _table(section: Section) -> str:
    rows = "".join(f"{_row(declaration)}\n" for declaration in section.declarations)
    return f"## {section.title}\n\n| variable | value | default | meaning |\n|---|---|---|---|\n{rows}"


def _row(declaration: Declaration) -> str:
    value = f"{declaration.value}, **secret**" if declaration.secret else declaration.value
    return f"| `{declaration.variable}` | {value} | {_default(declaration.default)} | {declaration.meaning} |"


def _default(text: str | None) -> str:
    if not text:
        return "–"
    return text if text.startswith("–") or "`" in text else f"`{text}`"
