"""The whole link, from an offer to the settlement of its attempt."""

import asyncio

import pytest
import uvloop
from aiohttp import web
from tests.unit.link.fake_peer import (
    FakePeer,
    Turn,
    admit_then_reset,
    bad_json,
    behave,
    gated,
    proxy_503,
    refuse,
    reset,
    say,
)
from tests.unit.link.rig import running, until

from handoffd.custody.message import Attempt, Debts
from handoffd.link import gate
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import Reason, State

pytestmark = pytest.mark.usefixtures("brisk")


async def test_a_fresh_payload_arrives_byte_for_byte_and_its_attempt_is_settled():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        tid = rig.take('{"text": "grüße \\u00fc", "n": 1.0}'.encode())
        await until(lambda: rig.engine.settled)
        assert peer.store[tid] == '{"text": "grüße \\u00fc", "n": 1.0}'.encode()
        assert rig.engine.attempts(tid) == [Attempt.ADMITTED]
        assert rig.engine.settled[0].record.state is State.PUBLISHED


async def test_a_start_carries_token_idempotency_key_epoch_and_path():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.settled)
        sent = next(headers for headers in peer.headers if "Idempotency-Key" in headers)
        assert sent["Authorization"] == "Bearer secret"
        assert (sent["Idempotency-Key"], sent["Handoffd-Epoch"], sent["Handoffd-Path"]) == (tid, "epoch-1", "bob-vm")
        assert "Accept-Encoding" not in sent
        assert "Cookie" not in sent


async def test_the_epoch_is_noted_by_custody_before_any_payload_leaves():
    async with FakePeer() as peer:
        noted_when = []
        async with running(
            peer, prepare=lambda r: setattr(r.engine, "on_hello", lambda _: noted_when.append(sum(peer.got.values())))
        ) as rig:
            rig.engine.put(b"{}")
            await until(lambda: peer.store)
            assert noted_when[0] == 0
            assert rig.engine.epochs == ["epoch-1"]


async def test_offers_of_one_moment_leave_as_one_batch():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        payloads = [b'{"n": %d, "quoted": "\\"\\u00fc"}' % n for n in range(40)]
        tids = [rig.take(data) for data in payloads]
        await until(lambda: len(rig.engine.settled) == 40)
        assert [peer.store[tid] for tid in tids] == payloads
        assert peer.sizes == [40]
        assert peer.calls["start"] == 0


@pytest.mark.parametrize(
    "turn", [refuse(413, "too_large"), refuse(403, "forbidden"), refuse(400, "bad_request"), say(413, {})]
)
async def test_a_batch_refused_as_a_whole_goes_one_by_one_and_only_the_guilty_one_is_refused(turn: Turn):
    guilty = b'{"guilty": 1}'

    async def one(peer: FakePeer, request: web.Request) -> web.StreamResponse:
        refused = await request.read() == guilty
        return await (refuse(413, "too_large") if refused else behave)(peer, request)

    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("batch", turn)
        peer.next("start", *[one] * 5)
        payloads = [b'{"n": %d}' % n for n in range(4)]
        tids = [rig.take(data) for data in (*payloads, guilty)]
        await until(lambda: len(rig.engine.settled) == 10)
        assert peer.calls["batch"] == 1
        assert sorted(peer.store.values()) == payloads
        refused = [one for one in rig.engine.settled if one.status == 413 and one.attempt is Attempt.NOT_ADMITTED]
        assert [one.tid for one in refused] == tids[-1:]


async def test_batches_are_tried_again_after_the_link_was_lost():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("batch", refuse(413, "too_large"))
        tids = [rig.take(b'{"n": %d}' % n) for n in range(3)]
        await until(lambda: all(Attempt.ADMITTED in rig.engine.attempts(tid) for tid in tids))
        assert peer.calls["batch"] == 1
        peer.next("start", refuse(503, "unavailable", "0"))
        rig.take(b"{}")
        await until(lambda: rig.link.status()["state"] == "up" and len(peer.store) == 4)
        for n in range(3, 6):
            rig.take(b'{"n": %d}' % n)
        await until(lambda: len(peer.store) == 7)
        assert peer.calls["batch"] == 2


async def test_after_a_batch_that_was_not_answered_smaller_ones_go():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("batch", reset)
        tids = [rig.take(b'{"n": %d}' % n) for n in range(100)]
        await until(lambda: len(rig.engine.settled) == 200)
        assert rig.engine.attempts(tids[0]) == [Attempt.UNKNOWN, Attempt.ADMITTED]
        assert peer.sizes == [50, 50]


async def test_what_queues_while_requests_are_under_way_forms_the_next_batch():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        gate = asyncio.Event()
        peer.next("start", *[gated(gate)] * 4)
        for n in range(4):
            rig.take(b"[%d]" % n)
            await until(lambda n=n: peer.calls["start"] == n + 1)
        for n in range(250):
            rig.take(b"{%d}" % n)
        assert rig.link.status()["in_flight"] == 4
        gate.set()
        await until(lambda: len(rig.engine.settled) == 254)
        assert sum(peer.sizes) == 250
        assert sorted(peer.sizes) == [50, 100, 100]


async def test_at_most_four_requests_with_payloads_are_under_way():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        gate = asyncio.Event()
        peer.next("batch", *[gated(gate)] * 4)
        for n in range(900):
            rig.take(b"{%d}" % n)
        await until(lambda: peer.calls["batch"] == 4)
        assert rig.link.status()["in_flight"] == 4
        assert rig.link.status()["waiting"] == 500
        gate.set()
        await until(lambda: len(rig.engine.settled) == 900)


async def test_a_fresh_payload_does_not_wait_behind_the_backlog():
    async with FakePeer() as peer:
        gate = asyncio.Event()
        peer.next("batch", *[gated(gate)] * 3)
        async with running(peer) as rig:
            for n in range(700):
                rig.engine.put(b"{%d}" % n)
            await until(lambda: peer.calls["batch"] == 3)
            tid = rig.take(b'"fresh"')
            await until(lambda: rig.engine.attempts(TransferId(tid)))
            assert len(peer.store) == 1
            gate.set()
            await until(lambda: len(peer.store) == 701)


async def test_the_backlog_is_carried_after_the_link_came_up():
    async with FakePeer() as peer:
        await peer.down()
        async with running(peer) as rig:
            await until(lambda: rig.words == ["link_down"])
            tid = rig.take(b"{}")
            await until(lambda: rig.engine.attempts(tid) == [Attempt.NOT_SENT])
            await peer.up()
            await until(lambda: rig.engine.attempts(tid) == [Attempt.NOT_SENT, Attempt.ADMITTED])
            assert rig.words == ["link_down", "link_up"]


@pytest.mark.parametrize("first", [True, False])
async def test_an_attempt_that_could_not_be_made_says_why_and_what_to_do(first, monkeypatch):
    monkeypatch.setattr(gate, "PAIRING_S", 0.0)
    async with FakePeer() as peer:
        peer.next("hello", *[refuse(401, "unauthorized")] * 100)
        async with running(peer) as rig:
            if not first:  # else it waits for the first word of the peer
                await until(lambda: rig.words == ["link_down"])
            await until(lambda: rig.link._sender._running)
            tid = rig.take(b"{}")
            await until(lambda: rig.engine.attempts(tid))
            assert rig.engine.attempts(tid) == [Attempt.NOT_SENT]
            detail = rig.engine.settled[0].detail
            assert detail.startswith("link down: wrong_token: ")
            assert "unauthorized" in detail
            assert "exchange the tokens again" in detail


async def test_a_peer_that_cannot_be_reached_is_the_reason_of_an_attempt_not_made():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        await peer.down()
        rig.link._gate.suspect()
        await until(lambda: rig.link.status()["state"] == "down")
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.settled[0].detail.startswith("link down: unreachable: http://127.0.0.1:")


async def test_nothing_is_sent_past_its_deadline():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        late, timely = rig.take(b'"late"', expires_at=rig.now_s), rig.take(b'"timely"', expires_at=rig.now_s + 1)
        await until(lambda: len(rig.engine.settled) >= 2)
        assert rig.engine.attempts(late)[0] is Attempt.NOT_SENT
        assert rig.engine.attempts(timely) == [Attempt.ADMITTED]
        assert late not in peer.got


@pytest.mark.parametrize("turn", [reset, bad_json, proxy_503, admit_then_reset])
async def test_an_answer_that_proves_nothing_leaves_the_attempt_open_and_a_later_one_closes_it(turn):
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", turn)
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        rig.link.owed()
        await until(lambda: len(rig.engine.attempts(tid)) == 2)
        assert rig.engine.attempts(tid) == [Attempt.UNKNOWN, Attempt.ADMITTED]


async def test_a_reset_connection_is_not_repeated_by_the_library():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        rig.take(b"[1]")
        await until(lambda: rig.engine.settled)
        peer.next("start", reset)
        tid = rig.take(b"[2]")
        rig.engine.entries[tid].over = True  # custody does not offer it again
        await until(lambda: peer.calls["hello"] == 2)
        assert rig.engine.attempts(tid) == [Attempt.UNKNOWN]
        assert peer.calls["start"] == 2


async def test_a_refusal_of_the_peer_closes_the_attempt():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", refuse(421, "not_here"))
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.settled[0].attempt is Attempt.NOT_ADMITTED
        assert rig.engine.settled[0].status == 421
        assert rig.link.status()["state"] == "up"


async def test_a_final_answer_ends_the_handoff_with_the_peers_reason():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", refuse(410, "expired", final=True))
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.settled[0].attempt is Attempt.ENDED
        assert rig.engine.settled[0].reason is Reason.EXPIRED


async def test_another_epoch_closes_the_attempt_and_is_noted_only_after_a_fresh_hello():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        await until(lambda: peer.calls["states"] == 2)  # it hangs: nothing but the payload meets the new epoch
        greeted = asyncio.Event()
        peer.next("hello", gated(greeted))
        peer.epoch = "epoch-2"
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        greeted.set()
        await until(lambda: len(rig.engine.attempts(tid)) == 2)
        assert rig.engine.attempts(tid) == [Attempt.NOT_ADMITTED, Attempt.ADMITTED]
        assert rig.engine.epochs == ["epoch-1", "epoch-2"]


async def test_what_was_taken_before_the_first_hello_is_not_sent_to_a_new_tree():
    """Custody has ended it, for its attempt was opened under the epoch noted before (section 8)."""
    async with FakePeer() as peer:
        greeted = asyncio.Event()
        peer.next("hello", gated(greeted))
        async with running(peer, prepare=lambda rig: rig.engine.epochs.append("epoch-0")) as rig:
            await until(lambda: peer.calls["hello"])
            tid = rig.take(b"{}")
            rig.engine.on_hello = lambda _: setattr(rig.engine.entries[TransferId(tid)], "over", True)
            greeted.set()
            await rig.up()
            await until(lambda: rig.engine.attempts(TransferId(tid)))
            assert rig.engine.attempts(TransferId(tid)) == [Attempt.NOT_SENT]
            assert peer.store == {}


async def test_what_was_opened_for_the_old_tree_is_not_sent_to_a_new_one_after_a_request_that_hung():
    """Custody has ended it, for its attempt was opened under the epoch noted before (section 8)."""
    async with FakePeer() as peer:
        answered = asyncio.Event()
        peer.next("start", *[gated(answered)] * 8)
        # No text, so each goes by itself; most of them wait for one before them.
        async with running(peer, prepare=lambda rig: [rig.engine.put(b"\xff%d" % n) for n in range(8)]) as rig:
            await until(lambda: peer.calls["start"])
            entries = list(rig.engine.entries.values())
            rig.engine.on_hello = lambda _: [setattr(entry, "over", True) for entry in entries]
            peer.epoch = "epoch-2"
            rig.link._gate.suspect()
            await until(lambda: rig.engine.epochs[-1:] == ["epoch-2"] and rig.link._gate.open)
            answered.set()
            await until(lambda: len(rig.engine.settled) == 8)
            assert {one.attempt for one in rig.engine.settled} == {Attempt.UNKNOWN, Attempt.NOT_SENT}
            assert peer.store == {}


async def test_an_admission_under_another_epoch_proves_nothing():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()

        async def reborn(peer, request):
            peer.epoch = "epoch-2"
            return peer.answer(peer.admit(await request.read()), 201)

        peer.next("start", reborn)
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.attempts(tid)[0] is Attempt.UNKNOWN


async def test_an_answer_that_outlived_its_epoch_proves_nothing():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        gate, answered = asyncio.Event(), {}

        async def slow(peer, request):
            fields = {**answered, **peer.admit(await request.read()), "epoch": "epoch-1"}
            await gate.wait()
            return peer.answer(fields, 201)

        peer.next("start", slow)
        tid = rig.take(b"[1]")
        await until(lambda: peer.calls["start"] == 1)
        peer.epoch = "epoch-2"
        rig.take(b"[2]")
        await until(lambda: rig.engine.epochs == ["epoch-1", "epoch-2"])
        gate.set()
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.attempts(tid)[0] is Attempt.UNKNOWN


async def test_the_peers_wish_for_a_pause_is_respected():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", refuse(429, "rate_limited", retry_after="60", detail="enough are open here"))
        first = rig.take(b"[1]")
        await until(lambda: rig.engine.attempts(first))
        assert "enough are open here" in str(rig.link.status()["busy"])
        second = rig.take(b"[2]")
        await until(lambda: rig.engine.attempts(second))
        assert rig.engine.attempts(first) == [Attempt.NOT_ADMITTED]
        assert rig.engine.attempts(second) == [Attempt.NOT_SENT]
        assert peer.calls["start"] == 1
        assert peer.calls["hello"] == 1


async def test_a_short_pause_ends_by_itself():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", refuse(503, "unavailable"))
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid) == [Attempt.NOT_ADMITTED, Attempt.ADMITTED])
        assert rig.link.status()["busy"] is None


async def test_what_cannot_wait_here_goes_back_to_custody(monkeypatch):
    monkeypatch.setattr("handoffd.link.sender.WAITING_ITEMS", 2)
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        tids = [rig.take(b"[%d]" % n) for n in range(3)]
        await until(lambda: rig.engine.attempts(tids[2]))
        assert rig.engine.attempts(tids[2])[0] is Attempt.NOT_SENT
        rig.link.owed()
        await until(lambda: len(peer.store) == 3)


async def test_ending_the_link_settles_what_was_under_way_as_unknown():
    async with FakePeer() as peer:
        never = asyncio.Event()
        peer.next("start", *[gated(never)] * 4)
        async with running(peer) as rig:
            await rig.up()
            tids = []
            for n in range(4):
                tids.append(rig.take(b"[%d]" % n))
                await until(lambda n=n: peer.calls["start"] == n + 1)
            waiting = rig.take(b'"waits"')
        assert [rig.engine.attempts(tid) for tid in tids] == [[Attempt.UNKNOWN]] * 4
        assert rig.engine.attempts(waiting) == [Attempt.NOT_SENT]


async def test_revokes_and_forgets_are_paid_and_their_records_taken_over():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        withdrawn, done = TransferId("a" * 64), TransferId("b" * 64)
        rig.engine.owed = Debts(revoke=(withdrawn,), forget=(done,))
        rig.link.owed()
        await until(lambda: rig.engine.confirmed == [done])
        assert rig.engine.state(withdrawn) is State.REVOKED


async def test_many_revokes_go_in_groups_of_a_thousand():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        rig.engine.owed = Debts(revoke=tuple(TransferId(f"{n:064x}") for n in range(2_500)))
        rig.link.owed()
        await until(lambda: len(rig.engine.mirrored) == 2_500)
        assert peer.sizes == [1_000, 1_000, 500]


async def test_a_forget_the_peer_did_not_confirm_is_not_noted():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("forget", refuse(500, "oops"))
        rig.engine.owed = Debts(forget=(TransferId("b" * 64),))
        rig.link.owed()
        await until(lambda: peer.calls["forget"] == 1)
        rig.engine.owed = Debts(revoke=(TransferId("a" * 64),))
        rig.link.owed()
        await until(lambda: rig.engine.mirrored)
        assert rig.engine.confirmed == []


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_it_works_on_both_event_loops(loop_factory, tls):
    async def story() -> None:
        async with FakePeer(tls.server) as peer, running(peer, tls.client, (tls.fingerprint,)) as rig:
            await rig.up()
            for n in range(50):
                rig.take(b"[%d]" % n)
            await until(lambda: len(rig.engine.settled) == 50)
            peer.next("start", reset)
            tid = rig.take(b'"reset"')
            await until(lambda: rig.engine.attempts(tid))
            await peer.down()
            await until(lambda: "link_down" in rig.words)
            await peer.up()
            await until(lambda: len(peer.store) == 51)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(story())
