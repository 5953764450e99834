"""custody/desk.py: one thread, groups without waiting, and an end that nobody misses."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import Host, X, payload

from handoffd.custody.desk import GROUP_LIMIT, Desk, DeskClosed, DeskDied
from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.message import News, Owed
from handoffd.protocol.name import AgentName, HostName

WAIT_S = 10.0


@dataclass
class Rig:
    """A desk over a real engine; methods that note their groups stand in for the engine's."""

    host: Host
    groups: list[list[object]] = field(default_factory=list)
    told: list[object] = field(default_factory=list)
    deaths: list[BaseException] = field(default_factory=list)
    died: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)
    entered: threading.Event = field(default_factory=threading.Event)
    idle: threading.Event = field(default_factory=threading.Event)
    ticked: threading.Event = field(default_factory=threading.Event)

    def desk(self, tick_s: float = 60.0) -> Desk:
        return Desk(self.host.engine, self.hear, self.die, self.idle.set, self.ticked.set, tick_s)

    def hear(self, news: list[News]) -> None:
        self.told.append(("news", len(news)))

    def die(self, error: BaseException) -> None:
        self.deaths.append(error)
        self.died.set()

    def double(self, items: list[int]) -> list[int]:
        self.groups.append(list(items))
        return [2 * item for item in items]

    def other(self, items: list[int]) -> list[int]:
        return self.double(items)

    def hold(self, items: list[int]) -> list[int]:
        """Keep the thread busy until the gate opens: what is submitted meanwhile queues up."""
        self.entered.set()
        assert self.gate.wait(WAIT_S)
        return items

    def fail(self, error: BaseException) -> Callable[[list[int]], list[int]]:
        def method(items: list[int]) -> list[int]:
            raise error

        return method


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    host = Host(tmp_path / "a", "host-a", ["bob"], {})
    host.start()
    host.engine.drain_news()
    yield Rig(host)
    host.fs.close()


@pytest.fixture
def desk(rig: Rig) -> Iterator[Desk]:
    made = rig.desk()
    made.start()
    yield made
    rig.gate.set()
    made.stop()


def held(rig: Rig, desk: Desk) -> "Future[int]":
    future = desk.submit(rig.hold, 0)
    assert rig.entered.wait(WAIT_S)
    return future


def test_a_lone_item_goes_at_once(rig: Rig, desk: Desk) -> None:
    assert desk.submit(rig.double, 4).result(WAIT_S) == 8
    assert rig.groups == [[4]]


def test_what_queued_up_meanwhile_forms_one_group(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    futures = [desk.submit(rig.double, number) for number in range(5)]
    rig.gate.set()
    assert [future.result(WAIT_S) for future in futures] == [0, 2, 4, 6, 8]
    assert rig.groups == [[0, 1, 2, 3, 4]]


def test_items_submitted_together_are_answered_together_in_order(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    many, one = desk.submit_many(rig.double, [1, 2, 3]), desk.submit(rig.double, 4)
    rig.gate.set()
    assert (many.result(WAIT_S), one.result(WAIT_S)) == ([2, 4, 6], 8)
    assert rig.groups == [[1, 2, 3, 4]]


def test_errands_of_another_kind_form_a_group_of_their_own(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    futures = [desk.submit(method, n) for n, method in enumerate([rig.double, rig.other, rig.double, rig.other])]
    rig.gate.set()
    assert [future.result(WAIT_S) for future in futures] == [0, 2, 4, 6]
    assert rig.groups == [[0, 2], [1, 3]]


def test_a_group_has_a_limit(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    futures = [desk.submit(rig.double, number) for number in range(GROUP_LIMIT + 3)]
    rig.gate.set()
    assert [future.result(WAIT_S) for future in futures] == [2 * number for number in range(GROUP_LIMIT + 3)]
    assert [len(group) for group in rig.groups] == [GROUP_LIMIT, 3]


def test_an_errand_larger_than_a_group_is_served_alone(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    large, small = desk.submit_many(rig.double, [1] * (GROUP_LIMIT + 1)), desk.submit(rig.double, 1)
    rig.gate.set()
    assert (len(large.result(WAIT_S)), small.result(WAIT_S)) == (GROUP_LIMIT + 1, 2)
    assert [len(group) for group in rig.groups] == [GROUP_LIMIT + 1, 1]


def test_nothing_of_nothing_is_nothing(rig: Rig, desk: Desk) -> None:
    assert desk.submit_many(rig.double, []).result(WAIT_S) == []


def test_the_answer_is_given_before_the_news_are_told(rig: Rig, desk: Desk) -> None:
    def method(items: list[int]) -> list[int]:
        rig.host.engine._tree.tell(Owed("host-b"))
        return items

    held(rig, desk)
    future = desk.submit(method, 1)
    future.add_done_callback(lambda done: rig.told.append("answer"))
    rig.gate.set()
    future.result(WAIT_S)
    desk.stop()
    assert rig.told == ["answer", ("news", 1)]


def test_all_runs_on_the_one_thread(rig: Rig, desk: Desk) -> None:
    names = desk.submit_many(lambda items: [threading.current_thread().name for _ in items], [1, 2])
    assert names.result(WAIT_S) == ["custody", "custody"]


def test_when_nothing_is_asked_it_turns_to_what_nobody_waits_for(rig: Rig, desk: Desk) -> None:
    assert rig.idle.wait(WAIT_S)


def test_it_ticks_asked_or_not(rig: Rig) -> None:
    desk = rig.desk(tick_s=0.01)
    desk.start()
    assert rig.ticked.wait(WAIT_S)
    desk.stop()


def test_a_caller_that_gives_up_cannot_take_back_what_is_queued(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    future = desk.submit(rig.double, 3)
    assert future.cancel() is False
    rig.gate.set()
    assert future.result(WAIT_S) == 6


# ---------------------------------------------------------------- the end


def test_stop_serves_what_is_queued_and_then_nothing(rig: Rig, desk: Desk) -> None:
    held(rig, desk)
    future = desk.submit(rig.double, 1)
    stopper = threading.Thread(target=desk.stop)
    stopper.start()
    rig.gate.set()
    stopper.join(WAIT_S)
    assert future.result(WAIT_S) == 2
    with pytest.raises(DeskClosed):
        desk.submit(rig.double, 1)


def test_stopping_a_desk_that_was_never_started_returns(rig: Rig) -> None:
    rig.desk().stop()


def test_what_slips_in_while_it_stops_is_answered_too(rig: Rig, desk: Desk) -> None:
    desk.stop()
    desk._closed = False  # the caller looked the moment before
    with pytest.raises(DeskClosed):
        desk.submit(rig.double, 1).result(WAIT_S)


def test_the_first_tick_comes_a_whole_interval_after_the_start(rig: Rig) -> None:
    desk = rig.desk(tick_s=3_600.0)
    desk.start()
    assert desk.submit(rig.double, 1).result(WAIT_S) == 2
    desk.stop()
    assert not rig.ticked.is_set()


@pytest.mark.parametrize("error", [FlushFailed("disk"), RuntimeError("bug"), SystemExit()], ids=repr)
def test_an_error_ends_it_without_an_answer_and_is_told(rig: Rig, desk: Desk, error: BaseException) -> None:
    held(rig, desk)
    failing, waiting = desk.submit(rig.fail(error), 1), desk.submit(rig.double, 1)
    rig.gate.set()
    with pytest.raises(DeskDied):
        failing.result(WAIT_S)
    with pytest.raises(DeskClosed) as raised:
        waiting.result(WAIT_S)
    assert type(raised.value) is DeskClosed
    assert rig.died.wait(WAIT_S)
    assert (rig.deaths, rig.groups) == ([error], [])


def test_who_gets_no_answer_because_there_are_too_few_hears_that_it_died(rig: Rig, desk: Desk) -> None:
    with pytest.raises(DeskDied):
        desk.submit(lambda items: [], 1).result(WAIT_S)
    assert rig.died.wait(WAIT_S)


def test_after_its_death_it_takes_nothing(rig: Rig, desk: Desk) -> None:
    desk.submit(rig.fail(FlushFailed("disk")), 1)
    assert rig.died.wait(WAIT_S)
    with pytest.raises(DeskClosed):
        desk.submit(rig.double, 1).result(WAIT_S)


def test_a_failed_flush_in_the_engine_ends_the_desk(rig: Rig, desk: Desk) -> None:
    rig.host.engine._tree.settings = replace(rig.host.settings, peers={HostName("b"): frozenset({AgentName("alice")})})
    rig.host.drop(X, payload())
    rig.host.engine._tree.open_peer("b")
    rig.host.faults.failing = Failing(frozenset({"sync_directories"}), 1, 1, 5)
    with pytest.raises(DeskClosed):
        desk.submit(rig.host.engine.look, {"handoff": {X}}).result(WAIT_S)
    assert rig.died.wait(WAIT_S)
    assert isinstance(rig.deaths[0], FlushFailed)
