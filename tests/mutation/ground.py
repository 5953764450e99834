"""A copy of the project in which some modules hold every mutant of themselves beside the original.

The mutants are mutmut's, and so is the switch in the copy that picks one of them at each call. What runs them is
plugin.py: it loads the tests once, where mutmut's own runner loads them anew for each mutant.
"""

import ast
import contextlib
import difflib
import json
import re
import shutil
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from multiprocessing import Pool
from pathlib import Path

from mutmut.mutation.file_mutation import mutate_file_contents

REPOSITORY = Path(__file__).parents[2]
COPY = REPOSITORY / "build" / "mutation"
MADE = REPOSITORY / "build" / "mutants"
"""Mutants once made, by the module's text: to make them takes longer than to run the tests."""


@dataclass(frozen=True)
class Mutant:
    """One small change. `name` is mutmut's, as in `handoffd.protocol.name.x_peer__mutmut_3`."""

    module: str
    source: str
    """SHA-256 of the module's text: what was found out of a mutant holds as long as this stays."""
    name: str
    change: str
    """The lines taken away and put in, by the depth they have in their function."""
    lines: tuple[int, int]
    """First and last line of what is changed, in the copy, where the original stands: a statement or a function."""


def prepare(modules: Sequence[str]) -> list[Mutant]:
    """Copy the project, put the mutants of the modules into the copy, and return them in the order of their lines."""
    shutil.rmtree(COPY, ignore_errors=True)
    shutil.copytree(REPOSITORY / "daemon" / "handoffd", COPY / "handoffd", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tests", "docs", "config"):
        shutil.copytree(REPOSITORY / name, COPY / name, ignore=shutil.ignore_patterns("__pycache__"))
    project = (REPOSITORY / "pyproject.toml").read_text()
    settings = '[tool.mutmut]\nsource_paths = ["handoffd"]\ntrack_dependencies = false\n'
    (COPY / "pyproject.toml").write_text(f"{project}\n{settings}")
    with contextlib.chdir(COPY), Pool() as pool:  # mutmut reads its settings in the current directory
        return [
            mutant for made in pool.map(mutate, [path for name in modules for path in files(name)]) for mutant in made
        ]


def files(module: str) -> list[Path]:
    """Return the files in the copy of `package` or `package/module`."""
    place = COPY / "handoffd" / module
    return sorted(place.glob("[a-z]*.py")) if place.is_dir() else [place.with_suffix(".py")]


def mutate(path: Path) -> list[Mutant]:
    """Put all mutants of a file of the copy into it, and tell them."""
    text = path.read_text()
    module, source = path.relative_to(COPY / "handoffd").with_suffix(""), sha256(text.encode()).hexdigest()
    kept = MADE / f"{source}-{version('mutmut')}.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(made(path.name, text)))
    code, mutants = json.loads(kept.read_text())
    path.write_text(code)
    prefix = ".".join(["handoffd", *module.parts])
    return [
        Mutant(str(module), source, f"{prefix}.{name}", change, (first, last)) for name, change, first, last in mutants
    ]


def made(file: str, text: str) -> tuple[str, list[tuple[str, str, int, int]]]:
    """Return the code with its mutants, and of each its name, its change and the first and last line concerned."""
    mutated = mutate_file_contents(file, text)
    lines, spans = mutated.code.splitlines(), mutated.line_span_by_function_name
    mutants = []
    for name in mutated.mutant_names:
        original = f"{name.partition('__mutmut_')[0]}__mutmut_orig"
        before, after = (
            textwrap.dedent("\n".join(lines[spans[which].start - 1 : spans[which].end]))
            .replace(which, "it")
            .splitlines()
            for which in (original, name)
        )
        diff = list(difflib.unified_diff(before, after, n=0, lineterm=""))[2:]
        first, last = statement(before, int(re.findall(r"\d+", diff[0])[0]))
        change = "\n".join(line for line in diff if not line.startswith("@@"))
        mutants.append((name, change, spans[original].start + first - 1, spans[original].start + last - 1))
    return mutated.code, mutants


def statement(function: Sequence[str], line: int) -> tuple[int, int]:
    """Return the first and last line of the innermost statement, or head of a compound one, that the line is part of.

    The whole function where that is not told by statements, as in its own head.
    """
    found = 1, len(function)
    for node in ast.walk(ast.parse("\n".join(function)).body[0]):
        if isinstance(node, ast.stmt) and not isinstance(node, ast.FunctionDef):
            body = getattr(node, "body", None)
            last = body[0].lineno - 1 if body else (node.end_lineno or node.lineno)
            if node.lineno <= line <= max(last, node.lineno):
                found = node.lineno, max(last, node.lineno)
    return found
