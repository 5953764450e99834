"""A crash after every single change to either host's disk, in every story a handoff can have.

A story is played once in peace to learn how many changes each host makes; then once for each of them, with a crash
right after it. The crashed host starts again and the story goes on to its end. See tests/fakes/witness.py for what is
checked on the way.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from tests.fakes.faulty import Failing
from tests.fakes.story import FAULTS, STORIES, changes, fallible, suffer
from tests.fakes.world import World
from tests.fault.conftest import Portion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UNCERTAIN = ("uncertain_power_loss",)


@pytest.fixture
def new_world(make_world: Callable[..., World]) -> Callable[..., World]:
    return make_world(World)


@pytest.mark.parametrize("name", STORIES)
def test_in_peace_every_story_ends_as_it_should(name: str, new_world: Callable[..., World]) -> None:
    story, world = STORIES[name], new_world()
    story.play(world)
    assert world.restarts == story.restarts
    if not world.witness.forgotten:
        world.witness.final()
        assert set(world.witness.reasons()) == {story.reason}


@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_after_any_change_changes_no_end(name: str, host: str, new_world: Callable[..., World]) -> None:
    story = STORIES[name]
    for step in range(1, changes(new_world(), story)[host] + 1):
        world = new_world()
        getattr(world, host).faults.crash_after = {step}
        suffer(world, story, f"{name}: crash at {host} after change {step}")


@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("name", STORIES)
def test_a_crash_within_the_start_after_a_crash(
    name: str, host: str, new_world: Callable[..., World], portion: Portion
) -> None:
    """The second crash falls after each change of the first start, a third one after the first change beyond it."""
    story = STORIES[name]
    total = changes(new_world(), story)[host]
    # Before the first of these, a start only opens the directories that are there.
    for step, later in portion(list(product(range(1, total + 1), (17, 19, 22)))):
        world = new_world()
        getattr(world, host).faults.crash_after = {step, step + later, step + later + 17}
        suffer(world, story, f"{name}: crash at {host} after change {step} and after {later} more")


# ---------------------------------------------------------------- power cuts


@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("name", STORIES)
def test_a_power_cut_after_any_change_never_offers_again(name: str, host: str, new_world: Callable[..., World]) -> None:
    story = STORIES[name]
    for step in range(1, changes(new_world(), story)[host] + 1):
        world = new_world(power=True)
        getattr(world, host).faults.crash_after = {step}
        suffer(world, replace(story, also=(*story.also, *UNCERTAIN)), f"{name}: power cut at {host} after {step}")
        if name != "stopped in order":
            assert world.witness.offers <= 1, f"{name}: offered again after a power cut at {host} after {step}"


@pytest.mark.parametrize("name", STORIES)
def test_a_crash_within_the_start_after_a_power_cut(name: str, new_world: Callable[..., World]) -> None:
    """The start that doubts is cut short, and the next one, in the same boot, must doubt as much."""
    story = replace(STORIES[name], also=(*STORIES[name].also, *UNCERTAIN))
    for step in range(1, changes(new_world(), story)["b"] + 1):
        for later in (17, 18, 20):
            world = new_world(power=True, once=True)
            world.b.faults.crash_after = {step, step + later}
            suffer(world, story, f"{name}: power cut at b after change {step}, crash {later} later")


# ---------------------------------------------------------------- failing calls


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", STORIES)
def test_a_call_that_fails_changes_no_end(
    name: str, fault: str, host: str, length: int, new_world: Callable[..., World], portion: Portion
) -> None:
    """`length` calls in a row fail; the engine survives them, or the daemon exits on a failed flush (R7)."""
    story, (verbs, code) = STORIES[name], FAULTS[fault]
    firsts = range(1, fallible(new_world(), story, verbs)[host] + 1, length)
    for first in portion(firsts) if length == 1 else firsts:
        world = new_world()
        getattr(world, host).faults.failing = Failing(verbs, first, first + length - 1, code)
        suffer(world, story, f"{name}: {fault} at {host}, {length} from call {first}")
