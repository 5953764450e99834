"""What the page of mutation testing shows: the figures of the last run of each module, and why survivors are let live.

It owns figures.json, survivors.toml and the tables in README.md; it runs nothing.
"""

import json
import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

FIGURES = Path(__file__).with_name("figures.json")
SURVIVORS = Path(__file__).with_name("survivors.toml")
PAGE = Path(__file__).with_name("README.md")
BEGIN = "<!-- written by `make mutate` -->\n"
NOTICED = ("killed", "timeout")
"""A mutant whose tests run on for ever is noticed too; the page counts these by themselves."""
MADE = "made"
"""Beside how many mutants fared how: how many there are of the module. All of them were run, or a sample."""


@dataclass(frozen=True)
class Reason:
    """Why some survivors are let live: one `change` of a module, or all changes of a class, told by a `pattern`."""

    module: str
    """As in `protocol/name`; may be a pattern of the shell, as in `custody/*`."""
    change: str
    pattern: str
    why: str

    def covers(self, module: str, change: str) -> bool:
        if not fnmatchcase(module, self.module):
            return False
        return change == self.change if self.change else bool(re.search(self.pattern, change, re.MULTILINE))


def reasons() -> list[Reason]:
    """Return why survivors are let live, as survivors.toml has it."""
    entries = tomllib.loads(SURVIVORS.read_text()).get("survivor", [])
    return [
        Reason(entry["module"], entry.get("change", "").strip("\n"), entry.get("pattern", ""), entry["reason"])
        for entry in entries
    ]


def keep(counts: Mapping[str, Counter[str]]) -> None:
    """Write the figures of these modules down, and the page anew."""
    figures = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    figures.update({module: dict(sorted(count.items())) for module, count in counts.items()})
    FIGURES.write_text(json.dumps(dict(sorted(figures.items())), indent=1) + "\n")
    PAGE.write_text(PAGE.read_text().partition(BEGIN)[0] + BEGIN + table())


def packages() -> dict[str, Counter[str]]:
    """Return the figures of each package."""
    together: dict[str, Counter[str]] = {}
    for module, count in json.loads(FIGURES.read_text()).items():
        together.setdefault(module.partition("/")[0], Counter()).update(count)
    return together


def table() -> str:
    """Return the page's tables as text."""
    return "".join(_lines())


def _lines() -> Iterator[str]:
    figures: dict[str, dict[str, int]] = json.loads(FIGURES.read_text())
    yield "\n| module | mutants | run | killed | by running out of time | alive | noticed |\n"
    yield "|---|---|---|---|---|---|---|\n"
    for package, together in packages().items():
        for module, count in figures.items():
            if module.startswith(f"{package}/"):
                yield _row(f"`{module}`", Counter(count))
        yield _row(f"**{package}**", together)
    yield "\n| module | the change that lives | why it may |\n|---|---|---|\n"
    for reason in reasons():
        lines = reason.change.splitlines() or [reason.pattern]
        shown = "<br>".join(f"`` {line} ``".replace("|", "\\|") for line in lines)
        yield f"| `{reason.module}` | {'' if reason.change else 'what matches '}{shown} | {reason.why} |\n"


def noticed(count: Counter[str]) -> tuple[int, int]:
    """Return how many mutants were noticed, and how many were run."""
    return sum(count[status] for status in NOTICED), count.total() - count[MADE]


def _row(name: str, count: Counter[str]) -> str:
    seen, run = noticed(count)
    killed, late = count["killed"], count["timeout"]
    share = f"{seen / run:.1%}" if run else "none was drawn"
    return f"| {name} | {count[MADE]} | {run} | {killed} | {late} | {run - seen} | {share} |\n"
