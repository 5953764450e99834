"""The check list: what was promised, and what was seen.

It owns the list and its verdict. The rule that must stay true: `seen` names the evidence, so that a reader can judge
it without believing the first column.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handoffd.demo.timeline import Timeline
from handoffd.demo.voice import short


@dataclass(frozen=True, slots=True)
class Check:
    """One promise. `kept` tells whether what was seen is what was promised."""

    promise: str
    seen: str
    kept: bool


def digest(file: Path) -> str:
    """Return the SHA-256 of a file's bytes in hex."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def equal(promise: str, wanted: str, found: str) -> Check:
    """Return the check that two files have the same SHA-256."""
    kept = wanted == found
    return Check(promise, f"sha256 {short(wanted)} {'=' if kept else 'is not'} {short(found)}", kept)


def show(checks: Sequence[Check], timeline: Timeline) -> bool:
    """Print the list; return whether every promise was kept."""
    timeline.heading("promised, and seen")
    width = max((len(check.promise) for check in checks), default=0)
    for check in checks:
        word = "ok" if check.kept else "NO"
        timeline.print(f"  {timeline.colour(word, word)}  {check.promise:<{width}}  {check.seen}")
    return all(check.kept for check in checks)
