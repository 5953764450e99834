"""What is told of a story at its end, as text: journals, records and what lies where.

`python -m tests.fakes.told` writes the texts in tests/vectors/told/ anew, for a change that is meant; read the
difference. Times are whole seconds since the world began. Ids and hashes are numbered as they first appear.
"""

import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from tests.fakes.odd import ODD, Talk
from tests.fakes.scene import KINDS, PUSH_ALONE
from tests.fakes.story import STORIES
from tests.fakes.visits import VISITS
from tests.unit.custody.pair import START, Host

from handoffd.custody.entry import Entry
from handoffd.custody.examine import examine
from handoffd.custody.opened import on_disk
from handoffd.custody.reading import Reading
from handoffd.custody.remains import remains

VECTORS = Path(__file__).parents[1] / "vectors" / "told"
IN_ANY_ORDER = "several at once"
"""Which of several comes first is the directory's affair."""
TOLD = {
    "pair": tuple(name for name in STORIES if name != IN_ANY_ORDER),
    "spoke": tuple(name for name in VISITS if name != IN_ANY_ORDER),
    "odd": tuple(ODD),
    "star": tuple(name for name in VISITS if name not in (IN_ANY_ORDER, PUSH_ALONE)),
}
"""The stories of each kind of link."""
DIRECTORIES = (
    "handoff",
    "claimed",
    "archive",
    "rejected",
    "relay/outcome",
    "relay/quarantine",
    "relay/tmp",
    "relay/wish",
)
DIGITS = {"T": 64, "C": 16, "t": 12}
"""Hexadecimal numbers that are different in each run: the letter one is shown as, and how many digits it has."""


def told(kind: str, name: str, directory: Path) -> str:
    """Play a story in peace and return what is told of it."""
    world = Talk(directory) if kind == "odd" else KINDS[kind](directory)
    try:
        if isinstance(world, Talk):
            ODD[name](world)
        else:
            VISITS[name].play(world)
        said = world.said if isinstance(world, Talk) else []
        lines = [*said, *(line for host in world.hosts for line in _of_host(host))]
    finally:
        world.close()
    return _plain("\n".join((f"== {name}", *lines)))


def _of_host(host: Host) -> Iterator[str]:
    yield f"{host.name} tells"
    for line in host.journal.lines:
        yield f"  {_words(line)}"
    records = [json.loads(path.read_bytes()) for path in (host.root / "relay/outcome").glob("*.json")]
    for record in sorted(records, key=lambda record: [str(record.get(key)) for key in ("at", "file", "reason")]):
        yield f"{host.name} keeps {_words(record)}"
    yield from (f"{host.name} has {line}" for line in _seen_from_outside(host))
    for directory in (*DIRECTORIES, *_of_peers(host)):
        yield from (f"{host.name} has {directory}/{name}" for name in host.names(directory))


def _seen_from_outside(host: Host) -> Iterator[str]:
    """What fsck and the views say, which read the files and ask no engine."""
    report = examine(host.root, host.boot_id)
    yield f"in all {report.open} open, {report.ended} ended, {report.quarantined} put away"
    for finding in sorted(report.findings, key=str):
        yield f"{finding.what} ({finding.grade}) {' '.join(finding.paths)} {finding.detail}"
    reading = Reading(host.root)
    entries = [reading.entry(standing) for standing in reading.oldest_first(reading.standings())]
    for entry in entries:
        if entry is not None:
            yield f"on disk {_entry(entry)}"
            yield from (f"of it {one.what} {one.path}" for one in remains(host.root, entry))
    for ended in map(reading.ended, reading.newest_outcomes()):
        if ended is not None:
            yield f"ended {_entry(ended)}"
            yield from (f"of it {one.what} {one.path}" for one in remains(host.root, ended))
    for one in on_disk(entries):
        yield f"open {one.role} {one.state} {one.tid} {one.peer} {one.to}"


def _entry(entry: Entry) -> str:
    ways = f"from {entry.sender} at {entry.peer} to {entry.to} at {entry.onward}"
    places = " ".join(f"{seen.place.name}:{seen.path}" for seen in entry.sightings)
    until = None if entry.expires_at is None else math.ceil(entry.expires_at - START - 1e-6)
    said = f"{entry.word} {entry.role} {entry.tid} {entry.handoff_id} {ways} until {until} {entry.file} {places}"
    return f"{said} {entry.means} {entry.record is not None}"


def _of_peers(host: Host) -> list[str]:
    relay = host.root / "relay"
    return sorted(
        f"relay/{path.relative_to(relay)}" for way in ("inbox", "outbox", "sent") for path in (relay / way).iterdir()
    )


def _words(fields: dict[str, object]) -> str:
    words = (f"{key}={value}" for key, value in fields.items() if value is not False and value not in (None, "", {}))
    return " ".join(words).removeprefix("event=")


def _plain(text: str) -> str:
    text = re.sub(r"[A-Za-z0-9+/]{43}=", "HMAC", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", lambda found: _seconds(found[0]), text)
    for letter, digits in DIGITS.items():
        text = _numbered(text, letter, rf"(?<![0-9a-f])[0-9a-f]{{{digits}}}(?![0-9a-f])")
    text = _numbered(text, "H", r"\b\d{10}-[a-z-]+-C\d+\b")
    text = _numbered(text, "N", r"\bC\d+-rT\d+\.json")
    text = re.sub(r"\b\d{10}-(?=bob)", "UNIX-", text)
    text = re.sub(r"tid=(T\d+) handoff_id=(H\d+) from=bob to=alice", r"\1 \2", text)
    text = re.sub(r"(?<=quarantine/)t\d+~", "", text)
    lines = text.splitlines()
    lying = [line for line in lines if re.match(r"\S+ has ", line)]
    return "\n".join((*(line for line in lines if line not in lying), *sorted(lying)))


def _numbered(text: str, letter: str, pattern: str) -> str:
    numbers = {found: f"{letter}{number}" for number, found in enumerate(dict.fromkeys(re.findall(pattern, text)), 1)}
    return re.sub(pattern, lambda found: numbers[found[0]], text)


def _seconds(moment: str) -> str:
    """A claim over HTTP bears its file's time, which the kernel stamped a little earlier: hence whole seconds."""
    return f"+{math.ceil(datetime.fromisoformat(moment).timestamp() - START - 1e-6)}"


def main() -> int:
    """Write the texts anew."""
    for kind, names in TOLD.items():
        texts = []
        for name in names:
            with tempfile.TemporaryDirectory() as directory:
                texts.append(told(kind, name, Path(directory)))
        (VECTORS / f"{kind}.txt").write_text("\n\n".join(texts) + "\n")
    return 0


def expected(kind: str) -> dict[str, str]:
    """Return the texts of a kind of link, by story."""
    texts = (VECTORS / f"{kind}.txt").read_text().rstrip("\n").split("\n\n")
    return {text.partition("\n")[0].removeprefix("== "): text for text in texts}


if __name__ == "__main__":
    sys.exit(main())
