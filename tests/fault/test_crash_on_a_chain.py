"""A crash after every single change to each host's disk, where a hub pushes on what it got; and with two hubs in a row.

The stories are those of every link; the witness looks at all hosts after every act. What a relay lends is in
test_crash_on_a_pull_link.py.
"""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.fakes.chain import Chain, chain
from tests.fakes.faulty import Failing
from tests.fakes.story import FAULTS, STORIES, Story, changes, fallible, suffer
from tests.fakes.world import World

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
UNCERTAIN = ("uncertain_power_loss",)
NewWorld = Callable[..., World]
MakeWorld = Callable[[NewWorld], NewWorld]

NAMES = [name for name in STORIES if name not in ("revoked before it came", "refused at take")]
"""Every story but those that only a pair can play, or that no relay hears of."""
TELLING = ["final transcript comes home", "expired", "withdrawn before a crash"]
"""One of each kind of end."""
LANES = ["push push", "pull push", "push push push", "push pull push", "pull push pull", "push push pull"]
PUSHED = [("push push", name, "h") for name in NAMES]
CRASHED = [
    *PUSHED,
    *(("push push", TELLING[0], host) for host in "ab"),
    *(("pull push", name, "h") for name in TELLING),
    *(("push push push", TELLING[0], host) for host in ("h1", "h2")),
]


def host_changes(world: World, story: Story, host: str) -> int:
    assert isinstance(world, Chain)
    changes(world, story)
    return world.named[host].faults.changes


def suffer_at(world: World, host: str, steps: set[int], story: Story, what: str) -> None:
    assert isinstance(world, Chain)
    world.named[host].faults.crash_after = steps
    suffer(world, story, what)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lanes", LANES)
def test_in_peace_every_story_ends_as_it_should(lanes: str, name: str, make_world: MakeWorld) -> None:
    story, world = STORIES[name], make_world(chain(lanes))()
    story.play(world)
    if not world.witness.forgotten:
        world.witness.final()
        assert set(world.witness.reasons()) == {story.reason}


@pytest.mark.parametrize(("lanes", "name", "host"), CRASHED)
def test_a_crash_after_any_change_changes_no_end(lanes: str, name: str, host: str, make_world: MakeWorld) -> None:
    story, new_world = STORIES[name], make_world(chain(lanes))
    for step in range(1, host_changes(new_world(), story, host) + 1):
        suffer_at(new_world(), host, {step}, story, f"{name}: crash at {host} after change {step}")


@pytest.mark.parametrize("name", TELLING)
def test_a_crash_within_the_start_after_a_crash(name: str, make_world: MakeWorld) -> None:
    story, new_world = STORIES[name], make_world(chain("push push"))
    for step in range(1, host_changes(new_world(), story, "h") + 1):
        for later in (21, 24):  # before that, a start only opens the directories that are there
            steps = {step, step + later, step + later + 17}
            suffer_at(new_world(), "h", steps, story, f"{name}: crash at h after {step}, and {later} more")


@pytest.mark.parametrize(("lanes", "name", "host"), CRASHED)
def test_a_power_cut_after_any_change_never_offers_again(
    lanes: str, name: str, host: str, make_world: MakeWorld
) -> None:
    """Uncertain is only what was within the reach of agents: a power cut of a relay makes nothing so."""
    story, new_world = STORIES[name], make_world(chain(lanes))
    also = (*story.also, *(UNCERTAIN if host == "b" or "stopped" in name else ()))
    for step in range(1, host_changes(new_world(), story, host) + 1):
        world = new_world(power=True)
        suffer_at(world, host, {step}, replace(story, also=also), f"{name}: power cut at {host} after {step}")
        if name != "stopped in order":
            assert world.witness.offers <= 1, f"{name}: offered again after a power cut at {host} after {step}"


@pytest.mark.parametrize(("fault", "length"), [*((fault, 7) for fault in FAULTS), ("input/output error", 1)])
@pytest.mark.parametrize("name", TELLING)
def test_a_call_that_fails_changes_no_end(name: str, fault: str, length: int, make_world: MakeWorld) -> None:
    """`length` calls in a row fail; the engine survives them, or the daemon exits on a failed flush (R7)."""
    story, new_world, (verbs, code) = STORIES[name], make_world(chain("push push")), FAULTS[fault]
    for first in range(1, calls(new_world(), story, verbs) + 1, length):
        world = new_world()
        assert isinstance(world, Chain)
        world.named["h"].faults.failing = Failing(verbs, first, first + length - 1, code)
        suffer(world, story, f"{name}: {fault} at h, {length} from call {first}")


def calls(world: World, story: Story, verbs: frozenset[str]) -> int:
    assert isinstance(world, Chain)
    fallible(world, story, verbs)
    return world.named["h"].faults.fallible
