"""What is kept in memory of identities, ends and changes: every one of them is found, and each goes in its time."""

import tracemalloc

import pytest
from tests.unit.custody.pair import START

from handoffd.custody import ledger
from handoffd.custody.household import Homes
from handoffd.custody.ledger import Facts, Feed, Ledger, Place, Receipt, facts_in
from handoffd.custody.memory import Forgettable, Signatures
from handoffd.custody.sighting import in_inbox
from handoffd.custody.tiding import Unforgotten
from handoffd.protocol.name import AgentName, FileName, HostName, Nonce, TransferId, accepted_name, published_name
from handoffd.protocol.timing import HOUR_S

FIRST, SECOND, THIRD = (TransferId(f"{number:064x}") for number in (1, 2, 3))


def test_every_identity_is_found_however_many_there_are_and_however_alike() -> None:
    known = Signatures()
    alike = [f"{2 * number:016x}" + "0" * 48 for number in range(1, 101)]
    for identity in alike:
        known.reserve(identity, TransferId(identity), START)
    assert all(known.holder_differs(identity, FIRST) for identity in alike)
    assert not any(known.holder_differs(identity, TransferId(identity)) for identity in alike)


def due(kept: Forgettable, now: float, *tids: TransferId) -> list[TransferId]:
    """Ask for each, as a sweep does: what was due is forgotten then."""
    kept.begin(now)
    found = [tid for tid in tids if kept.is_due(tid)]
    kept.end()
    return found


def test_an_outcome_may_go_within_the_hour_after_its_time_and_not_before() -> None:
    for at in (START, START - START % HOUR_S):
        kept = Forgettable("key")
        kept.add(FIRST, at)
        assert due(kept, at, FIRST, SECOND) == []
        assert due(kept, at + HOUR_S, FIRST, SECOND) == [FIRST]
        assert len(kept) == 0


def test_what_is_noted_while_others_are_asked_for_waits_for_the_next_time() -> None:
    kept = Forgettable("key")
    kept.add(FIRST, START)
    kept.begin(START + HOUR_S)
    kept.add(SECOND, START)
    assert (kept.is_due(FIRST), kept.is_due(SECOND)) == (True, False)
    kept.end()
    assert due(kept, START + 2 * HOUR_S, FIRST, SECOND) == [SECOND]


def test_of_however_many_exactly_those_noted_are_due() -> None:
    kept, tids = Forgettable("key"), [TransferId(f"{number:064x}") for number in range(2_000)]
    for tid in tids[::2]:
        kept.add(tid, START)
    assert len(kept) == 1_000
    assert due(kept, START + HOUR_S, *tids) == tids[::2]


def test_one_that_begins_like_another_does_not_go_with_it() -> None:
    """Whoever can make them would have late bytes of the one let in again."""
    kept, alike = Forgettable("key"), TransferId("0" * 63 + "f")
    kept.add(FIRST, START)
    assert due(kept, START + HOUR_S, alike) == []


def test_an_outcome_costs_16_bytes_at_the_most() -> None:
    kept = Forgettable("key")
    tracemalloc.start()
    try:
        for number in range(5_000):
            kept.add(TransferId(f"{number:064x}"), START)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 16.5 * 5_000


def test_a_page_of_tidings_ends_where_the_next_one_begins() -> None:
    told = Unforgotten()
    for tid in (FIRST, SECOND, THIRD):
        told.note(tid)
    tids, number, more = told.since(0, 2)
    assert (tids, more) == ([FIRST, SECOND], True)
    assert told.since(number, 2) == ([THIRD], 3, False)


def test_nothing_to_tell_is_no_change() -> None:
    assert Unforgotten().since(0, 10) == ([], 0, False)


@pytest.mark.parametrize("cursor", ["salt.x", "salt.", "salt.-1", "salt.9", "other.1", "x"])
def test_a_cursor_that_nobody_was_given_is_unknown(cursor: str) -> None:
    feed = Feed("salt")
    feed.note(FIRST)
    feed.note(SECOND)
    assert feed.since("salt.1", 10) == ([SECOND], "salt.2")
    assert feed.since(cursor, 10) is None


def receipt(tid: TransferId, handoff_id: str) -> Receipt:
    facts = Facts(tid, handoff_id=handoff_id)
    return Receipt(facts, "host-a", FileName(f"{tid}.json"), int(tid, 16), Place.AWAY)


def test_only_so_many_ended_ones_are_found_by_their_handoff_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RECENT_LIMIT", 1)
    entries = Ledger("salt")
    for tid, label in ((FIRST, "one"), (SECOND, "two")):
        one = receipt(tid, label)
        entries.add_receipt(one)
        entries.drop_receipt(one)
    assert (entries.labelled("one"), entries.labelled("two")) == ([], [SECOND])
    assert list(entries.labels()) == ["two"]


def test_those_of_one_handoff_id_are_found_oldest_first_and_go_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RECENT_LIMIT", 1)
    entries, both = Ledger("salt"), [receipt(tid, "one") for tid in (SECOND, FIRST)]
    for one in both:
        entries.add_receipt(one)
    entries.add_receipt(both[0])
    assert entries.labelled("one") == [SECOND, FIRST]
    for one in both:
        entries.drop_receipt(one)
    assert entries.labelled("one") == [FIRST]
    entries.remember(THIRD, "two")
    assert list(entries.labels()) == ["two"]


def test_one_that_is_struck_twice_is_struck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "RECENT_LIMIT", 0)
    entries, one = Ledger("salt"), receipt(FIRST, "one")
    entries.add_receipt(one)
    entries.drop_receipt(one)
    entries.drop_receipt(one)
    assert list(entries.labels()) == []
    assert entries.pending("host-a") == 0


def test_bytes_that_tell_no_time_and_no_legal_names_are_reported_as_nothing() -> None:
    said = b'{"from_agent": "no name", "to_agent": "alice", "hmac": "x", "handoff_id": "one", "expires_at": "soon"}'
    assert facts_in(FIRST, said) == Facts(FIRST)


def test_one_that_is_named_lives_where_its_name_is_and_everybody_else_at_the_default_peer() -> None:
    homes = Homes({"alice": [HostName("host-b")]}, HostName("host-c"))
    assert (homes["alice"], homes["zoe"]) == ("host-b", "host-c")


def test_the_name_of_a_claim_over_http_says_what_was_claimed_and_by_whom() -> None:
    name = published_name("0011223344556677", FIRST)
    seen = in_inbox("host-a", accepted_name(name, AgentName("alice"), Nonce("n1")))
    assert seen is not None
    assert (seen.tid, seen.peer, seen.name, seen.agent) == (FIRST, "host-a", name, "alice")
