"""YAML text as plain values, with the place of every key.

It knows nothing of what the keys mean. The rule that must stay true: whatever a reader of the file would take for
one value is one value here, so a key written twice, an alias or a tag is a problem, never a silent choice.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from handoffd.config.problem import ConfigError, KeyPath, Problem, dotted, who_may_read

FILE_LIMIT_BYTES = 1 << 20
"""Thousands of peers; to read it takes seconds, in which the running daemon gets but half of a core."""
VALUE_LIMIT_CHARS = 2_048
"""Longer than any path or URL here; and what is a number up to here can be printed (Python stops at 4,300 digits)."""
_YAML = "tag:yaml.org,2002:"
_TEXT = f"{_YAML}str"
_BOOL = f"{_YAML}bool"
_TIMESTAMP = f"{_YAML}timestamp"
_PLAIN = {_TEXT, _TIMESTAMP, *(_YAML + kind for kind in ("int", "float", "bool", "null", "map", "seq"))}


@dataclass(frozen=True, slots=True)
class Position:
    """A line of a file, counted from 1."""

    file: Path
    line: int


@dataclass(frozen=True, slots=True)
class Source:
    """The values of a file, where each key and list item stands, and which of them a reader could mistake."""

    values: dict[str, Any]
    positions: dict[KeyPath, Position]
    problems: list[Problem]


class _Unreadable(yaml.YAMLError):
    def __init__(self, line: int, key: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.place = (line, key)
        self.words = (message, remedy)


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            line = int(self.get_mark().line) + 1
            raise _Unreadable(line, "", "an alias (*name) is not supported", "write the value out where it is used")
        return super().compose_node(parent, index)


class _Walk:
    """Turns one file's nodes into values; `problems` collects what need not stop it."""

    def __init__(self, file: Path, loader: _Loader) -> None:
        self.file = file
        self.loader = loader
        self.positions: dict[KeyPath, Position] = {}
        self.problems: list[Problem] = []

    def value(self, node: yaml.Node, key: KeyPath) -> Any:
        self.positions.setdefault(key, Position(self.file, _line(node)))
        if node.tag not in _PLAIN:
            self._complain(node, key, f"the tag {node.tag} is not supported", "write the plain value, text in quotes")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*key, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: yaml.MappingNode, key: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else None
            if name is None or name_node.tag != _TEXT:
                self._complain(name_node, key, f"the key {name or '?'} is not text", "put the key in quotes")
            elif name in values:
                first = self.positions[(*key, name)].line
                self._complain(name_node, (*key, name), f"written twice (first in line {first})", "keep one of the two")
            else:
                self.positions[(*key, name)] = Position(self.file, _line(name_node))
                values[name] = self.value(value_node, (*key, name))
        return values

    def _scalar(self, node: yaml.Node, key: KeyPath) -> Any:
        if len(node.value) > VALUE_LIMIT_CHARS:
            self._complain(node, key, f"has more than {VALUE_LIMIT_CHARS} characters", "write something shorter")
        elif not _is_text(node.value):
            self._complain(node, key, "holds what is no character", r"leave out \0 and halves of surrogate pairs")
        elif node.tag == _TIMESTAMP:
            return node.value  # no key wants a date; the author meant text
        else:
            try:
                return self.loader.construct_object(node)
            except (ValueError, LookupError, ArithmeticError):  # a tag: `!!bool maybe`; a time: 1:1:1:…
                kind = "true or false" if node.tag == _BOOL else "a number"
                self._complain(node, key, f"{node.value!r} is not {kind}", "put it in quotes if it is text")
        return None

    def _complain(self, node: yaml.Node, key: KeyPath, message: str, remedy: str) -> None:
        self.problems.append(Problem(self.file, _line(node), dotted(key), message, remedy))


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _is_text(value: str) -> bool:
    """Tell whether the operating system can be told of it, as the name of a file or a program's argument."""
    return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)


def read_source(file: Path) -> Source:
    """Read one YAML mapping. Raises ConfigError."""
    try:
        _check_status(file, file.stat())  # before the open: a FIFO would wait for a writer
        text = file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise _failure(file, None, "is not UTF-8", f"save it as UTF-8 (byte {error.start} is wrong)") from None
    except FileNotFoundError:
        raise _failure(file, None, "does not exist", "run `handoffd init`, or name another with --config") from None
    except PermissionError as error:
        message = f"can't be read ({error.strerror})"
        raise ConfigError([Problem(file, None, "", message, who_may_read(file), closed=True)]) from None
    except OSError as error:
        raise _failure(file, None, f"can't be read ({error.strerror})", f"look at it: ls -l {file}") from None
    return parse_source(file, text)


def _check_status(file: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise _failure(file, None, "is a directory", f"name the file in it: {file / 'handoffd.yaml'}")
    if not stat.S_ISREG(status.st_mode):
        raise _failure(file, None, "is not a regular file", "name one")
    if status.st_size > FILE_LIMIT_BYTES:
        words = f"has {status.st_size} bytes, and a configuration at most {FILE_LIMIT_BYTES}"
        raise _failure(file, None, words, "name the right file")
    if status.st_mode & stat.S_IWOTH:
        raise _failure(file, None, "may be written by anybody", f"chmod o-w {file}")


def parse_source(file: Path, text: str) -> Source:
    """Read one YAML mapping from the text of a file, written or yet to be. Raises ConfigError."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            message = "is empty" if node is None else "is not a mapping of keys"
            raise _failure(file, None, message, "write `host: NAME` and so on, one key a line")
        walk = _Walk(file, loader)
        values = walk.value(node, ())
    except _Unreadable as error:
        line, key = error.place
        raise ConfigError([Problem(file, line, key, *error.words)]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        remedy = (
            "indent with spaces, not with tabs" if "'\\t'" in str(error.problem) else "check indentation and quotes"
        )
        raise _failure(file, mark.line + 1 if mark else None, _sentence(error), remedy) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise _failure(file, None, f"is not YAML ({' '.join(str(error).split())[:200]})", "check this file") from None
    return Source(values, walk.positions, walk.problems)


def _sentence(error: yaml.MarkedYAMLError) -> str:
    began, found = error.context_mark, error.problem_mark
    context = error.context
    if context and began is not None and found is not None and began.line != found.line:
        context += f" that begins in line {began.line + 1}:"
    return f"is not YAML ({' '.join(filter(None, (context, error.problem)))})"


def _failure(file: Path, line: int | None, message: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(file, line, "", message, remedy)])
