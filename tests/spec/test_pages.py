"""The pages a reader meets first name commands and options that exist, and leave none out."""

import re
from pathlib import Path

import pytest
import typer

from handoffd.cli import application
from handoffd.protocol.reason import Reason, State

PROJECT = Path(__file__).parents[2]
CLI = (PROJECT / "docs/cli.md").read_text()
PAGES = [
    PROJECT / "README.md",
    *(
        PROJECT / "docs" / f"{name}.md"
        for name in ("cli", "faq", "installation", "overview", "security", "troubleshooting")
    ),
]
COMMANDS = typer.main.get_command(application()).commands
AGENTS_OWN = ("send", "listen", "resend", "wait", "claim", "complete")  # these two pages are theirs
AGENTS_PAGES = "".join((PROJECT / f"docs/{name}.md").read_text() for name in ("agents", "http-agents"))


def chapter(command: str) -> str:
    """Return what docs/cli.md says under a command's heading."""
    parts = re.split(r"^### ", CLI, flags=re.MULTILINE)
    return next(part for part in parts if part.startswith(f"`handoffd {command}"))


def options(command: str) -> list[str]:
    return [name for each in COMMANDS[command].params for name in each.opts if name.startswith("--")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_described(command):
    assert f"`handoffd {command}" in CLI


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - AGENTS_OWN))
def test_every_option_of_a_command_is_described(command):
    shared = CLI[CLI.index("## Looking") : CLI.index("### `handoffd ls`")] + CLI[: CLI.index("| exit code")]
    shared += CLI[CLI.index("## Acting") : CLI.index("### `handoffd reject ID`")]
    missing = [name for name in options(command) if name not in chapter(command) + shared]
    assert missing == []


@pytest.mark.parametrize("command", AGENTS_OWN)
def test_every_option_of_an_agents_command_is_described(command):
    assert [name for name in options(command) if name not in AGENTS_PAGES] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_a_page_names_no_command_that_does_not_exist(page):
    text = page.read_text()
    code = "".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    named = set(re.findall(r"`handoffd ([a-z][a-z-]+)", text)) | set(
        re.findall(r"^handoffd ([a-z][a-z-]+)", code, re.MULTILINE)
    )
    assert named - COMMANDS.keys() == set()


def test_every_exit_code_is_listed():
    from handoffd.cli.failure import ExitCode

    listed = {int(code) for code in re.findall(r"^\| (\d+) \|", CLI, re.MULTILINE)}
    assert {int(code) for code in ExitCode} <= listed


def test_every_reason_a_sender_may_read_has_its_remedy():
    text = (PROJECT / "docs/troubleshooting.md").read_text()
    named = set(re.findall(r"`([a-z_]+)`", text[text.index("## It ended") : text.index("## Ordinary chores")]))
    needs_none = {Reason.COMPLETED, Reason.REVOKED}
    assert {reason.value for reason in set(Reason) - needs_none} <= named


def test_every_word_of_a_link_has_its_remedy():
    text = (PROJECT / "docs/troubleshooting.md").read_text()
    words = re.findall(r"^\| `([a-z_]+)` \| (?:down|refused) \|", (PROJECT / "docs/link.md").read_text(), re.MULTILINE)
    assert len(words) > 5
    assert [word for word in words if f"`{word}`" not in text and word != "not_ready"] == []


def test_every_state_stands_in_the_readme():
    text = (PROJECT / "README.md").read_text()
    table = text[text.index("## Directories and states") : text.index("## What it promises")]
    later = {"leased"}  # with pull links
    assert [state.value for state in State if state.value not in table and state.value not in later] == []


def test_every_word_of_a_warning_is_explained():
    from handoffd.status.concern import WORDS

    text = chapter("status")
    assert [word for word, meaning in WORDS.items() if f"| `{word}` | {meaning} |\n" not in text] == []


def test_every_key_of_the_status_is_explained():
    from tests.unit.a_status import a_status

    from handoffd.status.model import fields

    told = fields(a_status())
    text = chapter("status")
    keys = {*told, *told["peers"][0], *told["disk"], *told["journal"], "oldest_s", "oldest_tid", "count"}
    assert [key for key in sorted(keys) if f"`{key}`" not in text] == []


def test_every_word_of_doctor_has_its_remedy():
    text = (PROJECT / "docs/troubleshooting.md").read_text()
    sources = (PROJECT / "daemon/handoffd/cli").glob("doctor/*.py")
    code = "".join(path.read_text() for path in (*sources, PROJECT / "daemon/handoffd/cli/ground.py"))
    words = set(re.findall(r'(?:failure|warning|tell|[Tt]rouble)\(\s*"([a-z_]+)"', code))
    words |= {"in_doubt", "unclaimed", "stuck", "backlog", "journal_failing"}  # from status.concern
    assert len(words) > 30
    assert sorted(word for word in words - {"missing_directory"} if f"`{word}`" not in text) == []
