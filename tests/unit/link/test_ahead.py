"""A request that is begun while custody still flushes its payload."""

import asyncio
from hashlib import sha256
from typing import cast

import pytest
from tests.unit.link.fake_custody import FAR_FUTURE_S, PEER
from tests.unit.link.fake_peer import FakePeer, behave, gated, hang, reset
from tests.unit.link.rig import Rig, running, until

from handoffd.custody.message import Attempt, Coming, Offer
from handoffd.link import ahead
from handoffd.link.lane import Opening
from handoffd.protocol.name import TransferId

ONE, OTHER = b'{"n": 1}', b'{"n": 2}'


class FakeOpening:
    """A beginning whose peer waits for the body."""

    alive = True

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def send(self, data: bytes) -> None:
        self.sent.append(data)


async def begun(rig: Rig, data: bytes = ONE) -> None:
    """Begin a payload's request as soon as nothing else is on its way, and wait until the peer has its head."""
    await rig.up()
    after = rig.peer.calls["start"] + 1
    coming = Coming(PEER, TransferId(sha256(data).hexdigest()), len(data))

    def is_begun() -> bool:
        if rig.peer.calls["start"] < after:
            rig.link.expect(coming)
        return rig.peer.calls["start"] == after

    await until(is_begun)


async def test_the_payload_follows_what_was_begun_for_it():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        assert peer.got == {}
        tid = rig.take(ONE)
        await until(lambda: rig.engine.settled)
        assert (peer.calls["start"], peer.store[tid]) == (1, ONE)
        assert rig.engine.attempts(tid) == [Attempt.ADMITTED]
        assert rig.engine.settled[0].posted_s is not None
        await begun(rig, OTHER)
        rig.take(OTHER)
        await until(lambda: len(rig.engine.settled) == 2)
        assert sum(peer.got.values()) == 2


async def test_a_payload_whose_time_is_over_does_not_follow_its_beginning():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        tid = rig.take(ONE, expires_at=rig.now_s)
        await until(lambda: rig.engine.settled)
        assert rig.engine.attempts(tid)[0] is Attempt.NOT_SENT
        assert peer.got == {}


async def test_no_payload_follows_what_was_begun_for_another_tree():
    opening = FakeOpening()
    tid = TransferId(sha256(ONE).hexdigest())
    begun_before = ahead.Ahead(tid, "epoch-1", cast(Opening, opening))
    assert not begun_before.send(Offer(PEER, tid, ONE, FAR_FUTURE_S), "epoch-2")
    assert opening.sent == []


async def test_what_was_begun_says_what_a_start_says():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        sent = next(headers for headers in peer.headers if "Idempotency-Key" in headers)
        assert sent["Content-Length"] == str(len(ONE))
        assert (sent["Handoffd-Epoch"], sent["Handoffd-Path"]) == ("epoch-1", "bob-vm")


async def test_another_payload_goes_by_itself_and_the_expected_one_after_it():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        other = rig.take(OTHER)
        await until(lambda: rig.engine.settled)
        assert rig.engine.attempts(other) == [Attempt.ADMITTED]
        tid = rig.take(ONE)
        await until(lambda: len(rig.engine.settled) == 2)
        assert (peer.got[tid], peer.got[other]) == (1, 1)


async def test_what_is_never_offered_is_let_be(monkeypatch):
    monkeypatch.setattr(ahead, "AHEAD_S", 0.05)
    async with FakePeer() as peer, running(peer) as rig:
        peer.next("start", behave)
        await begun(rig)
        await until(lambda: rig.link._sender.in_flight == 0)
        tid = rig.take(ONE)
        await until(lambda: rig.engine.settled)
        assert (rig.engine.attempts(tid), peer.got[tid]) == ([Attempt.ADMITTED], 1)


async def test_nothing_is_begun_while_anything_is_on_its_way():
    async with FakePeer() as peer, running(peer) as rig:
        gate = asyncio.Event()
        peer.next("start", gated(gate))
        await rig.up()
        rig.take(ONE)
        await until(lambda: peer.calls["start"] == 1)
        before = rig.link._sender.in_flight  # more than one where the backlog is just being asked for
        rig.link.expect(Coming(PEER, TransferId(sha256(OTHER).hexdigest()), len(OTHER)))
        assert rig.link._sender.in_flight == before
        gate.set()
        await until(lambda: rig.engine.settled)


async def test_nothing_is_begun_before_the_peer_was_met():
    async with FakePeer() as peer:
        peer.next("hello", hang)
        async with running(peer) as rig:
            rig.link.expect(Coming(PEER, TransferId(sha256(ONE).hexdigest()), len(ONE)))
            await until(lambda: peer.calls["hello"] == 1)
            assert (rig.link._sender.in_flight, peer.calls["start"]) == (0, 0)


@pytest.mark.usefixtures("brisk")
async def test_a_payload_whose_beginning_the_peer_hung_up_on_goes_anew():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        opening = rig.link._sender._ahead.opening
        await peer.down()
        await until(lambda: not opening.alive)
        await peer.up()
        tid = rig.take(ONE)
        await until(lambda: rig.engine.attempts(tid)[-1:] == [Attempt.ADMITTED])
        assert peer.got[tid] == 1
        assert Attempt.UNKNOWN not in rig.engine.attempts(tid)


async def test_a_payload_that_was_sent_on_and_not_answered_is_in_doubt():
    async with FakePeer() as peer, running(peer) as rig:
        peer.next("start", reset)
        await begun(rig)
        tid = rig.take(ONE)
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.attempts(tid)[0] is Attempt.UNKNOWN


@pytest.mark.usefixtures("brisk")
async def test_nothing_follows_a_beginning_under_an_epoch_that_is_over():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        opening = rig.link._sender._ahead.opening
        peer.epoch = "epoch-2"
        rig.link._gate.suspect()
        await until(lambda: rig.engine.epochs[-1:] == ["epoch-2"])
        await until(lambda: not opening.alive)
        tid = rig.take(ONE)
        await until(lambda: rig.engine.attempts(tid)[-1:] == [Attempt.ADMITTED])
        assert peer.got[tid] == 1


async def test_a_beginning_ends_with_its_link():
    async with FakePeer() as peer, running(peer) as rig:
        await begun(rig)
        opening = rig.link._sender._ahead.opening
    assert not opening.alive
    assert rig.engine.settled == []


async def test_a_payload_sent_on_under_way_when_the_link_ends_is_in_doubt():
    async with FakePeer() as peer:
        async with running(peer) as rig:
            peer.next("start", gated(asyncio.Event()))
            await begun(rig)
            tid = rig.take(ONE)
        assert rig.engine.attempts(tid) == [Attempt.UNKNOWN]
