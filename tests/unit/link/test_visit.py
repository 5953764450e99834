"""The pull link, from a session to what custody gets, against a lender that behaves and one that does not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from tests.unit.link.fake_lender import FakeLender
from tests.unit.link.fake_peer import FakePeer, Turn, bad_json, endless, gated, hang, proxy_503, refuse, reset, say
from tests.unit.link.rig import Rig, running, until

from handoffd.link.borrow import LEASES
from handoffd.link.wire import PATH_HOSTS
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Artefact, Record

PAYLOAD = '{"text": "grüße \\u00fc", "n": 1.0}'.encode()
ARTEFACT = b"the final transcript"


def a_record(number: int, state: State = State.PUBLISHED, **more: Any) -> Record:
    return Record(TransferId(f"{number:064x}"), state, "bob-vm", "2026-11-20T10:00:00.000Z", **more)


def an_end(number: int, **more: Any) -> Record:
    return a_record(number, State.COMPLETED, reason=Reason.COMPLETED, **more)


def with_news(*records: Record) -> Callable[[Rig], None]:
    return lambda rig: rig.engine.news.extend(records)


async def received(rig: Rig, *tids: str) -> None:
    await until(lambda: set(tids) <= set(rig.engine.received), "the payloads")


# ---------------------------------------------------------------- in peace


async def test_what_is_lent_comes_byte_for_byte_with_the_hosts_it_came_through():
    async with FakeLender() as peer, running(peer) as rig:
        (tid,) = peer.lend(PAYLOAD)
        await received(rig, tid)
        arrival = rig.engine.received[tid]
        assert (arrival.data, arrival.path, arrival.principal.peer) == (PAYLOAD, ("alice-vm",), "alice-vm")
        assert peer.leases == [[tid]]


async def test_a_session_begins_with_all_there_is_to_tell_and_nothing_hangs_before():
    async with FakeLender() as peer, running(peer, prepare=with_news(*map(a_record, range(250)))):
        await until(lambda: peer.polls, "the first hanging poll")
        first = [page for page in peer.pages if page[0]]
        assert [(len(tids), more) for tids, more in first] == [(100, True), (100, True), (50, False)]
        assert peer.pages.index(([], False)) >= 3


async def test_what_rises_is_told_while_a_poll_hangs():
    async with FakeLender() as peer, running(peer) as rig:
        await until(lambda: peer.polls)
        rig.engine.news.append(a_record(7, State.CLAIMED))
        rig.link.changed()
        await until(lambda: f"{7:064x}" in peer.told)
        assert peer.polls == 1, "the poll that hangs was left alone"


async def test_an_end_is_told_until_the_lender_says_that_it_may_be_forgotten():
    async with FakeLender() as peer:
        peer.keeps_finals = True
        async with running(peer, prepare=with_news(an_end(1))) as rig:
            await until(lambda: f"{1:064x}" in peer.told)
            assert rig.engine.forgets == []
            peer.keeps_finals = False
            rig.link.changed()
            await until(lambda: rig.engine.forgets == [f"{1:064x}"])


async def test_take_verdict_and_forget_in_one_answer_are_all_done():
    async with FakeLender() as peer:
        (tid,) = peer.lend(PAYLOAD)
        peer.want_verdict(f"{5:064x}")
        async with running(peer, prepare=with_news(an_end(1))) as rig:
            rig.engine.ends[TransferId(f"{5:064x}")] = an_end(5)
            await received(rig, tid)
            await until(lambda: rig.engine.forgets and rig.engine.verdicts)
            assert (rig.engine.verdicts, rig.engine.forgets[0]) == ([f"{5:064x}"], f"{1:064x}")
            await until(lambda: f"{5:064x}" in peer.told, "an end that stands in no file is told as it is")


async def test_what_another_home_has_is_a_note_and_no_trouble():
    async def elsewhere(peer: FakePeer, request: web.Request) -> web.Response:
        assert isinstance(peer, FakeLender)
        tids = (await request.json())["tids"]
        for tid in tids:
            peer.lent(tid)
        refusals = [{"tid": tid, "code": 409, "reason": "already_claimed", "status": 409} for tid in tids]
        return peer.answer({"results": refusals})

    async with FakeLender() as peer:
        peer.next("lease", elsewhere)
        (lost,) = peer.lend(PAYLOAD)
        async with running(peer) as rig:
            await until(lambda: "leased_elsewhere" in rig.words)
            (won,) = peer.lend(b"{}")
            await received(rig, won)
            assert lost not in rig.engine.received
            assert [fields["tid"] for word, fields in rig.events if word == "leased_elsewhere"] == [lost]
            assert set(rig.words) == {"link_up", "leased_elsewhere"}


async def test_a_peer_that_sends_by_itself_is_not_visited():
    async with FakePeer() as peer, running(peer, prepare=with_news(a_record(1))) as rig:
        await rig.up()
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.settled)
        assert peer.store[tid] == b"{}"
        assert all("tell" not in asked for asked in peer.asked)


# ---------------------------------------------------------------- answers that are none

TROUBLE: dict[str, Turn] = {
    "the token is not known": refuse(401, "unauthorized"),
    "forbidden": refuse(403, "forbidden"),
    "another session": refuse(412, "epoch_changed"),
    "busy": refuse(503, "unavailable", "0"),
    "too often": refuse(429, "rate_limited", "0"),
    "a proxy's own 503": proxy_503,
    "torn": reset,
    "half an object": bad_json,
    "endless": endless,
    "not an object": say(200, []),
    "an object of nothing": say(200, {}),
    "of another tree": say(200, {"epoch": "epoch-0", "take": [], "results": []}),
}


@pytest.mark.parametrize("turn", TROUBLE.values(), ids=TROUBLE)
@pytest.mark.parametrize("call", ["tell", "lease"])
async def test_after_any_answer_that_is_none_everything_comes_once(call: str, turn: Turn):
    async with FakeLender() as peer:
        peer.next(call, turn)
        (tid,) = peer.lend(PAYLOAD)
        async with running(peer, prepare=with_news(a_record(1))) as rig:
            await received(rig, tid)
            await rig.up()
            await until(lambda: f"{1:064x}" in peer.told)
            assert [one.claimed_tid for one in rig.engine.arrivals] == [tid]


@pytest.mark.parametrize("turn", [TROUBLE["torn"], TROUBLE["another session"]], ids=["torn", "another session"])
async def test_a_poll_that_breaks_begins_another_session_in_which_all_is_told_again(turn: Turn):
    async with FakeLender() as peer, running(peer, prepare=with_news(a_record(1))) as rig:
        await until(lambda: peer.polls == 1)
        peer.next("tell", turn)
        peer.restart()
        peer.lend(PAYLOAD)  # ends the poll that hangs; the next one meets the turn
        await until(lambda: len(peer.told[f"{1:064x}"]) >= 2)
        assert peer.sessions >= 2
        await until(lambda: len(rig.engine.received) == 1)


async def test_a_restart_of_the_hub_in_mid_poll_loses_nothing():
    async with FakeLender() as peer, running(peer, prepare=with_news(a_record(1))) as rig:
        await until(lambda: peer.polls == 1)
        await peer.down()
        peer.restart()
        (tid,) = peer.lend(PAYLOAD)
        await peer.up()
        await received(rig, tid)
        assert len(peer.told[f"{1:064x}"]) >= 2
        assert set(rig.engine.epochs) == {"epoch-1"}


async def test_a_hub_with_another_tree_is_told_everything_under_its_new_epoch():
    async with FakeLender() as peer, running(peer, prepare=with_news(a_record(1))) as rig:
        await until(lambda: peer.polls == 1)
        await peer.down()
        peer.restart()
        peer.epoch = "epoch-2"
        await peer.up()
        await until(lambda: rig.engine.epochs[-1] == "epoch-2" and len(peer.told[f"{1:064x}"]) >= 2)


async def test_a_connection_that_leads_nowhere_is_left_when_this_host_has_slept():
    async with FakeLender() as peer, running(peer) as rig:
        await until(lambda: peer.polls == 1)
        peer.next("tell", hang)
        (first,) = peer.lend(PAYLOAD)
        await received(rig, first)
        rig.link.resume()
        (tid,) = peer.lend(b"{}")
        await received(rig, tid)


async def test_a_hub_that_hands_nothing_over_is_told_of_in_the_status():
    async with FakeLender() as peer:
        peer.next("tell", *[say(200, {"epoch": "epoch-1", "take": "all"})] * 4)
        async with running(peer) as rig:
            await until(lambda: "news_stopped" in rig.words)
            await until(lambda: "news_resumed" in rig.words)
            told = next(fields for word, fields in rig.events if word == "news_stopped")
            assert "does not hand over what is ours" in str(told["detail"])


# ---------------------------------------------------------------- a hostile hub

HOSTILE = {
    "more T than a page holds": {"take": [f"{number:064x}" for number in range(5_000)]},
    "T that are none": {"take": ["../../etc/passwd"]},
    "T that are numbers": {"take": [7]},
    "verdicts that are an object": {"verdict": {}},
    "forgets of nothing": {"forget": [None]},
}


@pytest.mark.parametrize("wishes", HOSTILE.values(), ids=HOSTILE)
async def test_wishes_that_are_none_are_not_heeded(wishes: dict[str, Any]):
    async with FakeLender() as peer:
        peer.next("tell", say(200, {"epoch": "epoch-1", **wishes}))
        (tid,) = peer.lend(PAYLOAD)
        async with running(peer) as rig:
            await received(rig, tid)
            assert rig.engine.verdicts + rig.engine.forgets == []
            assert peer.leases == [[tid]]


def lends(*results: object) -> Turn:
    """Answer a lease with exactly these results."""

    async def turn(peer: FakePeer, request: web.Request) -> web.Response:
        return peer.answer({"results": list(results)})

    return turn


TID = "239f59ed55e737c77147cf55ad0c1b030b6d7ee748a7426952f9b852d5a935e5"  # of b"{}" it is not: bytes that were changed


@pytest.mark.parametrize(
    "item",
    [
        {"payload": '{"other": "bytes"}', "path": []},
        {"payload": 7, "path": []},
        {"payload": None, "path": []},
        {"payload": "{}", "path": "alice-vm"},
        {"payload": "{}", "path": ["../etc"]},
        {"payload": "{}", "path": [f"host-{number}" for number in range(PATH_HOSTS + 1)]},
        {"payload": "\ud800", "path": []},
    ],
    ids=["other bytes", "a number", "null", "path is text", "path is no host", "path too long", "half a pair"],
)
async def test_a_payload_that_is_not_as_it_should_be_is_told_of_and_asked_for_again(item: dict[str, Any]):
    async with FakeLender() as peer:
        (tid,) = peer.lend(b"{}")
        peer.next("lease", lends({"tid": tid, "code": 200, **item}))
        async with running(peer) as rig:
            await received(rig, tid)
            assert rig.engine.received[tid].data == b"{}"
            assert [one.claimed_tid for one in rig.engine.arrivals] == [tid]
            (parked,) = [fields["detail"] for word, fields in rig.events if word == "parked"]
            assert tid[:12] in str(parked)


async def test_what_was_not_asked_for_is_dropped():
    async with FakeLender() as peer:
        (tid,) = peer.lend(b"{}")
        peer.next("lease", lends({"tid": TID, "code": 200, "payload": "x", "path": []}, 7, {"tid": [], "code": 200}))
        async with running(peer) as rig:
            await received(rig, tid)
            assert set(rig.engine.received) == {tid}
            assert rig.words == ["link_up"]


async def test_results_that_are_no_list_shut_the_gate_and_are_asked_for_again():
    async with FakeLender() as peer:
        (tid,) = peer.lend(b"{}")
        peer.next("lease", say(200, {"epoch": "epoch-1", "results": {}}))
        async with running(peer) as rig:
            await received(rig, tid)
            assert peer.sessions >= 2


# ---------------------------------------------------------------- custody cannot, or has it already


async def test_what_custody_cannot_take_now_is_asked_for_again():
    async with FakeLender() as peer:
        (tid,) = peer.lend(PAYLOAD)
        async with running(peer, prepare=lambda rig: setattr(rig.engine, "is_full", True)) as rig:
            await until(lambda: peer.leases)
            await until(lambda: rig.engine.arrivals)
            rig.engine.is_full = False
            peer.lend(PAYLOAD)
            await received(rig, tid)


async def test_what_came_round_in_a_circle_is_told_as_it_is():
    circle = a_record(9, State.REFUSED, reason=Reason.UNROUTABLE)
    async with FakeLender() as peer:
        (tid,) = peer.lend(PAYLOAD)
        told = replace(circle, tid=tid)
        async with running(peer, prepare=lambda rig: setattr(rig.engine, "circle", told)):
            await until(lambda: tid in peer.told)
            assert peer.told[tid][0]["reason"] == "unroutable"


# ---------------------------------------------------------------- the final bytes


def an_end_with_artefact() -> Record:
    return an_end(1, artefact=Artefact("final.json", "0" * 64, len(ARTEFACT)))


def has_artefact(rig: Rig) -> None:
    rig.engine.news.append(an_end_with_artefact())
    rig.engine.artefacts[f"{1:064x}"] = ARTEFACT


async def test_the_final_bytes_are_brought_before_their_end_is_told():
    async with FakeLender() as peer:
        brought_by_then = []

        async def look(peer: FakePeer, request: web.Request) -> web.StreamResponse:
            assert isinstance(peer, FakeLender)
            brought_by_then.append(dict(peer.brought))
            return await peer.behaviour["tell"](peer, request)

        peer.next("tell", look)
        async with running(peer, prepare=has_artefact):
            await until(lambda: f"{1:064x}" in peer.told)
            assert brought_by_then == [{f"{1:064x}": ARTEFACT}]


async def test_a_refusal_of_the_final_bytes_does_not_hold_the_end_back():
    async with FakeLender() as peer:
        peer.next("artefact", refuse(413, "too_large"))
        async with running(peer, prepare=has_artefact):
            await until(lambda: f"{1:064x}" in peer.told)
            assert (peer.calls["artefact"], peer.brought) == (1, {})


@pytest.mark.parametrize("turn", [proxy_503, say(404, {}), refuse(503, "unavailable"), refuse(401, "unauthorized")])
async def test_final_bytes_that_nobody_has_refused_are_brought_again(turn: Turn):
    async with FakeLender() as peer:
        peer.next("artefact", turn)
        async with running(peer, prepare=has_artefact):
            await until(lambda: f"{1:064x}" in peer.told)
            assert peer.brought == {f"{1:064x}": ARTEFACT}


async def test_a_busy_peer_is_heard_before_the_final_bytes_are_brought_again():
    async with FakeLender() as peer:
        peer.next("artefact", refuse(503, "unavailable", "1"))
        async with running(peer, prepare=has_artefact) as rig:
            await until(lambda: "the peer asked for a pause" in rig.link._gate.why_shut)
            await until(lambda: f"{1:064x}" in peer.told)
            assert peer.brought == {f"{1:064x}": ARTEFACT}


async def test_after_three_broken_exchanges_the_end_is_told_without_the_final_bytes():
    async with FakeLender() as peer:
        peer.next("artefact", reset, reset, reset)
        async with running(peer, prepare=has_artefact):
            await until(lambda: f"{1:064x}" in peer.told)
            assert (peer.calls["artefact"], peer.brought) == (3, {})


async def test_many_that_come_at_once_are_leased_a_hundred_at_a_time():
    async with FakeLender() as peer:
        tids = peer.lend(*(b'{"n": %d}' % number for number in range(350)))
        async with running(peer) as rig:
            await received(rig, *tids)
            assert max(map(len, peer.leases)) == 100
            assert len(rig.engine.arrivals) == 350


@asynccontextmanager
async def all_leases_under_way(gates: list[asyncio.Event]) -> AsyncIterator[tuple[FakeLender, Rig, list[TransferId]]]:
    """A backlog of 1,500, of which as many leases as there may be are answered only when the gates open."""
    async with FakeLender() as peer:
        peer.next("lease", *[gated(gate) for gate in gates])
        peer.names_once = True
        backlog = peer.lend(*(b'{"n": %d}' % number for number in range(1_500)))
        async with running(peer) as rig:
            await until(lambda: peer.calls["lease"] == LEASES, "as many leases as there may be")
            yield peer, rig, backlog


async def test_with_all_leases_under_way_nothing_is_told_whose_answer_would_name_more(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("handoffd.link.visit.ROOM_S", 60.0)
    gates = [asyncio.Event() for _ in range(LEASES)]
    async with all_leases_under_way(gates) as (peer, rig, backlog):
        rig.engine.news.append(a_record(7, State.CLAIMED))
        rig.link.changed()
        for number in range(3):  # time in which it could have been told
            tid = rig.take(b'{"ours": %d}' % number)
            await until(lambda tid=tid: tid in peer.store)
        assert (f"{7:064x}" in peer.told, peer.leases) == (False, [])
        for gate in gates:
            gate.set()
        await until(lambda: f"{7:064x}" in peer.told)
        await received(rig, *backlog)


async def test_what_changed_is_told_though_leases_take_long_and_what_the_answer_names_is_left(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr("handoffd.link.visit.ROOM_S", 0.01)
    gates = [asyncio.Event() for _ in range(LEASES)]
    async with all_leases_under_way(gates) as (peer, rig, backlog):
        named = set(peer.named)
        rig.engine.news.append(a_record(7, State.CLAIMED))
        rig.link.changed()
        await until(lambda: f"{7:064x}" in peer.told)
        assert peer.leases == []
        left = peer.named - named
        assert left, "the answer named some"
        for gate in gates:
            gate.set()
        await received(rig, *(tid for tid in backlog if tid not in left))
        assert left.isdisjoint(rig.engine.received)


async def test_a_new_urgent_one_waits_for_one_lease_and_not_for_the_backlog():
    """With all leases under way and each answered only when the test says so."""
    gates = [asyncio.Event() for _ in range(20)]
    async with all_leases_under_way(gates) as (peer, rig, backlog):
        (urgent,) = peer.lend(PAYLOAD, first=True)
        gates[0].set()
        await until(lambda: peer.calls["lease"] == LEASES + 1)
        gates[LEASES].set()
        await received(rig, urgent)
        assert len(rig.engine.received) <= 200, "one lease that ended, and its own"
        for gate in gates:
            gate.set()
        await received(rig, *backlog)
