"""The table of commands: which module brings which, and what a command loads."""

import inspect
import json
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main

from handoffd.cli import MODULES, application, invoke

LOADS = """
import contextlib, io, json, sys
from handoffd.cli import invoke
with contextlib.redirect_stdout(io.StringIO()):
    invoke([sys.argv[1], "--help"])
print(json.dumps(sorted(sys.modules)))
"""


def names_in(app: typer.Typer) -> set[str]:
    return set(typer.main.get_command(app).commands)


def test_the_table_names_every_command() -> None:
    assert names_in(application()) == {*MODULES, "run"}


@pytest.mark.parametrize("command", MODULES)
def test_a_command_is_in_the_module_that_the_table_says(command: str) -> None:
    assert command in names_in(application(command))


@pytest.mark.parametrize("command", ["ls", "show", "events", "status"])
def test_a_look_at_files_loads_no_network(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADS, command], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = set(json.loads(done.stdout))
    assert f"handoffd.cli.{command}" in loaded
    assert not loaded & {"aiohttp", "handoffd.hub", "handoffd.demo", "handoffd.cli.invite"}


def path_options(app: typer.Typer) -> Iterator[tuple[str, typer.models.ParameterInfo]]:
    for group in app.registered_groups:
        assert group.typer_instance is not None
        yield from path_options(group.typer_instance)
    for command in app.registered_commands:
        assert command.callback is not None
        hints = typing.get_type_hints(command.callback, include_extras=True)
        for name, parameter in inspect.signature(command.callback).parameters.items():
            infos = (*getattr(hints[name], "__metadata__", ()), parameter.default)
            info = next((each for each in infos if isinstance(each, typer.models.ParameterInfo)), None)
            if info is not None and "Path" in str(hints[name]):
                yield f"{command.callback.__name__} {name}", info


def test_who_may_read_a_path_is_not_for_the_parser_to_say() -> None:
    """It knows neither the remedy nor the exit code 77."""
    found = list(path_options(application()))
    assert len(found) > 40
    assert [name for name, info in found if info.readable] == []


def test_a_closed_root_is_told_with_who_may_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.access", lambda *_, **__: False)
    monkeypatch.setattr("os.listdir", refused)
    assert invoke(["ls", "--root", str(tmp_path)]) == 77
    assert capsys.readouterr().err.endswith("only the daemon's user may look into relay/: run this as that user\n")
