"""From a configuration file to a `Config`: read, validate, compare, open what it names.

It owns the order of these steps and the directory that relative names start from. The rule that must stay true: a
`Config` is returned only if nothing at all is wrong; else every problem of the first step that found one is told.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from handoffd.clock import SystemClock
from handoffd.config.assembly import Assembly
from handoffd.config.complaint import position_of, problems_of
from handoffd.config.model import Config
from handoffd.config.problem import ConfigError, KeyPath, Problem, dotted, who_may_read
from handoffd.config.rule import Finding, broken_rules, mixed_up_material
from handoffd.config.schema import Document, PeerFile
from handoffd.config.source import Position, Source, parse_source, read_source

PEER_DIRECTORY = "peers.d"

M = TypeVar("M", bound=BaseModel)


def load(path: Path, *, root: Path | None = None, now_s: float | None = None) -> Config:
    """Return the configuration of a file and of `peers.d/` beside it.

    `root` takes the place of the file's; certificates must be valid at `now_s`, by default now. Raises ConfigError.
    """
    path = Path(path).absolute()
    document, positions = _read(path, {})
    assembly = Assembly(path.parent, SystemClock().wall() if now_s is None else now_s)
    config = assembly.config(path, document, root)
    _refuse([*broken_rules(document), *assembly.findings, *mixed_up_material(config)], positions)
    return config


def read_document(path: Path, drafts: Mapping[Path, str] | None = None) -> Document:
    """Return what the keys say, without opening any file they name. Raises ConfigError.

    `drafts` are texts of files that are yet to be written; they count as if they were.
    """
    document, positions = _read(Path(path).absolute(), drafts or {})
    _refuse(broken_rules(document), positions)
    return document


def peer_files(path: Path) -> dict[str, Path]:
    """Return for each peer the file that configures it: this one, or one of `peers.d/`. Raises ConfigError."""
    _, positions = _read(Path(path).absolute(), {})
    return {str(key[1]): at.file for key, at in positions.items() if len(key) == 2 and key[0] == "peers"}


def in_order(problems: list[Problem]) -> list[Problem]:
    """Return problems in the order of the file."""
    return sorted(problems, key=lambda problem: (str(problem.file), problem.line or 0))


def _refuse(findings: Sequence[Finding], positions: Mapping[KeyPath, Position]) -> None:
    if findings:
        raise ConfigError(in_order([_problem(finding, positions) for finding in findings]))


def _read(path: Path, drafts: Mapping[Path, str]) -> tuple[Document, Mapping[KeyPath, Position]]:
    main = _source(path, drafts)
    problems: list[Problem] = []
    for file in _peer_files(path, drafts):
        try:
            problems += _add_peers(main, _source(file, drafts))
        except ConfigError as error:
            problems += error.problems
    try:
        document = _validated(Document, main)
    except ConfigError as error:
        raise ConfigError([*error.problems, *problems]) from None
    if problems:
        raise ConfigError(problems)
    return document, main.positions


def _source(file: Path, drafts: Mapping[Path, str]) -> Source:
    return parse_source(file, drafts[file]) if file in drafts else read_source(file)


def _peer_files(path: Path, drafts: Mapping[Path, str]) -> list[Path]:
    directory = path.parent / PEER_DIRECTORY
    names = []
    try:
        names = os.listdir(directory)  # not glob, to which a closed directory is an empty one
    except PermissionError as error:
        message = f"can't be read ({error.strerror})"
        raise ConfigError([Problem(directory, None, "", message, who_may_read(directory), closed=True)]) from None
    except OSError as error:
        if os.path.lexists(directory):
            remedy = "it must be a directory that the daemon's user can read"
            raise ConfigError([Problem(directory, None, "", f"can't be read ({error.strerror})", remedy)]) from None
    written = {directory / name for name in names if name.endswith(".yaml")}
    return sorted({*written, *(file for file in drafts if file.parent == directory)})


def _add_peers(main: Source, other: Source) -> list[Problem]:
    """Merge one machine-written file into the hand-written one's values. Raises ConfigError."""
    _validated(PeerFile, other)
    known = main.values.setdefault("peers", {})
    problems = []
    for name, peer in other.values["peers"].items():
        place = other.positions[("peers", name)]
        first = main.positions.get(("peers", name))
        if first is not None:
            message = f"is also in {first.file}, line {first.line}"
            problems.append(Problem(place.file, place.line, dotted(("peers", name)), message, "keep one of the two"))
        elif isinstance(known, dict):  # anything else is complained of when the whole is validated
            known[name] = peer
            main.positions.update({key: at for key, at in other.positions.items() if key[:2] == ("peers", name)})
    return problems


def _validated(model: type[M], source: Source) -> M:
    try:
        document = model.model_validate(source.values)
    except ValidationError as error:
        told = {problem.key for problem in source.problems}
        found = [each for each in problems_of(error, model, source.positions) if each.key not in told]
        raise ConfigError(in_order(source.problems + found)) from None
    if source.problems:
        raise ConfigError(source.problems)
    return document


def _problem(finding: Finding, positions: Mapping[KeyPath, Position]) -> Problem:
    place = position_of(finding.key, positions)
    message = finding.message
    if finding.other is not None:
        message += f" (line {position_of(finding.other, positions).line})"
    return Problem(place.file, place.line, dotted(finding.key), message, finding.remedy, finding.closed)
