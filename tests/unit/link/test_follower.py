"""Following the peer's states, and bringing artefacts home."""

import pytest
from tests.unit.link.fake_peer import FakePeer, proxy_503, refuse, reset, say
from tests.unit.link.rig import running, until

from handoffd.custody.message import Debts, Landing
from handoffd.protocol.name import TransferId
from handoffd.protocol.reason import State

T, U = TransferId("a" * 64), TransferId("b" * 64)
ARTEFACT = {"name": "1-bob-alice-x.json", "sha256": "c" * 64, "size": 5}


async def test_a_change_at_the_peer_is_mirrored():
    async with FakePeer() as peer, running(peer) as rig:
        await until(lambda: peer.calls["states"] == 2)
        await peer.change(T, "claimed")
        await until(lambda: rig.engine.state(T) is State.CLAIMED)
        assert rig.engine.mirrored[0].peer == "alice-vm"
        assert rig.engine.mirrored[0].clock_offset_ms == rig.link.status()["clock_offset_ms"]


async def test_each_change_is_told_once_however_they_fall_between_polls():
    async with FakePeer() as peer, running(peer) as rig:
        await until(lambda: peer.calls["states"] == 2)
        for n in range(20):
            await peer.change(TransferId(f"{n:064x}"), "claimed")
        await until(lambda: len(rig.engine.mirrored) == 20)
        assert peer.calls["states"] < 20  # a flood comes in groups


async def test_all_that_is_open_is_compared_at_every_hello_by_pages():
    async with FakePeer() as peer:
        known = {TransferId(f"{n:064x}"): State.STORED for n in range(2_300)}
        peer.records = {tid: peer.record(tid, "claimed") for tid in known}
        async with running(peer, prepare=lambda rig: setattr(rig.engine, "owed", Debts(known=known))) as rig:
            await until(lambda: len(rig.engine.mirrored) == 2_300)
            assert [len(asked["known"]) for asked in peer.asked if asked["known"]] == [1_000, 1_000, 300]


@pytest.mark.usefixtures("brisk")
async def test_a_cursor_the_peer_does_not_know_leads_to_a_sweep():
    async with FakePeer() as peer:
        peer._changes = [T, U]
        peer.records = {T: peer.record(T, "stored"), U: peer.record(U, "stored")}
        async with running(
            peer, prepare=lambda rig: setattr(rig.engine, "owed", Debts(known={T: State.STORED}))
        ) as rig:
            await until(lambda: peer.calls["states"] == 3)  # the cursor, the sweep, the hanging poll
            peer.records[T] = peer.record(T, "published")
            peer._changes = []  # the peer's daemon was started again
            async with peer._changed:
                peer._changed.notify_all()
            rig.link._gate.suspect()
            await until(lambda: rig.engine.state(T) is State.PUBLISHED)


async def test_what_the_peer_had_and_does_not_know_any_more_is_told_to_custody():
    def know_two(rig):
        rig.engine.owed = Debts(known={T: State.STORED, U: State.PUBLISHED})

    async with FakePeer() as peer:
        peer.records = {T: peer.record(T, "stored")}
        async with running(peer, prepare=know_two) as rig:
            await until(lambda: rig.engine.missing)
            assert rig.engine.missing == [U]


async def test_a_peer_may_lose_only_what_it_was_asked_about():
    async with FakePeer() as peer:
        body = {"epoch": "epoch-1", "cursor": "0", "states": {}, "lost": [U, 7, None, "../x"]}
        peer.next("states", *[say(200, body)] * 2)
        peer.records = {T: peer.record(T, "stored")}

        def know_one(rig):
            rig.engine.owed = Debts(known={T: State.STORED}, revoke=())

        async with running(peer, prepare=know_one) as rig:
            await until(lambda: peer.calls["states"] >= 3)
            assert rig.engine.missing == []


async def test_one_record_that_cannot_be_used_does_not_hold_back_the_others():
    async with FakePeer() as peer, running(peer) as rig:
        await until(lambda: peer.calls["states"] == 2)
        peer.records[T] = {}
        peer._changes.append(T)
        await peer.change(U, "claimed")
        await until(lambda: rig.engine.state(U) is State.CLAIMED)
        assert rig.engine.state(T) is None
        assert T[:12] in str(dict(rig.events)["news_stopped"]["detail"])


@pytest.mark.slow  # each waits out three polls
@pytest.mark.parametrize(
    ("turn", "words"),
    [
        (refuse(403, "forbidden"), "403 forbidden"),
        (refuse(400, "bad_request"), "400 bad_request"),
        (refuse(500, "unavailable"), "500 unavailable"),
        (refuse(429, "rate_limited"), "429 rate_limited"),
        (say(200, {"epoch": "epoch-1", "states": []}), "no cursor"),
        (say(200, {"epoch": "epoch-9", "cursor": "0", "states": {}}), "200"),
        (proxy_503, "503"),
        (reset, ""),
    ],
)
async def test_a_peer_that_never_tells_what_became_of_handoffs_is_no_quiet_link(turn, words, monkeypatch):
    monkeypatch.setattr("handoffd.link.follower.EMPTY_GAP_S", 0.01)
    async with FakePeer() as peer:
        peer.next("states", *[turn] * 10)
        async with running(peer) as rig:
            await until(lambda: "news_stopped" in rig.words)
            assert rig.link.status()["state"] == "up"
            assert rig.error["word"] == "no_news"
            assert words in rig.error["detail"]
            assert rig.error["remedy"]
            fields = dict(rig.events)["news_stopped"]
            assert (fields["peer"], fields["reason"]) == ("alice-vm", "no_news")
            await until(lambda: rig.words[-1] == "news_resumed")
            assert rig.link.status()["error"] is None
            assert rig.words == ["link_up", "news_stopped", "news_resumed"], "each edge once"


@pytest.mark.usefixtures("brisk")
async def test_two_failures_are_no_edge():
    async with FakePeer() as peer:
        peer.next("states", reset, refuse(500, "unavailable"))
        async with running(peer) as rig:
            await until(lambda: peer.calls["states"] == 4)
            assert rig.words == ["link_up"]


async def test_a_record_that_cannot_be_used_is_told_until_a_sweep_finds_none(monkeypatch):
    monkeypatch.setattr("handoffd.link.payer.SWEEP_S", 0.05)
    async with FakePeer() as peer:
        peer.records = {T: {}}
        peer._changes = [T]

        def know_one(rig):
            rig.engine.owed = Debts(known={T: State.STORED}, next_s=0.05)

        async def sweep_finds(peer, request):
            known = (await request.json())["known"]
            return peer.answer({"states": {tid: {} for tid in known}, "cursor": "1"})

        peer.next("states", *[sweep_finds] * 3)
        async with running(peer, prepare=know_one) as rig:
            await until(lambda: "news_stopped" in rig.words)
            assert rig.error["word"] == "unreadable_news"
            assert T[:12] in rig.error["detail"]
            peer.records[T] = peer.record(T, "claimed")
            await until(lambda: rig.words[-1] == "news_resumed")
            assert rig.link.status()["unreadable"] is None


@pytest.mark.usefixtures("brisk")
async def test_an_answer_of_another_epoch_is_ignored():
    async with FakePeer() as peer:
        body = {"epoch": "epoch-9", "cursor": "0", "states": {T: peer.record(T, "claimed")}}
        peer.next("states", say(200, body))
        async with running(peer) as rig:
            await until(lambda: peer.calls["states"] >= 2)
            assert rig.engine.mirrored == []


async def test_a_peer_that_never_hangs_does_not_make_us_spin(monkeypatch):
    monkeypatch.setattr("handoffd.link.follower.EMPTY_GAP_S", 0.1)
    async with FakePeer() as peer:
        peer.next("states", *[say(200, {"epoch": "epoch-1", "cursor": "0", "states": {}})] * 1_000)
        async with running(peer) as rig:
            await rig.up()
            begun_s = rig.link._gate._loop.time()
            await until(lambda: peer.calls["states"] >= 5)
            assert rig.link._gate._loop.time() - begun_s > 0.2


@pytest.mark.usefixtures("brisk")
async def test_following_goes_on_after_a_broken_poll():
    async with FakePeer() as peer:
        peer.next("states", reset, refuse(503, "unavailable"))
        async with running(peer) as rig:
            await until(lambda: peer.calls["states"] == 4)
            await peer.change(T, "claimed")
            await until(lambda: rig.engine.state(T) is State.CLAIMED)


async def test_an_artefact_comes_home_once():
    async with FakePeer() as peer, running(peer) as rig:
        peer.artefacts[T] = b"final"
        await until(lambda: peer.calls["states"] == 2)
        await peer.change(T, "completed", reason="completed", artefact=ARTEFACT)
        await until(lambda: rig.engine.landed)
        assert rig.engine.landed == [Landing(T, b"final")]
        assert peer.calls["artefact"] == 1


async def test_an_artefact_that_is_not_there_is_landed_as_missing():
    async with FakePeer() as peer, running(peer) as rig:
        peer.next("artefact", refuse(404, "not_found"), reset)
        rig.engine.owed = Debts(fetch=(T,))
        rig.link.owed()
        await until(lambda: rig.engine.landed)
        assert rig.engine.landed == [Landing(T, None)]


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("turn", [refuse(429, "rate_limited"), refuse(503, "unavailable"), proxy_503])
async def test_an_artefact_that_cannot_be_had_yet_is_asked_for_again(turn):
    async with FakePeer() as peer, running(peer) as rig:
        peer.artefacts[T] = b"final"
        peer.next("artefact", turn)
        rig.engine.owed = Debts(fetch=(T,))
        rig.link.owed()
        await until(lambda: rig.engine.landed)
        assert rig.engine.landed == [Landing(T, b"final")]


@pytest.mark.usefixtures("brisk")
async def test_an_artefact_waits_for_the_link():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.artefacts[T] = b"final"
        await peer.down()
        await until(lambda: rig.link.status()["state"] == "down")
        rig.link._payer._fetcher.want(T)
        rig.link._payer._fetcher.want(T)
        await peer.up()
        await until(lambda: rig.engine.landed)
        assert rig.engine.landed == [Landing(T, b"final")]
