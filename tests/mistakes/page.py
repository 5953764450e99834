"""README.md's table of mistakes, made from table/*.toml and found.json."""

from collections.abc import Iterator
from pathlib import Path

from tests.mistakes.catch import Catch, last_found
from tests.mistakes.table import mistakes

PAGE = Path(__file__).with_name("README.md")
BEGIN = "<!-- written by `make mistakes` -->\n"
WORDS = 100
USUAL_HOSTS = 2
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
    tests = sum(1 for one in found.values() if one.test is not None)
    traces = sum(1 for one in found.values() if one.traced)
    simulated = len(found) - tests - traces
    yield f"\nOf {len(found)} the simulator notices {simulated}, the model {traces} more, a test each of {tests}.\n"
    chapter = ""
    for mistake in mistakes():
        if mistake.chapter != chapter:
            chapter = mistake.chapter
            yield f"\n## {CHAPTERS[chapter]}\n| rule | the mistake | noticed by |\n|---|---|---|\n"
        catch = found.get(mistake.name)
        yield f"| {mistake.rule} | {mistake.breaks} (`{mistake.name}`) | {notice(catch)} |\n"


def notice(catch: Catch | None) -> str:
    """Return what noticed a mistake, in Markdown."""
    if catch is None:
        return "**nothing**"
    if catch.test is None:
        many = f" of {catch.hosts} hosts" if catch.hosts != USUAL_HOSTS else ""
        layer = "the model, trace of schedule" if catch.traced else f"simulator, schedule{many}"
        return f"{layer} {catch.schedules:,}: {_short(catch.words)}"
    path, _, test = catch.test.partition("::")
    return f"`{Path(path).name}`: `{test.partition('[')[0]}`"


def _short(words: str) -> str:
    plain = words.removeprefix("Broken: ").replace("|", "/").replace("\n", " ").strip().rstrip(":")
    return plain if len(plain) < WORDS else f"{plain[:WORDS]} …"


def write_page() -> None:
    """Write the table anew, leaving the words before it."""
    head = PAGE.read_text().partition(BEGIN)[0]
    PAGE.write_text(head + BEGIN + table())
