"""What is owed to a peer that says hello and takes nothing: how often it is tried, by a clock of its own."""

import asyncio
import itertools
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from tests.unit.link.fake_custody import PEER, FakeEngine
from tests.unit.link.passing import passing
from tests.unit.link.test_borrow import EPOCH, Gate, InlineDesk, reply

from handoffd.custody.message import Debts
from handoffd.link.client import Reply
from handoffd.link.lane import NoAnswer
from handoffd.link.payer import Payer
from handoffd.link.ties import Ties
from handoffd.protocol.name import TransferId

T = TransferId("a" * 64)
REFUSED = reply({"status": 500}, 500)
TAKEN = reply({"states": {}})


class OpenGate(Gate):
    """Hello is answered well, whatever else is not."""

    async def wait_open(self) -> None:
        return


def tries(*answers: Reply | Exception) -> list[float]:
    """Return the pauses between tries to pay a debt that stays, the last answer repeated; at most ten."""

    async def main() -> list[float]:
        left = list(answers)
        at_s: list[float] = []
        enough = asyncio.Event()

        async def forget(tids: tuple[TransferId, ...], epoch: str) -> Reply:
            at_s.append(asyncio.get_running_loop().time())
            if len(at_s) > 10:
                enough.set()
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer

        engine = FakeEngine()
        engine.debts = lambda peers: [Debts(forget=(T,), next_s=0.05)] * len(peers)  # type: ignore[method-assign]
        ties: Any = Ties(PEER, InlineDesk(), engine, lambda: 0.0, lambda: 0.5, lambda word, **_: None)  # type: ignore[arg-type]
        client: Any = SimpleNamespace(forget=forget)
        sender: Any = SimpleNamespace(want_backlog=lambda: None)
        payer = Payer(ties, client, OpenGate(epoch=EPOCH), sender, SimpleNamespace())  # type: ignore[arg-type]
        job = asyncio.get_running_loop().create_task(payer.run())
        await enough.wait()
        job.cancel()
        with suppress(asyncio.CancelledError):
            await job
        return [round(after - before, 2) for before, after in itertools.pairwise(at_s)][:9]

    return passing(main())


@pytest.mark.parametrize("failure", [NoAnswer("torn"), REFUSED])
def test_what_a_peer_does_not_take_is_tried_less_and_less_often(failure: Reply | Exception) -> None:
    assert tries(failure) == [0.3, 0.55, 1.05, 2.05, 4.05, 5.05, 5.05, 5.05, 5.05]


def test_after_one_that_was_taken_the_pauses_begin_anew() -> None:
    assert tries(REFUSED, REFUSED, TAKEN, REFUSED)[:5] == [0.3, 0.55, 0.05, 0.3, 0.55]
