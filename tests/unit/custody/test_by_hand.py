"""What an operator's command does to a root itself: docs/custody.md section 7, "By hand"."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.custody.pair import Host, ManualClock, MemoryJournal, X, payload

from handoffd.custody.byhand import Changed, beside, stopped
from handoffd.custody.entry import Entry
from handoffd.custody.reading import Reading


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """Bob's host, stopped while one handoff waits for alice's."""
    made = Host(tmp_path / "a", "host-a", ["bob"], {"host-b": ["alice"]}).start()
    made.drop(X, payload())
    made.tick()
    made.fs.close()
    return made


def only(root: Path) -> Entry:
    reading = Reading(root)
    (standing,) = reading.standings()
    entry = reading.entry(standing)
    assert entry is not None
    return entry


def test_what_is_given_up_is_journalled_as_the_senders_with_its_peer_and_file(host: Host) -> None:
    journal, entry = MemoryJournal(), only(host.root)
    with stopped(host.root, "host-a", ManualClock(), journal) as hands:
        record = hands.give_up(entry)
    assert (record.reason, record.delivered) == ("outcome_unknown", "unknown")
    (line,) = journal.lines
    assert (line["event"], line["tid"], line["role"]) == ("unknown", entry.tid, "sender")
    assert (line["peer"], line["file"], line["reason"]) == ("host-b", X, "outcome_unknown")


def test_what_is_not_in_custody_any_more_is_left_to_another_look(host: Host) -> None:
    entry = only(host.root)
    with stopped(host.root, "host-a", ManualClock(), MemoryJournal()) as hands, pytest.raises(Changed):
        hands.give_up(replace(entry, sightings=()))
    assert host.names("relay/outcome") == []


def test_what_nobody_has_taken_is_withdrawn_with_a_reason_of_this_host(tmp_path: Path) -> None:
    host = Host(tmp_path / "a", "host-a", ["bob"], {"host-b": ["alice"]}).start()
    host.fs.close()
    host.drop(X, payload())
    with beside(host.root, "host-a", ManualClock(), MemoryJournal()) as hands:
        hands.withdraw(only(host.root))
    told = json.loads(host.read(f"rejected/{X}.reason"))
    assert (told["reason"], told["by"], told["peer"], told["file"]) == ("revoked", "host-a", None, X)
