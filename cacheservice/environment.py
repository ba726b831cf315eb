"""Typed reading of environment variables that fails loudly, naming the variable and the fix.

Every variable may instead be given as a file: `NAME_FILE` holds the path, as container secrets do.
"""

import os
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured


def text(name: str, default: str | None = None) -> str:
    """The variable's value, else the content of the file that `NAME_FILE` names, else `default`.

    Raises ImproperlyConfigured when nothing is set and there is no default, or when the file cannot be read.
    """
    if name in os.environ:
        return os.environ[name]
    if path := os.environ.get(f"{name}_FILE"):
        try:
            return Path(path).read_text().strip()
        except OSError as error:
            raise ImproperlyConfigured(f"{name}_FILE: cannot read {path}: {error.strerror}") from error
    if default is None:
        raise ImproperlyConfigured(f"{name} is not set: set it, or {name}_FILE to a file that holds it")
    return default


def integer(name: str, default: int, *, least: int = 1) -> int:
    """The variable as an integer of at least `least`. Raises ImproperlyConfigured otherwise."""
    value = text(name, str(default))
    try:
        number = int(value)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be an integer, not {value!r}") from None
    if number < least:
        raise ImproperlyConfigured(f"{name} must be at least {least}, not {number}")
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


def networks(name: str) -> list[IPv4Network | IPv6Network]:
    """The variable as networks in CIDR notation, separated by commas. Raises ImproperlyConfigured for what is none."""
    try:
        return [ip_network(part.strip()) for part in text(name, "").split(",") if part.strip()]
    except ValueError as error:
        raise ImproperlyConfigured(f"{name}: {error}; give networks such as 10.0.0.0/8, separated by commas") from None
