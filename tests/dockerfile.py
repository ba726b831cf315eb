"""Reads a Dockerfile into its instructions: only those that ours uses, in the forms in which it uses them.

Anything else is an error, so that nothing is taken for run or checked that was only skipped.
"""

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import ROOT

PATH = ROOT / "deploy" / "docker" / "Dockerfile"
_INSTRUCTION = re.compile(r"([A-Z]+)\s+(.*)", re.DOTALL)
_MOUNT = re.compile(r"--mount=type=secret,id=([a-z]+),target=(\S+)\s+")
_HEALTHCHECK = re.compile(r"((?:--[a-z-]+=\S+\s+)*)CMD\s+(\[.*\])", re.DOTALL)


class Unknown(Exception):
    """The Dockerfile has something that is not understood here."""


@dataclass(frozen=True)
class Run:
    command: str
    secrets: Mapping[str, str]  # where each is mounted, by its id
    environment: Mapping[str, str]  # this and the next two: as they stand at this step
    directory: str
    user: str


@dataclass(frozen=True)
class Copy:
    sources: tuple[str, ...]
    target: str
    stage: str | None  # None: of the build's context


@dataclass
class Stage:
    """What one FROM begins. What follows its steps is as it stands at the end."""

    base: str
    name: str | None
    steps: list[Run | Copy] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    directory: str = "/"
    user: str = "0:0"
    ports: list[str] = field(default_factory=list)
    entrypoint: list[str] = field(default_factory=list)
    command: list[str] = field(default_factory=list)
    health_options: dict[str, str] = field(default_factory=dict)
    health_command: list[str] = field(default_factory=list)
    stop_signal: str = "SIGTERM"


def read(path: Path = PATH) -> list[Stage]:
    """Its stages, the last of which is the image. Raises Unknown."""
    arguments: dict[str, str] = {}
    stages: list[Stage] = []
    for line in _logical_lines(path.read_text()):
        match = _INSTRUCTION.fullmatch(line)
        if match is None:
            raise Unknown(line)
        name, rest = match[1], match[2].strip()
        if name == "ARG" and not stages:
            key, _, value = rest.partition("=")
            arguments[key] = value
        elif name == "FROM":
            words = rest.split()
            if len(words) not in (1, 3) or words[1:2] not in ([], ["AS"]):
                raise Unknown(line)
            base = arguments[words[0][1:]] if words[0].startswith("$") else words[0]
            stages.append(Stage(base, words[2] if len(words) == 3 else None))
        elif stages:
            _apply(stages[-1], name, rest)
        else:
            raise Unknown(line)
    return stages


def _apply(stage: Stage, name: str, rest: str) -> None:
    match name:
        case "RUN":
            secrets = {}
            while mount := _MOUNT.match(rest):
                secrets[mount[1]] = mount[2]
                rest = rest[mount.end() :]
            if rest.startswith(("--", "[")):
                raise Unknown(f"RUN {rest}")
            stage.steps.append(Run(rest, secrets, dict(stage.environment), stage.directory, stage.user))
        case "COPY":
            words = rest.split()
            source_stage = words.pop(0).removeprefix("--from=") if words[0].startswith("--from=") else None
            if len(words) < 2 or any(word.startswith("--") or set(word) & set("*?[") for word in words):
                raise Unknown(f"COPY {rest}")
            stage.steps.append(Copy(tuple(words[:-1]), words[-1], source_stage))
        case "ENV":
            for pair in shlex.split(rest):
                key, separator, value = pair.partition("=")
                if not separator or "$" in value:
                    raise Unknown(f"ENV {rest}")
                stage.environment[key] = value
        case "WORKDIR":
            stage.directory = rest
        case "USER":
            stage.user = rest
        case "EXPOSE":
            stage.ports += rest.split()
        case "STOPSIGNAL":
            stage.stop_signal = rest
        case "ENTRYPOINT":
            stage.entrypoint = json.loads(rest)
        case "CMD":
            stage.command = json.loads(rest)
        case "HEALTHCHECK":
            match_ = _HEALTHCHECK.fullmatch(rest)
            if match_ is None:
                raise Unknown(f"HEALTHCHECK {rest}")
            stage.health_options = dict(each[2:].split("=", 1) for each in match_[1].split())
            stage.health_command = json.loads(match_[2])
        case _:
            raise Unknown(f"{name} {rest}")


def _logical_lines(text: str) -> list[str]:
    """Without comments and empty lines; those that end with a backslash go on in the next."""
    kept = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return "\n".join(kept).replace("\\\n", "").split("\n")
