"""Schedules by the thousand; the ones that once failed, for ever; and that the simulator would see a broken promise."""

import logging
import re
from pathlib import Path
from random import Random

import pytest
from tests.simulator import compiled
from tests.simulator.__main__ import main
from tests.simulator.disk import Crash, Disk, Faults, View
from tests.simulator.portion import fingerprint, run
from tests.simulator.rest import come_to_rest
from tests.simulator.schedule import draw, from_text, play, to_text
from tests.simulator.shrink import failure, shrink
from tests.simulator.witness import Broken
from tests.simulator.world import World

from handoffd.custody.admit import Admitter
from handoffd.custody.filesystem import NewFile
from handoffd.custody.recall import Recall

KEPT = sorted(Path(__file__).with_name("kept").glob("*.txt"))
NO_FAULT = """seed 7 hosts 2
write 0 0
look 0 0
send 0 0
deliver 0 0
hear 0 255
claim 0 255
end 0 128
"""


@pytest.mark.parametrize("path", KEPT, ids=[path.stem for path in KEPT])
def test_a_schedule_that_once_failed_holds(path):
    play(from_text(path.read_text()))


@pytest.mark.parametrize("hosts", [2, 3, 5])
def test_some_schedules_hold(hosts):
    report = run((0, 60, hosts))
    assert report.failures == []
    assert report.endings["completed"] > 10


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute, if nobody else wants the two cores
@pytest.mark.parametrize(("hosts", "schedules"), [(2, 20_000), (3, 1_000), (5, 500)])
def test_many_schedules_hold(hosts, schedules, capsys):
    assert main(["--hosts", str(hosts), "--schedules", str(schedules), "--jobs", "2"]) == 0, capsys.readouterr().out


def test_a_seed_makes_one_history():
    schedule = draw(4711)
    assert schedule == draw(4711)
    assert fingerprint(play(schedule)) == fingerprint(play(schedule))
    assert draw(4712) != schedule


@pytest.mark.slow
@pytest.mark.timeout(900)  # a minute of one core, if nobody else wants it
@pytest.mark.parametrize(("hosts", "schedules"), [(2, 2_000), (3, 300), (5, 100)])
def test_compiled_copies_play_the_same_histories(hosts, schedules, capfd):
    try:
        compiled.build()
    except compiled.CannotCompile as error:
        pytest.skip(f"needs mypyc: {error}")
    numbers = ["--hosts", str(hosts), "--schedules", str(schedules), "--jobs", "2"]
    assert main(numbers) == 0
    interpreted = capfd.readouterr().out
    assert main([*numbers, "--compiled"]) == 0
    assert without_times(capfd.readouterr().out) == without_times(interpreted)


def without_times(told):
    return re.sub(r" in [0-9.]+ s: [0-9]+ a second.*", "", told)


def test_a_bug_that_meets_its_bulkhead_is_seen(monkeypatch, mishaps):
    def bug(self):
        raise TypeError("no such thing")

    monkeypatch.setattr(Recall, "janitor", bug)
    # A command of the simulator that another test ran in this process has switched all words of engines off.
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    assert "a bug met a bulkhead at host-" in failure(draw(1))
    assert {str(error) for error in mishaps.take()} == {"no such thing"}


def test_a_schedule_survives_being_kept():
    schedule = draw(12, hosts=3)
    assert from_text(to_text(schedule)) == schedule


def test_a_history_without_faults_ends_completed():
    world = play(from_text(NO_FAULT))
    (one,) = world.witness.given
    assert (one.claims, one.archived) == (1, True)
    assert world.witness.end(one.source, one)["reason"] == "completed"


def test_what_a_relay_passes_on_ends_at_all_three_hosts():
    world = play(from_text("seed 7 hosts 3 shape star\nwrite 1 1\n"))
    (one,) = world.witness.given
    assert [host.name for host in one.way] == ["host-a", "host-c"]
    assert [world.witness.end(host, one)["reason"] for host in world.hosts] == ["completed"] * 3


def test_a_host_that_dials_in_gets_what_is_its_own():
    world = play(from_text("seed 7 hosts 2 shape star\nwrite 0 0\n"))
    (one,) = world.witness.given
    assert world.visits[0].leases
    assert world.witness.end(one.source, one)["reason"] == "completed"


def test_what_comes_back_from_a_backup_is_never_claimable_again():
    world = World(2, Random(1))
    home = world.hosts[1]
    one = world.write(world.hosts[0], home, 60.0)
    world.look(world.hosts[0])
    world.send(world.hosts[0])
    world.wires[0].deliver(world.wires[0].requests[0])
    home.back_up()
    world.agents.claim(one)
    world.lose_tree(home)
    assert one.published in home.disk.folders["claimed"].now
    assert one.published not in home.disk.folders["handoff"].now
    come_to_rest(world)
    assert one.claims == 1


def taken_and_published():
    world = World(2, Random(1))
    source, home = world.hosts
    one = world.write(source, home, 60.0)
    world.look(source)
    world.send(source)
    world.wires[0].deliver(world.wires[0].requests[0])
    return world, one


def power_fails_in(host, changes):
    host.faults.crash_in, host.faults.cuts_power = changes, True


def test_the_power_fails_inside_a_call_before_there_is_custody():
    world = World(2, Random(1))
    source = world.hosts[0]
    one = world.write(source, world.hosts[1], 60.0)
    source.disk.cut_power = lambda choose: Disk.cut_power(source.disk, lambda n: 0)
    power_fails_in(source, 1)
    world.look(source)
    assert (source.boot, source.life) == (2, 2)
    assert world.happened["the power failed between two changes"] == 1
    assert one.orphaned
    come_to_rest(world)


def test_what_leaves_before_it_is_in_custody_is_seen(monkeypatch):
    flush = View.sync_directories
    monkeypatch.setattr(
        View, "sync_directories", lambda view, places: flush(view, [one for one in places if "relay/outbox" not in one])
    )
    world = World(2, Random(1))
    source, target = world.hosts
    world.write(source, target, 60.0)
    world.look(source)
    with pytest.raises(Broken, match="I4"):
        world.send(source)


def test_what_is_in_custody_is_not_excused_when_the_power_fails_at_its_source():
    world, one = taken_and_published()
    power_fails_in(one.source, 1)
    world.wires[0].settle(world.wires[0].requests[0], lost=False)
    assert one.source.boot == 2
    assert not one.orphaned
    assert not one.excused
    come_to_rest(world)


def test_the_power_fails_inside_the_start_after_a_power_cut():
    world, one = taken_and_published()
    home = one.target
    power_fails_in(home, 1)
    world.cut_power(home)
    assert (home.boot, home.life) == (3, 3)
    assert world.happened["the power failed between two changes"] == 1
    come_to_rest(world)
    assert world.witness.end(one.source, one)["reason"] == "uncertain_power_loss"


def test_a_broken_promise_is_seen_and_its_schedule_shortened(monkeypatch):
    monkeypatch.setattr(Admitter, "_known", lambda self, arrival, tid: None)  # b2: every T is new
    seed = next(seed for seed in range(200) if failure(draw(seed)))
    short = shrink(draw(seed))
    assert failure(short) == failure(draw(seed))
    assert len(short.steps) < len(draw(seed).steps)


# ------------------------------------------------------------ the disk


@pytest.fixture
def disk():
    made = Disk(lambda: 1)
    for directory in ("a", "b"):
        made.make(directory)
    return made


@pytest.fixture
def view(disk):
    return View(disk, Faults())


def test_a_cut_leaves_what_was_flushed(disk, view):
    view.create([NewFile("a", "x", b"1")])
    view.sync_directories(["a"])
    view.create([NewFile("a", "y", b"2")])
    disk.cut_power(lambda n: 0)
    assert view.names("a") == ["x"]


def test_a_move_is_never_lost_between_two_directories(disk, view):
    view.create([NewFile("a", "x", b"1")])
    view.sync_directories(["a"])
    for target in ("a", "b"):
        view.move("a", "x", "b", "x")
        view.sync_directories([target])
        disk.cut_power(lambda n: 0)
        assert (view.names("a"), view.names("b")) == ([], ["x"])
        view.move("b", "x", "a", "x")
        view.sync_directories(["a", "b"])


def test_a_split_move_leaves_both_names(disk, view):
    disk.splits_moves = True
    view.create([NewFile("a", "x", b"1")])
    view.sync_directories(["a"])
    view.move("a", "x", "b", "x")
    view.sync_directories(["b"])
    disk.cut_power(lambda n: 0)
    assert (view.names("a"), view.names("b")) == (["x"], ["x"])


@pytest.mark.parametrize(("choice", "left"), [(0, b"1234"), (1, b""), (2, b"12")])
def test_bytes_that_were_not_flushed_may_be_gone(disk, view, choice, left):
    disk.write("a", "x", b"1234")
    view.sync_directories(["a"])
    disk.cut_power(lambda n: choice)
    assert view.read("a", "x")[0] == left


def test_a_process_that_has_crashed_does_nothing_more(disk):
    faults = Faults()
    view = View(disk, faults)
    faults.crash_in = 1
    with pytest.raises(Crash):
        view.create([NewFile("a", "x", b"1")])
    with pytest.raises(Crash):
        view.names("a")
    assert View(disk, faults).names("a") == ["x"]
