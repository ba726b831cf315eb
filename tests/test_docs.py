"""The docs are in step with the code: every route, command and error code is described."""

import re
from pathlib import Path

from django.core.management import get_commands

from cacheservice import errors
from cacheservice.openapi import document
from tests.processes import ROOT

OURS = ("accounts", "billing", "cacheservice", "cacheservice.entries", "gateway")


def documented(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def test_every_path_of_the_api_is_described() -> None:
    for path in document()["paths"]:
        assert path.replace("{key}", ":key") in documented("api.md"), path


def test_every_command_is_described() -> None:
    commands = {name for name, app in get_commands().items() if app in OURS}
    described = set(re.findall(r"^\| `(\w+)", documented("operations.md"), re.MULTILINE))
    assert described == commands


def test_every_error_code_is_described() -> None:
    for error in errors.APIError.__subclasses__():
        assert f"| {error.status} | `{error.code}` |" in documented("api.md")


def test_every_dependency_is_described() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    names = re.findall(r'^    "([a-z-]+)', project, re.MULTILINE)
    described = documented("dependencies.md").lower()
    assert [name for name in names if name.split("-stubs")[0].replace("-types", "") not in described] == []


def test_every_linked_file_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} links to {target}"


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = sorted(int(path.name[:3]) for path in Path(ROOT / "docs" / "decisions").glob("*.md"))
    assert numbers == list(range(1, len(numbers) + 1))
