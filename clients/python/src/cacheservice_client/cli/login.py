"""`cachectl login`."""

import getpass
import sys
from typing import Annotated
from urllib.parse import urlsplit

import typer

from cacheservice_client.cli import credentials, exits, output
from cacheservice_client.cli.credentials import Credentials
from cacheservice_client.cli.service import Service
from cacheservice_client.errors import Forbidden

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def login(
    url: Annotated[str | None, typer.Option(help="The service's URL; else CACHE_URL, or the stored one.")] = None,
) -> None:
    """Check an API key and keep it, with the URL, in a file that only you can read.

    The key is asked for without showing it, or read from stdin: cachectl login --url … < file
    """
    url = url or credentials.variable("CACHE_URL") or _stored_url() or _asked_url()
    given = Credentials(url, _key())
    service = Service(given)  # refuses a URL or key that cannot be one, and a URL that has a password to show
    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
        output.note(f"cachectl: warning: {url} is not https: the key and all values go unencrypted")
    try:
        account = service.json("/api/v1/account")
        known = f"tenant {account['tenant']['name']}, key {account['api_key']['name']}"
    except Forbidden:  # only a good key is told that
        known = "a key without the scope read"
    credentials.store(given)
    output.note(f"Logged in to {url}: {known}. Stored in {credentials.path()}")
    if credentials.variable("CACHE_API_KEY"):
        output.note("cachectl: warning: CACHE_API_KEY is set in the environment, and wins over what is stored")


def _stored_url() -> str | None:
    try:
        stored = credentials.stored()
    except exits.Failure:  # damaged, and about to be replaced
        return None
    return stored.url if stored else None


def _asked_url() -> str:
    if not sys.stdin.isatty():
        raise exits.Failure("which service? give --url, or set CACHE_URL")
    return str(typer.prompt("URL of the service", err=True)).strip()


def _key() -> str:
    text = getpass.getpass("API key: ") if sys.stdin.isatty() else sys.stdin.readline()
    if not text.strip():
        raise exits.Failure("no API key was given")
    return text.strip()
