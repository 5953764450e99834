"""Compiled copies of the engine and the simulator, for long runs alone: mypyc makes C of the same sources.

It owns the copying. What is copied is changed in four respects: a dataclass gets its `__init__` and what `replace`
does written out, which the standard library would find out at run time; constants of a module are said to be final; a
port is said to be the simulator's; and the pure functions that read payloads, records and JSON remember what they have
read. The rule that must stay true: a seed makes the same history in both, which a test compares byte for byte. The
daemon is never compiled.

mypyc looks into what it takes for a frozenset or a dict by itself, and does not call `__contains__` of a subclass. The
set of all agents, which a relay may send from, is one; the engine says `Set` of it, and that makes mypyc call methods.
"""

import ast
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "simulator" / "compiled"
PACKAGES = {ROOT / "daemon" / "handoffd": Path("handoffd"), ROOT / "tests" / "simulator": Path("tests/simulator")}
INTERPRETED = {
    "__init__.py",
    "__main__.py",
    "compiled.py",
    "filesystem.py",
    "household.py",
    "paths.py",
    "paths_check.py",
    "paths_step.py",
    "paths_track.py",
    "portion.py",
    "test_paths.py",
    "test_simulator.py",
}
"""Not worth compiling, or (subclasses of OSError and frozenset) not to be compiled."""
COMPILED = ("handoffd/protocol", "tests/simulator")
ENTRANCE = "handoffd/custody/engine.py"
REMEMBERING = {
    "handoffd/custody/acquaintance.py": {"read_note"},
    "handoffd/protocol/admission.py": {"admit"},
    "handoffd/protocol/moment.py": {"format_moment", "parse_moment"},
    "handoffd/protocol/name.py": {"is_peer_name"},
    "handoffd/protocol/payload.py": {"transfer_id"},
    "handoffd/protocol/record.py": {"decode"},
}
"""Pure functions of the protocol: the same bytes come many times in one history."""
REMEMBERED = 256
"""Results a function remembers: more than one history asks for, few enough to stay near the processor."""
MEMORY = f"""
import json
from collections.abc import Callable
from functools import lru_cache
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., object])
_ENCODER = json.JSONEncoder()
_encode = c_make_encoder(None, _ENCODER.default, encode_basestring_ascii, None, ": ", ", ", False, False, True)


def remembering(function: F) -> F:
    return lru_cache(maxsize={REMEMBERED})(function)  # type: ignore[return-value]


@remembering
def loads(data: bytes | str) -> Any:
    return json.loads(data)


def dumps(document: object) -> str:
    return "".join(_encode(document, 0))
"""
"""`loads`: whoever reads JSON here changes nothing in what it gets. `dumps`: the encoder is made once for all."""
PORTS = {"Filesystem": ("tests.simulator.disk", "View"), "Clock": ("tests.simulator.clock", "SimClock")}
"""Protocols of which there is one implementation here: calls of a known class are calls of C."""
_PLAIN = (ast.Constant, ast.BinOp)
REPLACED = """
def replaced(self, **changes: object) -> "{name}":
    made = {name}({values})
    for name, value in changes.items():
        setattr(made, name, value)
    return made
"""
"""What `dataclasses.replace` does."""
SETUP = """
from mypyc.build import mypycify
from setuptools import setup

files = mypycify(["--config-file=", "--explicit-package-bases", *{files!r}], opt_level="1", debug_level="0")
setup(name="compiled", ext_modules=files)
"""


class CannotCompile(Exception):
    """Something is missing here; the message says what."""


class Failed(Exception):
    """mypyc or the compiler failed; the message is theirs."""


def run(arguments: list[str]) -> int:
    """Run the simulator's command with these arguments from the compiled copies; return its exit status."""
    build()
    command = [sys.executable, "-m", "tests.simulator", *arguments]
    return subprocess.run(command, cwd=BUILD, env={**os.environ, "PYTHONPATH": str(BUILD)}, check=False).returncode


def build() -> None:
    """Make the copies anew if a source has changed. Raises CannotCompile, Failed."""
    stamp, wanted = BUILD / "stamp", _digest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if missing := _missing():
        raise CannotCompile(missing)
    shutil.rmtree(BUILD, ignore_errors=True)
    for source, target in PACKAGES.items():
        for path in source.rglob("*.py"):
            copy = BUILD / target / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text())
    (BUILD / "remembering.py").write_text(MEMORY)
    files = _compiled()
    for path in files:
        path.write_text(rewritten(path.read_text(), REMEMBERING.get(str(path.relative_to(BUILD)), set())))
    _compile([str(path.relative_to(BUILD)) for path in files])
    stamp.write_text(wanted)


def _missing() -> str:
    """Return what is missing here to compile anything, or nothing."""
    if shutil.which("cc") is None:
        return "no C compiler 'cc'; on Debian and Ubuntu: apt-get install gcc"
    if not Path(sysconfig.get_path("include"), "Python.h").is_file():
        return "no Python.h; on Debian and Ubuntu: apt-get install python3-dev"
    if find_spec("mypyc") is None or find_spec("setuptools") is None:
        return "no mypyc or setuptools; with a Python newer than 3.11: .venv/bin/pip install setuptools"
    return ""


def _compile(files: list[str]) -> None:
    (BUILD / "setup.py").write_text(SETUP.format(files=files))
    command = [sys.executable, "setup.py", "build_ext", "--inplace"]
    environment = {**os.environ, "MYPYPATH": str(BUILD)}
    made = subprocess.run(command, cwd=BUILD, env=environment, capture_output=True, text=True, check=False)
    if made.returncode:
        raise Failed(f"{made.stdout[-2_000:]}\n{made.stderr[-2_000:]}")


def _digest() -> str:
    digest = hashlib.sha256(sys.version.encode())
    for source in PACKAGES:
        for path in sorted(source.rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _compiled() -> list[Path]:
    """Return the copies to be compiled: what the simulator imports of custody, the protocol, the simulator itself."""
    found = set(_imported(BUILD / ENTRANCE))
    for package in COMPILED:
        found.update((BUILD / package).glob("*.py"))
    return sorted(path for path in found if path.name not in INTERPRETED)


def _imported(path: Path) -> Iterator[Path]:
    waiting, seen = [path], set()
    while waiting:
        path = waiting.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        yield path
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("handoffd.custody"):
                inside = BUILD / str(node.module).replace(".", "/")
                waiting += [inside.with_suffix(".py"), *(inside / f"{name.name}.py" for name in node.names)]


# ---------------------------------------------------------------- what is changed


def rewritten(source: str, remembering: Collection[str]) -> str:
    """Return a module with final constants, written out dataclasses, and these functions remembering their results."""
    tree = _Known().visit(ast.parse(source))
    after = 1 if ast.get_docstring(tree) else 0
    imports = ast.parse("from typing import Final\nimport remembering").body
    body: list[ast.stmt] = tree.body[:after] + imports
    for node in tree.body[after:]:
        if isinstance(node, ast.FunctionDef) and node.name in remembering:
            node.decorator_list.append(_expression("remembering.remembering"))
        if isinstance(node, ast.ClassDef) and not node.bases:
            _write_out_init(node)
        body += _final(node) if isinstance(node, ast.Assign) else [node]
    tree.body = body
    return ast.unparse(ast.fix_missing_locations(tree))


class _Known(ast.NodeTransformer):
    """Says what the interpreter would find out at every call."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST | list[ast.AST]:
        """Import a port's implementation in its place."""
        found = [name for name in node.names if name.name in PORTS and node.module == "handoffd.custody.filesystem"]
        node.names = [name for name in node.names if name not in found]
        return [*([node] if node.names else []), *(_import_of(name.name) for name in found)]

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        """Leave a port out that is defined here."""
        return _import_of(node.name) if node.name in PORTS else self.generic_visit(node)

    def visit_Attribute(self, node: ast.Attribute) -> ast.AST:
        """Read an enumeration's value where it lies: `value` is a property."""
        node.attr = "_value_" if node.attr == "value" else node.attr
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Call what this module has written out or remembers."""
        called = ast.unparse(node.func)
        if called in ("json.loads", "json.dumps"):
            node.func = _expression(called.replace("json", "remembering"))
        elif called == "replace":
            node.func = ast.Attribute(node.args.pop(0), "replaced", ast.Load())
        return self.generic_visit(node)


def _import_of(port: str) -> ast.stmt:
    module, name = PORTS[port]
    return ast.parse(f"from {module} import {name} as {port}").body[0]


def _final(node: ast.Assign) -> list[ast.stmt]:
    names, value = node.targets[0], node.value
    pairs = [(names, value)]
    if isinstance(names, ast.Tuple) and isinstance(value, ast.Tuple):
        pairs = list(zip(names.elts, value.elts, strict=True))
    # Not tuples: mypyc cannot index one whose length it knows by a variable.
    if not all(isinstance(name, ast.Name) and name.id.isupper() and isinstance(each, _PLAIN) for name, each in pairs):
        return [node]
    return ast.parse("\n".join(f"{ast.unparse(name)}: Final = {ast.unparse(value)}" for name, value in pairs)).body


def _write_out_init(node: ast.ClassDef) -> None:
    for number, decorator in enumerate(node.decorator_list):
        if ast.unparse(decorator).startswith("dataclass"):
            frozen = "frozen=True" in ast.unparse(decorator)
            # A frozen one hashes by its values; that nothing assigns to it, mypy has checked before.
            node.decorator_list[number] = _expression(f"dataclass(init=False, unsafe_hash={frozen})")
            node.body += _init(node)


def _expression(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body


def _init(node: ast.ClassDef) -> list[ast.stmt]:
    parameters: list[str] = []
    lines: list[str] = []
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            name, kind = field.target.id, ast.unparse(field.annotation)
            value = ast.unparse(field.value) if field.value is not None else None
            if value is None:
                parameters.append(f"{name}: {kind}")
                lines.append(f"self.{name} = {name}")
            elif value.startswith("field(default_factory="):
                made = value.removeprefix("field(default_factory=").removesuffix(")")
                parameters.append(f"{name}: {kind} | None = None")
                lines.append(f"self.{name} = {made}() if {name} is None else {name}")
            elif not value.startswith("field("):
                parameters.append(f"{name}: {kind} = {value}")
                lines.append(f"self.{name} = {name}")
    if any(isinstance(each, ast.FunctionDef) and each.name == "__post_init__" for each in node.body):
        lines.append("self.__post_init__()")
    made = [f"def __init__(self, {', '.join(parameters)}) -> None:", *lines]
    if lines[-1] == "self.__post_init__()":
        return ast.parse("\n    ".join(made)).body
    values = ", ".join(f"self.{parameter.partition(':')[0]}" for parameter in parameters)
    return ast.parse("\n    ".join(made) + REPLACED.format(name=node.name, values=values)).body
