"""What these tests take for granted of custody and of the link, held against the real ones.

Each runs over the fake engine and over the real engine on a real root.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from tests.unit.hub.fake_engine import BOB, NOW_S, PEER
from tests.unit.hub.harness import Answered, OnNews, Running, fake_custody, payload, running, settings, until

from handoffd.custody.desk import Desk
from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import Attempt, Offer
from handoffd.custody.tree import Settings
from handoffd.hub.settings import HubSettings
from handoffd.link.answer import judge, judge_batch
from handoffd.link.client import PeerClient
from handoffd.link.wire import batch_item, read_greeting, read_records, read_states
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.reason import State


class StillClock:
    def wall(self) -> float:
        return NOW_S

    def boottime(self) -> float:
        return 1000.0


class NoJournal:
    def write(self, event: str, **fields: object) -> None:
        pass


def real_custody(root: Path, chosen: HubSettings, on_news: OnNews) -> tuple[Engine, Desk]:
    peers = {PEER: frozenset({BOB}), HostName("gordon-vm"): frozenset()}
    engine = Engine(
        LinuxFilesystem(root),
        StillClock(),
        Settings(chosen.host, chosen.homes, peers, chosen.max_payload_bytes),
        NoJournal(),
    )
    engine.start("boot-1")
    desk = Desk(engine, on_news, on_death=pytest.fail)
    desk.start()
    return engine, desk


@pytest.fixture(params=["fake", "real"])
async def here(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Running]:
    custody: Callable[..., tuple[Any, Any]] = fake_custody
    if request.param == "real":
        custody = lambda chosen, on_news: real_custody(tmp_path, chosen, on_news)  # noqa: E731
    async with running(settings(max_payload_bytes=10_000), custody=custody) as hub:
        yield hub


def tid_of(data: bytes) -> str:
    return sha256(data).hexdigest()


async def act(here: Running, verb: str, body: object = None, token: str = "token-of-alice") -> Answered:
    return await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/{verb}", token, body)


async def test_a_life_over_http(here: Running) -> None:
    assert (await here.start(payload())).status == 201
    known = await here.start(payload())
    assert (known.status, known.body["status"], known.body["state"]) == (200, "pending", "published")
    assert (await here.ask("GET", "/api/v1/handoffs/poll?agent=alice")).data == payload()
    for _ in range(2):
        won = await act(here, "accept", {"nonce": "n1"})
        assert (won.status, won.data) == (200, payload())
    lost = await act(here, "accept", {"nonce": "n2"})
    assert (lost.status, lost.body["reason"], lost.body["tid"]) == (409, "already_claimed", tid_of(payload()))
    for _ in range(2):
        done = await act(here, "complete")
        assert (done.status, done.body["status"]) == (200, "completed")
    other = await act(here, "reject")
    assert (other.status, other.body["reason"]) == (409, "not_claimed_by_you")
    again = await here.start(payload())
    assert (again.status, again.body["status"], again.body["reason"]) == (200, "completed", "completed")


async def test_refusals(here: Running) -> None:
    for data, token, status, reason in (
        (payload(sender="gordon"), "token-of-bob-vm", 403, "forbidden"),
        (payload(to="gordon"), "token-of-bob-vm", 421, "not_here"),
        (payload(transcript=1), "token-of-bob-vm", 422, "refused_policy"),
        (
            payload(initiated_at="2020-01-01T00:00:00Z", expires_at="2020-01-01T00:01:00Z"),
            "token-of-bob-vm",
            410,
            "expired",
        ),
    ):
        answer = await here.start(data, token)
        assert (answer.status, answer.body["reason"], answer.body["tid"]) == (status, reason, tid_of(data))
        assert answer.body["final"] is (status in (410, 422))


async def test_unknown_and_foreign(here: Running) -> None:
    await here.start(payload())
    for verb in ("accept", "complete", "reject"):
        assert (await act(here, verb, token="token-of-sven")).status == 404
    assert (await act(here, "complete")).status == 409
    assert (await here.ask("GET", f"/api/v1/handoffs/{tid_of(payload())}", "token-of-gordon-vm")).status == 404
    assert (await here.ask("GET", f"/api/v1/handoffs/{tid_of(payload())}/artefact")).status == 404


async def test_a_final_artefact(here: Running) -> None:
    await here.start(payload())
    await act(here, "accept", {"nonce": "n"})
    final = payload(more="words")
    done = await here.ask("POST", f"/api/v1/handoffs/{tid_of(payload())}/complete", body=final)
    assert done.body["record"]["artefact"]["sha256"] == tid_of(final)
    fetched = await here.ask("GET", f"/api/v1/handoffs/{tid_of(payload())}/artefact", "token-of-bob-vm")
    assert (fetched.status, fetched.data) == (200, final)


async def test_a_rejection_keeps_its_words(here: Running) -> None:
    await here.start(payload())
    await act(here, "accept")
    told = await act(here, "reject", {"reason": "no capacity"})
    assert (told.status, told.body["status"], told.body["record"]["detail"]) == (200, "rejected", "no capacity")


async def test_a_batch_and_its_states(here: Running) -> None:
    sent = [payload(number) for number in range(3)]
    items = [{"tid": tid_of(data), "path": [], "payload": data.decode()} for data in sent]
    batch = await here.peer("batch", {"items": [*items, {"tid": "0" * 64, "payload": "{}"}]})
    assert [result["code"] for result in batch.body["results"]] == [201, 201, 201, 400]
    known = {tid_of(data): "published" for data in sent}
    first = await here.peer("states", {"known": known})
    assert first.body["states"] == {}
    hanging = asyncio.ensure_future(here.peer("states", {"since": first.body["cursor"], "wait": 25}))
    await until(lambda: here.hub.notifier.waiters(PEER))
    await here.ask("POST", f"/api/v1/handoffs/{tid_of(sent[1])}/accept", body={"nonce": "n"})
    assert {tid: record["state"] for tid, record in (await hanging).body["states"].items()} == {
        tid_of(sent[1]): "claimed"
    }
    lost = await here.peer("states", {"known": {"0" * 64: "stored"}})
    assert lost.body["lost"] == ["0" * 64]


async def test_a_long_poll_is_woken(here: Running) -> None:
    waiting = asyncio.ensure_future(here.ask("GET", "/api/v1/handoffs/poll?wait=30"))
    await until(lambda: here.hub.notifier.waiters("@alice"))
    await here.start(payload())
    assert (await waiting).data == payload()


async def test_revoke_and_forget(here: Running) -> None:
    await here.start(payload())
    tids = [tid_of(payload()), "0" * 64]
    revoked = await here.peer("revoke", {"tids": tids})
    assert [revoked.body["states"][tid]["state"] for tid in tids] == ["revoked", "revoked"]
    assert tid_of(payload()) in (await here.peer("forget", {"tids": tids})).body["states"]
    assert (await here.start(payload())).status == 410


# ---------------------------------------------------------------- the link's client reads what the hub writes


@pytest.fixture
async def client(here: Running) -> AsyncIterator[PeerClient]:
    speaks = PeerClient(f"http://127.0.0.1:{here.port}", None, "token-of-bob-vm", PEER, "1.0.0")
    yield speaks
    await speaks.close()


def offer(data: bytes) -> Offer:
    return Offer(HostName("hub-vm"), TransferId(tid_of(data)), data, NOW_S + 60)


async def test_a_peer_that_says_hello_is_heard(here: Running, client: PeerClient) -> None:
    heard: list[str] = []
    here.hub.heard = heard.append
    await client.hello()
    assert heard == [PEER]


async def test_the_link_reads_hello(here: Running, client: PeerClient) -> None:
    greeting = read_greeting((await client.hello()).body)
    assert (greeting.epoch, greeting.homes, greeting.pulls) == (here.engine.epoch, {"alice", "sven"}, False)


async def test_the_link_reads_every_answer_to_a_payload(here: Running, client: PeerClient) -> None:
    epoch = here.engine.epoch
    for data, told_epoch, attempt in (
        (payload(1), epoch, Attempt.ADMITTED),
        (payload(1), epoch, Attempt.ADMITTED),
        (payload(1), "other", Attempt.NOT_ADMITTED),
        (payload(2, to="gordon"), epoch, Attempt.NOT_ADMITTED),
        (payload(3, sender="gordon"), epoch, Attempt.NOT_ADMITTED),
        (payload(4, transcript="x" * 20_000), epoch, Attempt.NOT_ADMITTED),
        (payload(5, transcript=1), epoch, Attempt.ENDED),
    ):
        reply = await client.start(offer(data), told_epoch)
        assert judge(offer(data), reply.status, reply.body, told_epoch).attempt is attempt, reply.body


async def test_the_link_reads_a_batch(here: Running, client: PeerClient) -> None:
    offers = [offer(payload(1)), offer(payload(2, to="gordon")), offer(payload(3, transcript=1))]
    items = [item for item in (batch_item(one, ("bob-vm",)) for one in offers) if item is not None]
    reply = await client.batch(items, here.engine.epoch)
    judged = judge_batch(offers, reply.status, reply.body, here.engine.epoch)
    assert [one.attempt for one in judged] == [Attempt.ADMITTED, Attempt.NOT_ADMITTED, Attempt.ENDED]
    refused = await client.batch(items, "other")
    judged = judge_batch(offers, refused.status, refused.body, "other")
    assert {one.attempt for one in judged} == {Attempt.NOT_ADMITTED}


async def test_the_link_takes_a_failure_in_the_middle_for_no_answer(here: Running, client: PeerClient) -> None:
    here.hub.engine = Wrapped(here.engine, admit=lambda items: [None for _ in here.engine.admit(items)])
    one = offer(payload())
    item = batch_item(one, ())
    assert item is not None
    alone, batch = await client.start(one, here.engine.epoch), await client.batch([item], here.engine.epoch)
    assert judge(one, alone.status, alone.body, here.engine.epoch).attempt is Attempt.UNKNOWN
    assert judge_batch([one], batch.status, batch.body, here.engine.epoch)[0].attempt is Attempt.UNKNOWN


class Wrapped:
    """An engine with some of its methods replaced."""

    def __init__(self, engine: Any, **methods: Callable[[Any], Any]) -> None:
        self._engine = engine
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)


async def test_the_link_reads_states_and_records(here: Running, client: PeerClient) -> None:
    epoch, tid = here.engine.epoch, TransferId(tid_of(payload()))
    await client.start(offer(payload()), epoch)
    page = read_states((await client.states({}, None, 0.0, epoch)).body)
    await act(here, "accept", {"nonce": "n"})
    risen = read_states((await client.states({}, page.cursor, 0.0, epoch)).body)
    assert [(record.tid, record.state) for record in risen.records.good] == [(tid, State.CLAIMED)]
    assert not risen.reset
    revoked = read_records((await client.revoke([tid], epoch)).body)
    assert [record.state for record in revoked.good] == [State.CLAIMED]


async def test_a_desk_that_has_stopped(here: Running) -> None:
    await asyncio.to_thread(here.desk.stop)
    answer = await here.start(payload(), **{"Idempotency-Key": tid_of(payload())})
    assert (answer.status, answer.body["reason"], answer.body["tid"]) == (503, "unavailable", tid_of(payload()))
