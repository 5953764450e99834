"""When a link is up, why it is not, and how often it asks."""

import asyncio
import re
from itertools import pairwise
from pathlib import Path

import pytest
from tests.unit.link.fake_peer import FakePeer, gated, hang, proxy_503, refuse, reset, say
from tests.unit.link.rig import NOW_S, Rig, running, until
from yarl import URL

from handoffd.custody.message import Attempt
from handoffd.link import gate, trouble
from handoffd.link.gate import Gate
from handoffd.link.pace import PROBE_GAP_S
from handoffd.protocol.name import AgentName


async def test_a_link_tells_of_its_edges_once_each():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        await peer.down()
        await until(lambda: rig.link.status()["state"] == "down")
        probes = peer.calls["hello"]
        await peer.up()
        await rig.up()
        assert rig.words == ["link_up", "link_down", "link_up"]
        assert peer.calls["hello"] == probes + 1


async def test_a_peer_that_cannot_be_reached_is_down_with_a_remedy():
    async with FakePeer() as peer:
        await peer.down()
        async with running(peer) as rig:
            await until(lambda: rig.words)
            assert rig.events[0][1]["reason"] == "unreachable"
            assert rig.link.status()["state"] == "down"
            assert "firewall" in rig.error["remedy"]


async def test_an_offer_brings_the_next_probe_forward():
    async with FakePeer() as peer:
        await peer.down()
        async with running(peer) as rig:
            pace, loop = rig.link._gate._pace, asyncio.get_running_loop()
            await until(lambda: 0.7 < pace._next - loop.time() < 10.0)
            planned_s = pace._next
            rig.take(b"{}")
            assert pace._next < planned_s
            assert pace._next <= loop.time() + PROBE_GAP_S


async def test_offers_never_bring_probes_closer_than_a_quarter_of_a_second():
    async with FakePeer() as peer:
        moments = []

        async def refuse_and_note(peer, request):
            moments.append(asyncio.get_running_loop().time())
            return await proxy_503(peer, request)

        peer.next("hello", *[refuse_and_note] * 100)
        async with running(peer) as rig:
            n = 0
            while len(moments) < 4:
                rig.take(b"[%d]" % (n := n + 1))
                await asyncio.sleep(0.001)
        assert min(later - earlier for earlier, later in pairwise(moments)) >= 0.24


async def test_a_peer_that_stays_away_is_asked_less_and_less_often():
    async with FakePeer() as peer:
        moments = []

        async def note(peer, request):
            moments.append(asyncio.get_running_loop().time())
            return await proxy_503(peer, request)

        peer.next("hello", *[note] * 4)
        async with running(peer) as rig:
            await rig.up()
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert [gap >= least_s for gap, least_s in zip(gaps, (0.25, 0.5, 1.0), strict=True)] == [True] * 3


@pytest.mark.parametrize(
    ("turn", "word", "state"),
    [
        (refuse(401, "unauthorized"), "wrong_token", "refused"),
        (say(401, {"reason": "unauthorized", "unpaired": True}), "unpaired", "refused"),
        (say(401, {"reason": "unauthorized", "unpaired": "yes"}), "wrong_token", "refused"),
        (refuse(403, "forbidden"), "forbidden", "refused"),
        (refuse(404, "not_found"), "not_handoffd", "refused"),
        (refuse(503, "unavailable"), "busy", "down"),
        (refuse(429, "rate_limited", retry_after="1"), "busy", "down"),
        (proxy_503, "busy", "down"),
        (say(200, []), "not_handoffd", "refused"),
        (say(200, {"epoch": "a b", "version": "0.1.0", "homes": []}), "not_handoffd", "refused"),
        (say(200, {"epoch": "e", "version": "1.0.0", "homes": []}), "wrong_version", "refused"),
        (say(200, {"epoch": "e", "version": "0.9.0", "homes": ["alice", "bob"]}), "conflict", "refused"),
    ],
)
async def test_a_hello_that_opens_nothing_says_why_and_what_to_do(turn, word, state, monkeypatch):
    monkeypatch.setattr(gate, "PAIRING_S", 0.0)
    async with FakePeer() as peer:
        peer.next("hello", *[turn] * 100)
        async with running(peer) as rig:
            await until(lambda: "link_down" in rig.words)
            assert rig.link.status()["state"] == state
            assert rig.error["word"] == word
            assert rig.error["detail"]
            assert rig.error["remedy"]
            assert rig.engine.epochs == []


async def test_a_token_that_the_peer_takes_up_a_moment_later_is_no_news(monkeypatch):
    monkeypatch.setattr(gate, "PAIRING_S", 3_600.0)
    async with FakePeer() as peer:
        peer.next("hello", *[refuse(401, "unauthorized")] * 3)
        async with running(peer) as rig:
            await until(lambda: peer.calls["hello"] == 2)
            assert (rig.link.status()["state"], rig.link.status()["error"]) == ("down", None)
            await rig.up()
            assert rig.words == ["link_up"]


async def test_a_token_that_was_known_once_and_is_no_more_is_told_at_once(monkeypatch):
    monkeypatch.setattr(gate, "PAIRING_S", 3_600.0)
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("hello", *[refuse(401, "unauthorized")] * 100)
        rig.link._gate.suspect()
        await until(lambda: rig.words == ["link_up", "link_down"])
        assert rig.error["word"] == "wrong_token"


async def test_an_agent_at_home_on_both_hosts_is_an_event_and_nothing_is_sent():
    async with FakePeer(homes=("alice", "bob")) as peer, running(peer) as rig:
        await until(lambda: rig.words == ["link_conflict", "link_down"])
        assert rig.events[0][1]["agents"] == [AgentName("bob")]
        tid = rig.take(b"{}")
        await until(lambda: rig.engine.attempts(tid))
        assert rig.engine.attempts(tid) == [Attempt.NOT_SENT]
        assert peer.calls["start"] == 0


async def test_a_wrong_certificate_names_both_fingerprints(tls, other_tls):
    async with FakePeer(other_tls.server) as peer, running(peer, tls.client, (tls.fingerprint,)) as rig:
        await until(lambda: rig.words)
        assert rig.link.status()["state"] == "refused"
        assert rig.error["word"] == "wrong_certificate"
        assert tls.fingerprint in rig.error["detail"]
        assert other_tls.fingerprint in rig.error["detail"]
        assert peer.calls == {}


async def test_a_port_without_tls_says_so(tls):
    async with FakePeer() as plain:
        rig = Rig(plain, tls.client)
        rig.client._url = URL(plain.url.replace("http:", "https:"))
        await rig.client.renew()
        job = asyncio.get_running_loop().create_task(rig.link.run())
        await until(lambda: rig.words)
        assert rig.error["word"] == "tls_failed"
        job.cancel()
        await asyncio.wait([job])
        rig.desk.stop()


async def test_a_token_that_stops_being_right_shows_in_the_state():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", refuse(401, "unauthorized"))
        peer.next("hello", *[refuse(401, "unauthorized")] * 100)
        tid = rig.take(b"{}")
        await until(lambda: rig.link.status()["state"] == "refused")
        assert rig.engine.attempts(tid) == [Attempt.NOT_ADMITTED]
        assert rig.words == ["link_up", "link_down"]


async def test_custody_may_say_no_to_an_epoch():
    def refuse_epochs(rig):
        rig.engine.notes_epochs = False

    async with FakePeer() as peer, running(peer, prepare=refuse_epochs) as rig:
        await until(lambda: rig.words)
        assert rig.error["word"] == "not_ready"
        rig.engine.notes_epochs = True
        await rig.up()


async def test_one_broken_exchange_is_checked_without_an_edge():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        peer.next("start", reset)
        tid = rig.take(b"{}")
        await until(lambda: Attempt.ADMITTED in rig.engine.attempts(tid))
        assert rig.words == ["link_up"]


async def test_a_payload_that_comes_during_the_check_waits_for_its_end():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        answered = asyncio.Event()
        peer.next("start", reset)
        peer.next("hello", gated(answered))
        rig.take(b"[1]")
        await until(lambda: peer.calls["hello"] == 2)
        second = rig.take(b"[2]")
        assert rig.link.status()["waiting"] == 1
        answered.set()
        await until(lambda: rig.engine.attempts(second))
        assert rig.engine.attempts(second) == [Attempt.ADMITTED]


async def test_a_peer_that_stops_answering_is_reached_again_over_new_connections(monkeypatch):
    monkeypatch.setattr("handoffd.link.client.HELLO_TOTAL_S", 1.0)
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        old = rig.client._lane
        peer.next("hello", hang)
        rig.link._gate.suspect()
        await until(lambda: rig.words == ["link_up", "link_down", "link_up"])
        assert rig.client._lane is not old


async def test_the_next_payload_finds_a_connection_open_beside_the_hanging_poll(tls):
    async with FakePeer(tls.server) as peer, running(peer, tls.client) as rig:
        await until(lambda: peer.calls["states"] == 2)
        await until(lambda: peer.calls["hello"] == 2 and peer.busy == 1)
        idle = rig.client._lane._connector._conns
        await until(lambda: sum(map(len, idle.values())) == 1)


async def test_the_clock_of_the_peer_is_measured():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        assert abs(rig.link.status()["clock_offset_ms"]) < 5_000  # one machine, one clock
        assert rig.link.status()["round_trip_ms"] > 0


@pytest.mark.parametrize("time", [None, 7, "yesterday", "9" * 500, "2026-11-20T10:00:00"])
async def test_a_clock_that_cannot_be_read_is_unknown(time):
    async with FakePeer() as peer:
        peer.time = time
        async with running(peer) as rig:
            await rig.up()
            assert rig.link.status()["clock_offset_ms"] is None


async def test_the_status_says_since_when():
    async with FakePeer() as peer, running(peer) as rig:
        await rig.up()
        assert rig.link.status()["since"] == "2026-11-20T10:00:00.000Z"
        assert rig.now_s == NOW_S
        assert rig.link.status()["homes"] == ["alice"]
        assert (rig.link.status()["epoch"], rig.link.status()["version"]) == ("epoch-1", "0.1.0")


async def test_what_runs_while_the_gate_is_open_ends_when_it_shuts():
    async with FakePeer() as peer:
        rig = Rig(peer, None)
        gate: Gate = rig.link._gate
        with pytest.raises(TimeoutError):
            async with gate.while_open():
                await asyncio.Event().wait()
        gate._opened.set()
        with pytest.raises(TimeoutError):
            async with gate.while_open():
                gate.suspect()
                gate.suspect()
                await asyncio.Event().wait()
        await rig.client.close()
        rig.desk.stop()


def test_every_word_of_trouble_is_explained_in_the_documentation():
    source = Path(trouble.__file__).read_text()
    words = set(re.findall(r'(?:Trouble\(|return )"([a-z_]+)"', source)) | {"unreachable", "tls_failed"}
    page = (Path(__file__).parents[3] / "docs" / "link.md").read_text()
    assert len(words) == 12
    assert [word for word in sorted(words) if f"| `{word}` |" not in page] == []
