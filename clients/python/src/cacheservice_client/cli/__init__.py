"""`cachectl`, the command line of the service: `pip install "cacheservice-client[cli]"`.

`app` has the commands, one module for each group of them; `main` here runs them.
"""

import sys


def main() -> None:
    try:
        import typer  # noqa: F401  the extra's; the library itself does without it
    except ImportError:
        print('cachectl: pip install "cacheservice-client[cli]" installs what it needs', file=sys.stderr)  # noqa: T201
        sys.exit(2)
    from cacheservice_client.cli.app import main as run

    run()
