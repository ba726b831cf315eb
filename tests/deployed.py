"""What the tests of deploy/ share: its files, and which variables a process of ours may be given."""

from typing import Any

import yaml

from cacheservice import environment
from tests.processes import ROOT

DEPLOY = ROOT / "deploy"


def documents(path: str) -> list[Any]:
    """The documents of a YAML file under deploy/."""
    return [document for document in yaml.safe_load_all((DEPLOY / path).read_text()) if document is not None]


def unknown_variables(names: list[str]) -> list[str]:
    """Those that are no setting, by their own name or with `_FILE`."""
    known = {declaration.variable for declaration in environment.declarations()}
    return [name for name in names if not {name, name.removesuffix("_FILE")} & known]
