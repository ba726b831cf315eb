"""The commands together, and how the program ends."""

import sys
import traceback
from typing import Annotated

import typer

from cacheservice_client.cli import account, bulk, entries, exits, login, output
from cacheservice_client.errors import CacheError
from cacheservice_client.version import __version__

# Without rich's markup, help and errors are plain text, on every terminal and in every log.
app = typer.Typer(
    name="cachectl",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_ENVIRONMENT = """\
Environment:
  CACHE_URL, CACHE_API_KEY  win over what `cachectl login` stored
  NO_COLOR                  no colour; there is none off a terminal anyway"""


def _version(asked: bool) -> None:
    if asked:
        output.line(f"cachectl {__version__}")
        raise typer.Exit


@app.callback(epilog="\b\n" + _ENVIRONMENT + "\n\n\b\n" + exits.TABLE)
def cachectl(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Read, write, list, delete, import and export the entries of a cacheservice, and see what they save."""


app.command()(login.login)
app.command()(entries.get)
app.command()(entries.put)
app.command()(entries.rm)
app.command()(entries.ls)
app.command()(entries.purge)
app.command()(account.stats)
app.command()(account.usage)
app.command("import")(bulk.import_)
app.command("export")(bulk.export)


def main() -> None:
    sys.exit(_code())


def _code() -> int:
    try:
        code = int(app(prog_name="cachectl", standalone_mode=False) or 0)
        if code == exits.INTERRUPTED:  # how newer versions of typer pass on KeyboardInterrupt
            output.note("cachectl: interrupted")
        return code
    except exits.Failure as failure:
        output.note(f"cachectl: {failure.message}")
        return failure.code
    except CacheError as error:
        output.note(f"cachectl: {error}")
        return exits.code_of(error)
    except (KeyboardInterrupt, typer.Abort):
        output.note("cachectl: interrupted")
        return exits.INTERRUPTED
    except ValueError as error:  # what the library refuses without asking the service
        output.note(f"cachectl: {error}")
        return exits.USAGE
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer's own errors have in common in all of its versions
            traceback.print_exc()
            return exits.BUG
        output.note(f"cachectl: {error.format_message()} (cachectl --help)")
        return exits.USAGE
