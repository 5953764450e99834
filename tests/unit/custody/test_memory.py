"""What is kept in memory of identities, ends and changes: every one of them is found, and each goes in its time."""

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


def test_an_outcome_may_go_within_the_hour_after_its_time_and_not_before() -> None:
    kept = Forgettable()
    for at in (START, START - START % HOUR_S):
        kept.add(FIRST, at)
        assert kept.take(at, 10) == []
        assert kept.take(at + HOUR_S, 10) == [FIRST]
        assert len(kept) == 0


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
