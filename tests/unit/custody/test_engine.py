"""The engine's bulkheads: what is answered for an item that meets a mistake, and after the orderly stop."""

from typing import Any

import pytest
from tests.fakes.mishap import Mishaps
from tests.unit.custody.pair import Pair, payload

from handoffd.custody.message import Answer, Arrival, Batch, Debts, Launch, Poll, Principal, StatesNews
from handoffd.custody.visit import Leased, Received, Tidings, Untold, Wishes
from handoffd.protocol.name import AgentName, HostName, TransferId
from handoffd.protocol.reason import Problem

ANY: Any = object()
"""What no verb can do anything with."""
T = TransferId("ab" * 32)
POISON: Any = [[]]
TWO: Any = Batch(HostName("host-a"), (POISON, POISON))


def unavailable(error: str) -> Answer:
    detail = f"this handoff met an error here ({error}); see the log"
    return Answer(503, tid=TransferId(""), problem=Problem.UNAVAILABLE, detail=detail)


MET = unavailable("AttributeError")
STOPPING = unavailable("the daemon is stopping")
BAD_ARRIVAL: Any = Arrival(ANY, b"{}", claimed_tid=T)

VERBS: dict[str, tuple[Any, object]] = {
    "admit": (ANY, MET),
    "poll": (ANY, MET),
    "accept": (ANY, MET),
    "finish": (ANY, MET),
    "lookup": (ANY, MET),
    "bring": (ANY, MET),
    "launch": (ANY, MET),
    "states": (ANY, StatesNews((), "", reset=True)),
    "revoke": (TWO, (None, None)),
    "forget": (TWO, (None, None)),
    "welcome": (ANY, False),
    "hello": (ANY, False),
    "tell": (ANY, Wishes(failed=True)),
    "lease": (ANY, Leased()),
    "wanted": (TWO, ()),
    "verdict": (TWO, ()),
    "receive": (BAD_ARRIVAL, Received(T, later=True)),
    "tidings": (Untold(POISON, 7), Tidings((), 7)),
    "pushed_to": (POISON, None),
    "offers": (ANY, ()),
    "settle": (ANY, None),
    "mirror": (ANY, None),
    "lost": (ANY, None),
    "land": (ANY, None),
    "debts": (POISON, Debts()),
    "withdraw": (POISON, None),
    "resolve": (POISON, None),
    "record": (POISON, None),
}
MOVING = {
    "admit": STOPPING,
    "accept": STOPPING,
    "finish": STOPPING,
    "bring": STOPPING,
    "launch": STOPPING,
    "revoke": (None, None),
    "welcome": False,
    "hello": False,
    "tell": Wishes(failed=True),
    "lease": Leased(),
    "verdict": (),
    "receive": Received(T, later=True),
    "offers": (),
}
"""What moves files, and what it answers when none may move any more."""


@pytest.mark.parametrize("verb", VERBS)
def test_an_item_that_meets_a_mistake_is_answered_alone_and_told_of(pair: Pair, mishaps: Mishaps, verb: str) -> None:
    item, wanted = VERBS[verb]
    assert getattr(pair.a.engine, verb)([item]) == [wanted]
    (error,) = mishaps.take()
    (line,) = (line for line in pair.a.journal.lines if line["event"] == "parked")
    assert line == {"event": "parked", "detail": f"{type(error).__name__}: {error}"[:300]}


def test_the_others_of_its_group_do_not_notice(pair: Pair, mishaps: Mishaps) -> None:
    bob = AgentName("bob")
    good = Arrival(Principal("@bob", bob, frozenset({bob})), payload())
    answers = pair.a.engine.admit([ANY, good, ANY])
    assert [answer.status for answer in answers] == [503, 201, 503]
    assert len(mishaps.take()) == 3, "the group, then each of the two alone"
    assert pair.a.journal.words().count("parked") == 2


@pytest.mark.parametrize("verb", MOVING)
def test_after_the_orderly_stop_nothing_moves(pair: Pair, verb: str) -> None:
    pair.a.engine.stop()
    assert getattr(pair.a.engine, verb)([VERBS[verb][0]]) == [MOVING[verb]]


def test_after_the_orderly_stop_nothing_is_taken(pair: Pair) -> None:
    pair.a.engine.stop()
    pair.a.drop("0.json", payload())
    assert pair.a.engine.tick([0.0, 0.0]) == [False, False]
    assert pair.a.engine.look([{"handoff": set()}]) == [False]
    assert pair.a.names("handoff") == ["0.json"]


def test_a_mistake_in_a_part_of_the_tick_stops_no_other(
    pair: Pair, mishaps: Mishaps, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(pair.a.engine._taker, "scan", broken)
    pair.a.engine.look([{"handoff": set()}])
    pair.a.tick()
    assert [str(error) for error in mishaps.take()] == ["a mistake"]
    assert pair.a.journal.lines[-1] == {"event": "parked", "detail": "tick: ValueError: a mistake"}


def test_one_trial_of_the_disk_answers_for_a_group(pair: Pair) -> None:
    assert pair.a.engine.try_disk([None, None]) == ["", ""]


def test_hints_of_a_whole_directory_and_of_names_are_followed_together(pair: Pair) -> None:
    pair.cross()
    pair.b.claim()
    pair.b.engine.look([{"claimed": {"other.json"}}, {"claimed": set()}, {"archive": {"other.json"}}])
    assert pair.b.journal.words()[-1] == "claimed"


def test_of_a_canary_nobody_can_send_that_is_said(pair: Pair) -> None:
    (answer,) = pair.a.engine.launch([Launch(HostName("host-b"), payload())])
    assert answer.status == 400
    assert pair.a.engine.poll([Poll(AgentName("bob"))]) == [Answer(204)]
