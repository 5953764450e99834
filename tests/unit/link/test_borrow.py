"""Leases under way: how many, how large, and how long the pauses are after a setback, by a clock of their own."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from tests.unit.link.fake_custody import PEER, FakeEngine
from tests.unit.link.passing import passing

from handoffd.custody.message import Principal
from handoffd.link.answer import read_body
from handoffd.link.borrow import LEASES, Borrower
from handoffd.link.client import Reply
from handoffd.link.lane import NoAnswer, NotSent
from handoffd.link.ties import Ties
from handoffd.protocol.name import TransferId
from handoffd.protocol.record import Record
from handoffd.protocol.timing import BATCH_ITEMS, RETRY_DELAYS_S

EPOCH = "epoch-1"
Turn = Callable[[list[str]], Coroutine[Any, Any, Reply]]


class InlineDesk:
    """Custody at once, on the loop: its answers are there before anybody waits."""

    def submit(self, method: Callable[[list[Any]], list[Any]], item: Any) -> Future[Any]:
        return self._done(method([item])[0])

    def submit_many(self, method: Callable[[list[Any]], list[Any]], items: list[Any]) -> Future[list[Any]]:
        return self._done(method(items))

    @staticmethod
    def _done(answer: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(answer)
        return future


@dataclass
class Gate:
    """Open, of one epoch; it counts the doubts that were cast on it."""

    open: bool = True
    epoch: str = EPOCH
    doubts: int = 0
    heard: int = 0

    def hear(self, reply: Reply) -> None:
        self.heard += 1

    def is_own(self, reply: Reply, epoch: str) -> bool:
        return reply.status == 200 and reply.body is not None and reply.body.get("epoch") == epoch

    def suspect(self) -> None:
        self.doubts += 1


@dataclass
class Wire:
    """Answers leases as the turns say; `asked`: when each was asked for, and for what."""

    turn: Turn
    asked: list[tuple[float, list[str]]] = field(default_factory=list)
    under_way: int = 0
    most: int = 0

    async def lease(self, tids: tuple[TransferId, ...], epoch: str) -> Reply:
        assert epoch == EPOCH
        self.asked.append((asyncio.get_running_loop().time(), list(tids)))
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            return await self.turn(list(tids))
        finally:
            self.under_way -= 1


def reply(fields: dict[str, Any], status: int = 200) -> Reply:
    data = json.dumps({"epoch": EPOCH, **fields}).encode()
    return Reply(status, data, read_body(data), None, 0.001)


def lent(tids: list[str], data: bytes | None = None) -> Reply:
    return reply({"results": [{"tid": tid, "code": 200, "payload": (data or BYTES[tid]).decode()} for tid in tids]})


async def lends(tids: list[str]) -> Reply:
    return lent(tids)


BYTES: dict[str, bytes] = {}


def tids(count: int, first: int = 0) -> list[TransferId]:
    found = []
    for number in range(first, first + count):
        data = b'{"n": %d}' % number
        found.append(TransferId(sha256(data).hexdigest()))
        BYTES[found[-1]] = data
    return found


@dataclass
class Rig:
    borrower: Borrower
    engine: FakeEngine
    gate: Gate
    wire: Wire
    events: list[str]
    told: list[Record]

    async def idle(self) -> None:
        """Let all that is under way end."""
        while self.borrower._under_way:
            await asyncio.sleep(0.001)


@asynccontextmanager
async def borrowing(turn: Turn = lends) -> AsyncIterator[Rig]:
    engine, gate, wire = FakeEngine(), Gate(), Wire(turn)
    events: list[str] = []
    told: list[Record] = []
    ties = Ties(PEER, InlineDesk(), engine, lambda: 0.0, lambda: 0.5, lambda word, **_: events.append(word))  # type: ignore[arg-type]
    borrower = Borrower(ties, wire, gate, Principal(PEER, None, frozenset()), told.extend)  # type: ignore[arg-type]
    job = asyncio.get_running_loop().create_task(borrower.run())
    await asyncio.sleep(0)
    try:
        yield Rig(borrower, engine, gate, wire, events, told)
    finally:
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job


# ---------------------------------------------------------------- how many


def test_a_lease_is_for_a_hundred_at_the_most() -> None:
    async def main() -> None:
        async with borrowing() as rig:
            rig.borrower.take(tids(250))
            await rig.idle()
            assert [len(asked) for _, asked in rig.wire.asked] == [BATCH_ITEMS, BATCH_ITEMS, 50]
            assert len(rig.engine.received) == 250

    passing(main())


def test_what_is_under_way_is_not_asked_for_twice() -> None:
    async def main() -> None:
        async with borrowing(slow) as rig:
            rig.borrower.take(tids(3))
            rig.borrower.take(tids(4))
            await rig.idle()
            assert [len(asked) for _, asked in rig.wire.asked] == [3, 1]
            rig.borrower.take(tids(3))  # it is known by now, so nothing is asked
            await rig.idle()
            assert len(rig.wire.asked) == 2

    passing(main())


async def slow(asked: list[str]) -> Reply:
    await asyncio.sleep(1.0)
    return lent(asked)


def test_with_four_under_way_no_more_is_heard_of_until_one_has_ended() -> None:
    async def main() -> None:
        async with borrowing(slow) as rig:
            for number in range(LEASES):
                await rig.borrower.has_room()
                rig.borrower.take(tids(1, number))
            began_s = asyncio.get_running_loop().time()
            await rig.borrower.has_room()
            assert asyncio.get_running_loop().time() - began_s >= 0.9
            await rig.idle()
            assert rig.wire.most == LEASES

    passing(main())


def test_whoever_names_more_four_are_under_way() -> None:
    async def main() -> None:
        async with borrowing(slow) as rig:
            for number in range(3 * LEASES):
                rig.borrower.take(tids(1, number))
            await rig.idle()
            assert [len(asked) for _, asked in rig.wire.asked] == [1] * LEASES + [2 * LEASES]
            assert (rig.wire.most, len(rig.engine.received)) == (LEASES, 3 * LEASES)

    passing(main())


def test_after_a_lease_that_was_not_answered_fewer_are_asked_for() -> None:
    async def torn(asked: list[str]) -> Reply:
        if len(asked) > 30:
            raise NoAnswer("too slow")
        return lent(asked)

    async def main() -> None:
        async with borrowing(torn) as rig:
            for _ in range(3):
                rig.borrower.take(tids(100))
                await rig.idle()
            assert [len(asked) for _, asked in rig.wire.asked[:3]] == [100, 50, 50]
            assert len(rig.engine.received) == 100

    passing(main())


def test_behind_a_gate_that_is_shut_nothing_is_asked() -> None:
    async def main() -> None:
        async with borrowing() as rig:
            rig.gate.open = False
            rig.borrower.take(tids(1))
            await rig.idle()
            assert rig.wire.asked == []

    passing(main())


# ---------------------------------------------------------------- setbacks


def pauses(rig: Rig) -> list[float]:
    at_s = [when_s for when_s, _ in rig.wire.asked]
    return [round(after - before, 2) for before, after in itertools.pairwise(at_s)]


async def ask_again_and_again(rig: Rig, times: int) -> None:
    for _ in range(times):
        rig.borrower.take(tids(1))
        await rig.idle()


def test_after_each_setback_in_a_row_the_pause_grows_up_to_five_seconds() -> None:
    async def main() -> None:
        async with borrowing() as rig:
            rig.engine.is_full = True
            await ask_again_and_again(rig, len(RETRY_DELAYS_S) + 3)
            assert RETRY_DELAYS_S == (0.25, 0.5, 1.0, 2.0, 4.0, 5.0)
            assert pauses(rig) == [*RETRY_DELAYS_S, 5.0, 5.0]

    passing(main())


def test_bytes_that_were_changed_on_their_way_are_a_setback_too() -> None:
    async def changed(asked: list[str]) -> Reply:
        return lent(asked, b"{}")

    async def main() -> None:
        async with borrowing(changed) as rig:
            await ask_again_and_again(rig, 3)
            assert (pauses(rig), rig.events) == ([0.25, 0.5], ["parked"] * 3)
            assert rig.gate.doubts == 0

    passing(main())


def test_after_a_lease_that_went_well_there_is_no_pause() -> None:
    async def main() -> None:
        async with borrowing() as rig:
            rig.engine.is_full = True
            await ask_again_and_again(rig, 4)
            rig.engine.is_full = False
            await ask_again_and_again(rig, 1)
            began_s = asyncio.get_running_loop().time()
            rig.borrower.take(tids(1, 7))
            await rig.idle()
            assert asyncio.get_running_loop().time() - began_s < RETRY_DELAYS_S[0]
            rig.engine.is_full = True
            rig.borrower.take(tids(1, 8))
            await rig.idle()
            rig.borrower.take(tids(1, 8))
            await rig.idle()
            assert pauses(rig)[-1] == RETRY_DELAYS_S[0], "the pauses begin anew"

    passing(main())


def test_what_another_home_has_or_is_gone_is_no_setback() -> None:
    async def gone(asked: list[str]) -> Reply:
        codes = [409, 410, 404]
        return reply({"results": [{"tid": tid, "code": code} for tid, code in zip(asked, codes, strict=True)]})

    async def main() -> None:
        async with borrowing(gone) as rig:
            began_s = asyncio.get_running_loop().time()
            rig.borrower.take(tids(3))
            await rig.idle()
            assert asyncio.get_running_loop().time() - began_s < RETRY_DELAYS_S[0]
            assert (rig.events, rig.engine.arrivals, rig.told) == (["leased_elsewhere"], [], [])

    passing(main())


def test_answers_that_are_none_are_setbacks_however_well_hello_is_answered() -> None:
    async def refuses(asked: list[str]) -> Reply:
        return reply({}, 500)

    async def main() -> None:
        async with borrowing(refuses) as rig:
            await ask_again_and_again(rig, 4)
            assert pauses(rig) == [0.25, 0.5, 1.0]
            assert rig.gate.doubts == 4

    passing(main())


def test_a_broken_exchange_casts_doubt_on_the_link_and_the_lease_may_be_asked_for_again() -> None:
    failures: list[Exception] = [NotSent("unreachable", "no"), NoAnswer("torn")]

    async def breaks(asked: list[str]) -> Reply:
        if failures:
            raise failures.pop()
        return lent(asked)

    async def main() -> None:
        async with borrowing(breaks) as rig:
            await ask_again_and_again(rig, 2)
            assert (rig.gate.doubts, rig.engine.arrivals) == (2, [])
            await ask_again_and_again(rig, 1)
            assert len(rig.engine.received) == 1

    passing(main())


def test_an_answer_of_another_tree_is_not_used() -> None:
    async def other(asked: list[str]) -> Reply:
        answer = lent(asked)
        assert answer.body is not None
        return Reply(200, answer.data, {**answer.body, "epoch": "epoch-0"}, None, 0.001)

    async def main() -> None:
        async with borrowing(other) as rig:
            await ask_again_and_again(rig, 1)
            assert (rig.gate.doubts, rig.engine.arrivals, rig.gate.heard) == (1, [], 1)

    passing(main())
