"""README.md's table of mistakes, made from table/*.toml and found.json."""

from collections.abc import Iterator
from pathlib import Path

from tests.mistakes.catch import Catch, last_found
from tests.mistakes.table import mistakes

PAGE = Path(__file__).with_name("README.md")
BEGIN = "<!-- written by `make mistakes` -->\n"
WORDS = 100
CHAPTERS = {
    "take": "Take and send",
    "receive": "Admit, publish, observe, claim",
    "end": "Expiry, revoke, outcomes, forgetting",
    "start": "Start and stop",
    "pull": "Hosts that dial in, and relays",
}


def table() -> str:
    """Return the table as text."""
    return "".join(_lines())


def _lines() -> Iterator[str]:
    found = last_found()
    chapter = ""
    for mistake in mistakes():
        if mistake.chapter != chapter:
            chapter = mistake.chapter
            yield f"\n## {CHAPTERS[chapter]}\n| rule | the mistake | noticed by |\n|---|---|---|\n"
        catch = found.get(mistake.name)
        yield f"| {mistake.rule} | {mistake.breaks} (`{mistake.name}`) | {_notice(catch)} |\n"


def _notice(catch: Catch | None) -> str:
    if catch is None:
        return "**nothing**"
    if catch.test is None:
        return f"simulator, schedule {catch.schedules:,}: {_short(catch.words)}"
    path, _, test = catch.test.partition("::")
    return f"`{Path(path).name}`: `{test.partition('[')[0]}`"


def _short(words: str) -> str:
    plain = words.removeprefix("Broken: ").replace("|", "/").replace("\n", " ").strip().rstrip(":")
    return plain if len(plain) < WORDS else f"{plain[:WORDS]} …"


def write_page() -> None:
    """Write the table anew, leaving the words before it."""
    head = PAGE.read_text().partition(BEGIN)[0]
    PAGE.write_text(head + BEGIN + table())
