"""Writes docs/cli-reference.md from the command line's own parser: `python docs/make_cli.py`.

It owns the page's frame; every command, argument, option, default and word of help is the parser's, and the exit codes
are those of `handoffd.cli.failure`. A test compares the page with what this prints.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handoffd.cli import application
from handoffd.cli.failure import ExitCode

PAGE = Path(__file__).with_name("cli-reference.md")

INTRODUCTION = """\
# Every command and option

<!-- Made by docs/make_cli.py from the parser of the command line. Do not edit. -->

What `--help` says, on one page. What a command is for, with examples, is in [cli.md](cli.md).
"""


def page() -> str:
    """Return the page."""
    sections = (
        _section(name, command) for name, command in _commands(typer.main.get_command(application()), "handoffd")
    )
    codes = ", ".join(f"{int(code)} `{code.name.lower()}`" for code in ExitCode)
    return "\n".join([INTRODUCTION, *sections, f"## Exit codes\n\n{codes}. Their meaning: [cli.md](cli.md).\n"])


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yield a command, then those below it, in the order of `--help`."""
    yield name, command
    for word, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from _commands(inner, f"{name} {word}")


def _section(name: str, command: Any) -> str:
    context = typer.Context(command, info_name=name)
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    records = [record for each in command.get_params(context) if (record := each.get_help_record(context))]
    rows = [f"| `{_cell(names)}` | {_cell(means)} |" for names, means in records]
    return "\n".join(
        [
            f"## `{name}`",
            "",
            *_paragraphs(command.help or ""),
            f"```\n{usage}\n```",
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _paragraphs(text: str) -> Iterator[str]:
    """Yield the lines of a help text; a paragraph that begins with \\b is shown as it stands."""
    for paragraph in text.strip().split("\n\n"):
        if paragraph.startswith("\b\n"):
            yield from ("```", paragraph.removeprefix("\b\n"), "```", "")
        else:
            yield from (_cell(paragraph), "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
