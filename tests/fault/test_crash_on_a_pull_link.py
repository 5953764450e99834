"""A crash after every single change to each host's disk, where the receiving host dials in: alone, and through a hub.

The stories are those of every link and the pull link's own; the witness looks at all hosts after every act.
"""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from tests.fakes.faulty import Failing
from tests.fakes.star import Spoke, Star
from tests.fakes.story import FAULTS, changes, fallible, suffer
from tests.fakes.visits import VISITS
from tests.fakes.world import World
from tests.fault.conftest import Portion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UNCERTAIN = ("uncertain_power_loss",)
KINDS = {"spoke": (Spoke, "ab"), "star": (Star, "ahb")}
NewWorld = Callable[..., World]


# Every story on every kind of link, but for the one that posts what a push link posts.
PLAYED = [(kind, name) for kind in KINDS for name in VISITS if name != "revoked before it came"]
AT_EACH_HOST = [(kind, name, host) for kind, name in PLAYED for host in KINDS[kind][1]]


@pytest.mark.parametrize(("kind", "name"), PLAYED)
def test_in_peace_every_story_ends_as_it_should(
    kind: str, name: str, make_world: Callable[[type[World]], NewWorld]
) -> None:
    story, world = VISITS[name], make_world(KINDS[kind][0])()
    story.play(world)
    if not world.witness.forgotten:
        world.witness.final()
        assert set(world.witness.reasons()) == {story.reason}


@pytest.mark.parametrize(("kind", "name", "host"), AT_EACH_HOST)
def test_a_crash_after_any_change_changes_no_end(
    kind: str, name: str, host: str, make_world: Callable[[type[World]], NewWorld]
) -> None:
    story, new_world = VISITS[name], make_world(KINDS[kind][0])
    for step in range(1, changes(new_world(), story)[host] + 1):
        world = new_world()
        getattr(world, host).faults.crash_after = {step}
        suffer(world, story, f"{name}: crash at {host} after change {step}")


@pytest.mark.parametrize(("kind", "name", "host"), AT_EACH_HOST)
def test_a_crash_within_the_start_after_a_crash(
    kind: str, name: str, host: str, make_world: Callable[[type[World]], NewWorld], portion: Portion
) -> None:
    story, new_world = VISITS[name], make_world(KINDS[kind][0])
    total = changes(new_world(), story)[host]
    # Before the first of these, a start only opens the directories that are there.
    for step, later in portion(list(product(range(1, total + 1), (18, 21, 24)))):
        world = new_world()
        getattr(world, host).faults.crash_after = {step, step + later, step + later + 17}
        suffer(world, story, f"{name}: crash at {host} after change {step} and after {later} more")


@pytest.mark.parametrize(("kind", "name", "host"), AT_EACH_HOST)
def test_a_power_cut_after_any_change_never_offers_again(
    kind: str, name: str, host: str, make_world: Callable[[type[World]], NewWorld]
) -> None:
    """Uncertain is only what was within the reach of agents: a power cut of a relay makes nothing so."""
    story, new_world = VISITS[name], make_world(KINDS[kind][0])
    also = (*story.also, *(UNCERTAIN if host == "b" or "stopped" in name else ()))
    for step in range(1, changes(new_world(), story)[host] + 1):
        world = new_world(power=True)
        getattr(world, host).faults.crash_after = {step}
        suffer(world, replace(story, also=also), f"{name}: power cut at {host} after {step}")
        if name != "stopped in order":
            assert world.witness.offers <= 1, f"{name}: offered again after a power cut at {host} after {step}"


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("kind", "name", "host"), AT_EACH_HOST)
def test_a_call_that_fails_changes_no_end(
    kind: str,
    name: str,
    host: str,
    fault: str,
    length: int,
    make_world: Callable[[type[World]], NewWorld],
    portion: Portion,
) -> None:
    """`length` calls in a row fail; the engine survives them, or the daemon exits on a failed flush (R7)."""
    story, new_world, (verbs, code) = VISITS[name], make_world(KINDS[kind][0]), FAULTS[fault]
    firsts = range(1, fallible(new_world(), story, verbs)[host] + 1, length)
    for first in portion(firsts) if length == 1 else firsts:
        world = new_world()
        getattr(world, host).faults.failing = Failing(verbs, first, first + length - 1, code)
        suffer(world, story, f"{name}: {fault} at {host}, {length} from call {first}")
