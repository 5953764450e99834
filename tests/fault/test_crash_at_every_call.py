"""A real process, killed at every call that changes its disk; failing calls; and a kill within the start after a kill.

Every point of every kill is played here; of the rest a portion (see calls/points.py). `make crash-points` plays all.
"""

import logging
from collections.abc import Callable, Iterator

import pytest
from tests.fakes.scene import BIRTHS, PUSH_SCENES, Scene
from tests.fault.calls.play import Stage
from tests.fault.calls.points import go_through
from tests.fault.calls.remote import Nursery
from tests.fault.calls.tracer import Blow, Call, cannot_trace, mutating
from tests.fault.conftest import POINTS
from tests.fault.ground import memory

SCENES = list(enumerate([*PUSH_SCENES, *BIRTHS]))
every_scene = pytest.mark.parametrize(("number", "scene"), SCENES, ids=[str(scene) for _, scene in SCENES])


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    if (reason := cannot_trace()) is not None:
        pytest.skip(reason)
    logging.disable(logging.CRITICAL)  # engines tell of every peer that is silent
    nursery = Nursery()
    yield Stage(nursery, memory())
    nursery.close()
    logging.disable(logging.NOTSET)


def all_hold(stage: Stage, scene: Scene, what: str, number: int, note: Callable[[str, object], None]) -> None:
    tally = go_through(stage, scene, what, number=number, whole=False)
    assert tally.broken == []
    assert tally.missed == []
    note(f"{POINTS}{what}", tally.held)


@pytest.mark.slow
@pytest.mark.timeout(900)
@every_scene
def test_a_kill_at_any_call_changes_no_end(
    scene: Scene, number: int, stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    all_hold(stage, scene, "kill", number, record_property)


@pytest.mark.slow
@pytest.mark.timeout(900)
@every_scene
def test_a_call_that_fails_changes_no_end(
    scene: Scene, number: int, stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    all_hold(stage, scene, "fail", number, record_property)


@pytest.mark.slow
@pytest.mark.timeout(900)
@every_scene
def test_a_kill_within_the_start_after_a_kill_changes_no_end(
    scene: Scene, number: int, stage: Stage, record_property: Callable[[str, object], None]
) -> None:
    all_hold(stage, scene, "again", number, record_property)


# ---------------------------------------------------------------- that the tests would see it


@pytest.mark.slow
def test_a_blow_that_does_not_fall_is_noticed(stage: Stage) -> None:
    assert not stage.strike(PUSH_SCENES[0], {0: Blow(Call("renameat2", 10_000))})


@pytest.mark.slow
def test_a_killed_process_does_not_make_the_call(stage: Stage) -> None:
    """Killed on entering its first rename out of handoff/, the next process finds the file there and takes it."""
    calls = stage.calls(PUSH_SCENES[0])[0]
    first = next(call for call in calls if call.name == "renameat2")
    killed = stage.calls(PUSH_SCENES[0], {0: Blow(first)})
    assert [call for call in killed[0] if call.name == "renameat2"] == [first]
    assert len([call for call in killed[1] if not call.starting and call.name == "renameat2"]) == len(
        [call for call in calls if call.name == "renameat2"]
    )


def test_calls_that_change_nothing_are_not_counted() -> None:
    output = """12 openat(3, "a", O_RDONLY|O_CLOEXEC) = 4
12 openat(3, "b", O_WRONLY|O_CREAT|O_EXCL|O_CLOEXEC, 0600) = 4
12 fsync(4) = 0
12 getsid(0) = 12
12 openat(3, "c", O_WRONLY|O_CREAT|O_EXCL, 0600) = -1 ENOSPC (No space left on device) (INJECTED)
"""
    assert mutating(output) == [Call("openat", 2, starting=True), Call("fsync", 1, starting=True), Call("openat", 3)]
