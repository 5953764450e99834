"""docs/custody.md section 7: the very moment at which a time is over, and a peer's silence, to the second."""

import errno
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.fakes.faulty import Failing
from tests.fakes.star import Spoke
from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.acquaintance import SILENT_S, WAKE_S
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import Attempt, Hello, Offer, Settlement, Want
from handoffd.custody.visit import Lease, Welcome
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.timing import DOUBT_MAX_S, EXPIRY_GRACE_S

JUST = 0.125


def taken(host: Host, attempt: Attempt | None = None, *, ttl_s: float = 60.0, name: str = X) -> TransferId:
    """One handoff in outbox/, its first attempt over."""
    data = payload(ttl_s=ttl_s)
    host.drop(name, data)
    host.tick()
    if attempt is not None:
        host.engine.settle([Settlement(HostName("host-b"), transfer_id(data), attempt)])
    return transfer_id(data)


def due(host: Host) -> tuple[Offer, ...]:
    (offers,) = host.engine.offers([Want(HostName("host-b"), 100, 1 << 23)])
    return offers


# ---------------------------------------------------------------- expires_at


def test_until_expires_at_nothing_has_ended_and_from_it_on_nothing_is_offered(pair: Pair) -> None:
    taken(pair.a, Attempt.NOT_SENT)
    pair.a.tick(60.0)
    assert due(pair.a) == ()
    assert pair.a.outcomes() == []
    pair.a.tick(JUST)
    assert pair.a.outcome()["reason"] == "expired"


def test_a_local_handoff_stays_for_the_whole_grace(pair: Pair) -> None:
    pair.a.drop(X, payload("bob", "carol"))
    pair.a.tick()
    pair.a.tick(60.0 + EXPIRY_GRACE_S)
    assert pair.a.names("handoff") == [X]
    pair.a.tick(JUST)
    assert pair.a.names("handoff") == []


def test_what_the_janitor_took_back_says_no_more_than_that_it_expired(pair: Pair) -> None:
    pair.cross()
    pair.b.tick(60.0 + EXPIRY_GRACE_S + JUST)
    assert (pair.b.outcome()["reason"], pair.b.outcome()["detail"]) == ("expired", "")


# ---------------------------------------------------------------- silence


def test_a_peer_is_silent_when_it_was_unheard_for_more_than_an_hour(pair: Pair) -> None:
    taken(pair.a, Attempt.UNKNOWN)
    pair.a.tick(DOUBT_MAX_S + 61.0)
    pair.greet(pair.a, pair.b)
    for _ in range(int(SILENT_S / WAKE_S)):
        pair.a.tick(WAKE_S)
    assert pair.a.outcomes() == []
    pair.a.tick(JUST)
    assert pair.a.outcome()["reason"] == "outcome_unknown"


def test_a_peer_that_this_process_never_heard_has_a_minute_to_speak(pair: Pair) -> None:
    taken(pair.a, Attempt.UNKNOWN)
    pair.a.clock.advance(DOUBT_MAX_S + 61.0)
    pair.a.restart()
    pair.a.tick()
    pair.a.tick(WAKE_S)
    assert pair.a.outcomes() == []
    pair.a.tick(JUST)
    assert pair.a.outcome()["reason"] == "outcome_unknown"


@pytest.fixture
def spoke(in_memory: Path) -> Iterator[Spoke]:
    world = Spoke(in_memory)
    yield world
    world.close()


def test_a_peer_that_tells_is_not_silent_though_it_is_never_dialled(spoke: Spoke) -> None:
    a, b = spoke.a, spoke.b
    tid = taken(a, ttl_s=600.0)
    assert not a.engine.lease([Lease(b.name, b.engine.epoch, (tid,))])[0].refused
    a.tick(DOUBT_MAX_S + 601.0)
    assert spoke.tell(()) is not None
    for _ in range(4):
        a.tick(WAKE_S / 2)
    assert "unknown" not in a.journal.words()
    for _ in range(int(SILENT_S / WAKE_S)):
        a.tick(WAKE_S)
    assert "unknown" in a.journal.words()


# ---------------------------------------------------------------- between two modes (11.7)


def change_mode_on_a_full_disk(host: Host, *pulls: HostName) -> None:
    host.settings = replace(host.settings, pulls=frozenset(pulls))
    host.faults.failing = Failing(frozenset({"create"}), 1, 1_000, errno.ENOSPC)
    host.engine.configure([host.settings])
    host.faults.failing = None


def test_who_dialled_in_until_now_is_offered_nothing_before_the_new_mode_is_noted(spoke: Spoke) -> None:
    a, b = spoke.a, spoke.b
    tid = taken(a, ttl_s=600.0)
    change_mode_on_a_full_disk(a)
    assert due(a) == ()
    assert a.engine.hello([Hello(b.name, b.engine.epoch)]) == [True]
    assert [offer.tid for offer in due(a)] == [tid]


def test_who_was_pushed_to_until_now_leases_nothing_before_the_new_mode_is_noted(pair: Pair) -> None:
    tid = taken(pair.a, Attempt.NOT_SENT)
    change_mode_on_a_full_disk(pair.a, pair.b.name)
    asked = Lease(pair.b.name, pair.b.engine.epoch, (tid,))
    assert pair.a.engine.lease([asked])[0].refused
    assert pair.a.engine.welcome([Welcome(pair.b.name, pair.b.engine.epoch, "s1")]) == [True]
    assert [parcel.answer.status for parcel in pair.a.engine.lease([asked])[0].parcels] == [200]


def test_a_start_under_a_new_mode_moves_all_but_what_was_just_being_taken(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    tids = [taken(pair.a, name=f"{number}.json") for number in range(3)]
    (pair.a.root / "relay/outbox/host-b/taking.abc~9.json").write_bytes(payload())
    names = LinuxFilesystem.names
    monkeypatch.setattr(LinuxFilesystem, "names", lambda fs, directory: sorted(names(fs, directory), reverse=True))
    pair.a.settings = replace(pair.a.settings, pulls=frozenset({pair.b.name}))
    pair.a.restart()
    assert pair.a.names("relay/sent/host-b") == sorted(f"{tid}~{n}.json" for n, tid in enumerate(tids))
    assert pair.a.names("relay/outbox/host-b") == ["taking.abc~9.json"]
