"""Where `login` keeps the URL and the API key: in a file of the XDG configuration directory that only its owner reads.

The environment (CACHE_URL, CACHE_API_KEY) wins. There is no option for the key: `ps` and the shell's history would
show it.
"""

import json
import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cacheservice_client.cli import exits, output


@dataclass(frozen=True)
class Credentials:
    url: str
    api_key: str = field(repr=False)


def path() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME", "")
    # Relative ones are to be ignored: https://specifications.freedesktop.org/basedir-spec/latest/
    return (Path(base) if os.path.isabs(base) else Path.home() / ".config") / "cachectl" / "credentials.json"


def variable(name: str) -> str | None:
    return os.environ.get(name, "").strip() or None


def current() -> Credentials:
    """Raises Failure when the environment and the file together do not tell where to go with which key.

    A stored key goes to the URL that it was stored with and to no other.
    """
    url, api_key = variable("CACHE_URL"), variable("CACHE_API_KEY")
    if url and api_key:
        return Credentials(url, api_key)
    kept = stored()
    if kept is None:
        missing = "CACHE_API_KEY is not set" if url else "CACHE_URL is not set" if api_key else "not logged in"
        raise exits.Failure(f"{missing}: run `cachectl login`, or set CACHE_URL and CACHE_API_KEY", exits.AUTH)
    if api_key:
        return Credentials(kept.url, api_key)
    if url and url.rstrip("/") != kept.url.rstrip("/"):
        raise exits.Failure(
            f"CACHE_URL is {url}, but the stored key is for {kept.url}: set CACHE_API_KEY too, or log in there",
            exits.AUTH,
        )
    return kept


def stored() -> Credentials | None:
    try:
        with path().open(encoding="utf-8") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o077:
                output.note(f"cachectl: warning: others may read {path()}: chmod 600 it")
            content = json.load(file)
        return Credentials(str(content["url"]), str(content["api_key"]))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise exits.Failure(f"cannot read {path()}: {error.strerror}", exits.AUTH) from None
    except (ValueError, LookupError, TypeError):
        raise exits.Failure(f"{path()} is damaged: log in again", exits.AUTH) from None


def store(credentials: Credentials) -> None:
    """Replace the file at once, so that no one ever sees half of it, nor a moment in which others may read it."""
    place = path()
    try:
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor, temporary = tempfile.mkstemp(dir=place.parent, prefix=".credentials-")  # 0600
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"url": credentials.url, "api_key": credentials.api_key}, file)
                file.write("\n")
            os.replace(temporary, place)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
    except OSError as error:
        raise exits.Failure(f"cannot write {place}: {error.strerror}") from None
