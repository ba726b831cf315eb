"""Typed reading of environment variables that fails loudly, naming the variable and the fix, and says what there is.

Every variable may instead be given as a file: `NAME_FILE` holds the path, as container secrets do.

A `Section` both reads a setting and remembers its declaration, from which docs/settings.md is written.
"""

import os
from pathlib import Path
from typing import ClassVar, NamedTuple

from django.core.exceptions import ImproperlyConfigured

from accounts.networks import Network
from accounts.networks import parse as parse_network


class Declaration(NamedTuple):
    """What a variable is. `default` is as a person would give it; None: it must be given."""

    variable: str
    value: str
    default: str | None
    meaning: str
    secret: bool


class Section:
    """Settings of one concern. Each method reads a variable and declares it, under the same rules.

    `shown` stands in the page where the default depends on others; "" there and as a default means none.
    """

    all: ClassVar[list["Section"]] = []

    def __init__(self, title: str) -> None:
        self.title = title
        self.declarations: list[Declaration] = []
        Section.all.append(self)

    def text(
        self, variable: str, default: str | None, meaning: str, *, secret: bool = False, shown: str | None = None
    ) -> str:
        """Raises ImproperlyConfigured when nothing is set and `default` is None, or the file cannot be read."""
        self._declare(variable, "text", default, meaning, secret=secret, shown=shown)
        return text(variable, default)

    def integer(self, variable: str, default: int, meaning: str, *, least: int = 1, most: int | None = None) -> int:
        """Raises ImproperlyConfigured for what is no integer from `least` to `most`."""
        value = f"integer, {least} or more" if most is None else f"integer, {least} to {most}"
        self._declare(variable, value, str(default), meaning)
        return integer(variable, default, least=least, most=most)

    def switch(self, variable: str, default: bool, meaning: str, *, shown: str | None = None) -> bool:
        """Raises ImproperlyConfigured for what is neither `on` nor `off`."""
        self._declare(variable, "`on` or `off`", "on" if default else "off", meaning, shown=shown)
        return switch(variable, default)

    def choice(self, variable: str, default: str, choices: tuple[str, ...], meaning: str) -> str:
        """One of `choices`, which are in capitals. Raises ImproperlyConfigured for any other word."""
        self._declare(variable, ", ".join(f"`{word}`" for word in choices), default, meaning)
        return choice(variable, default, choices)

    def networks(self, variable: str, meaning: str) -> tuple[Network, ...]:
        """Raises ImproperlyConfigured for what is no network."""
        self._declare(variable, "networks", "", meaning)
        return networks(variable)

    def _declare(
        self,
        variable: str,
        value: str,
        default: str | None,
        meaning: str,
        *,
        secret: bool = False,
        shown: str | None = None,
    ) -> None:
        self.declarations.append(
            Declaration(variable, value, default if shown is None else shown, " ".join(meaning.split()), secret)
        )


def declarations() -> list[Declaration]:
    """All that were made, in their order."""
    return [declaration for section in Section.all for declaration in section.declarations]


def names(prefix: str) -> list[str]:
    """Of all variables, those that begin so, in order."""
    return sorted(name for name in os.environ if name.startswith(prefix))


def is_given(name: str) -> bool:
    """Whether the variable is set, as itself or as a file."""
    return name in os.environ or f"{name}_FILE" in os.environ


def file_of(name: str) -> Path | None:
    """The file that the variable is read from, None if it is not."""
    path = os.environ.get(f"{name}_FILE")
    return Path(path) if path and name not in os.environ else None


def text(name: str, default: str | None = None) -> str:
    """The variable's value, else the content of the file that `NAME_FILE` names, else `default`.

    Raises ImproperlyConfigured when nothing is set and there is no default, or when the file cannot be read.
    """
    if name in os.environ:
        return os.environ[name]
    if path := file_of(name):
        try:
            return path.read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ImproperlyConfigured(f"{name}_FILE: {path} is no text in UTF-8") from None
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set: set it, or {name}_FILE to a file that holds it")
    return default


def integer(name: str, default: int, *, least: int = 1, most: int | None = None) -> int:
    """The variable as an integer from `least` to `most`. Raises ImproperlyConfigured otherwise."""
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be an integer, not {value!r}") from None
    if number < least:
        raise ImproperlyConfigured(f"{name} must be at least {least}, not {number}")
    if most is not None and number > most:
        raise ImproperlyConfigured(f"{name} must be at most {most}, not {number}")
    return number


def switch(name: str, default: bool) -> bool:
    """The variable as on or off. Raises ImproperlyConfigured for any other word."""
    value = text(name, "on" if default else "off").lower()
    if value not in ("on", "off"):
        raise ImproperlyConfigured(f"{name} must be 'on' or 'off', not {value!r}")
    return value == "on"


def choice(name: str, default: str, choices: tuple[str, ...]) -> str:
    """The variable as one of `choices`, which are in capitals. Raises ImproperlyConfigured for any other word."""
    value = text(name, default).upper()
    if value not in choices:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(choices)}, not {value!r}")
    return value


def networks(name: str) -> tuple[Network, ...]:
    """The variable as networks or addresses, separated by commas. Raises ImproperlyConfigured for what is none."""
    try:
        return tuple(parse_network(part) for part in text(name, "").replace(",", " ").split())
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}, separated by commas") from None
