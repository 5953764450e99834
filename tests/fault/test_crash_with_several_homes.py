"""A crash after every single change to the hub's disk, and to each home's, where an agent has several homes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.fakes.homes import HOMES
from tests.fakes.star import Several
from tests.fakes.story import changes, suffer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
NewSeveral = Callable[..., Several]
AT_EACH_HOST = [(name, host) for name in HOMES for host in "hbcd"]


@pytest.fixture
def new_several(make_world: Callable[[type[Several]], NewSeveral]) -> NewSeveral:
    return make_world(Several)


def host_of(world: Several, letter: str):  # type: ignore[no-untyped-def]
    return next(host for host in world.hosts if host.name[-1] == letter)


@pytest.mark.parametrize("name", HOMES)
def test_in_peace_every_story_ends_as_it_should(name: str, new_several: NewSeveral) -> None:
    story, world = HOMES[name], new_several()
    story.play(world)
    world.witness.final()
    assert set(world.witness.reasons()) == {story.reason}


@pytest.mark.parametrize(("name", "host"), AT_EACH_HOST)
def test_a_crash_after_any_change_changes_no_end(name: str, host: str, new_several: NewSeveral) -> None:
    story = HOMES[name]
    for step in range(1, changes(new_several(), story)[host] + 1):
        world = new_several()
        host_of(world, host).faults.crash_after = {step}
        suffer(world, story, f"{name}: crash at {host} after change {step}")


@pytest.mark.parametrize(("name", "host"), AT_EACH_HOST)
def test_a_power_cut_after_any_change_never_offers_again(name: str, host: str, new_several: NewSeveral) -> None:
    """A power cut of the hub makes nothing uncertain, and none of a home lets another one have it."""
    story = HOMES[name]
    also = (*story.also, *(() if host == "h" and "stopped" not in name else ("uncertain_power_loss",)))
    for step in range(1, changes(new_several(), story)[host] + 1):
        world = new_several(power=True)
        host_of(world, host).faults.crash_after = {step}
        suffer(world, replace(story, also=also), f"{name}: power cut at {host} after {step}")
        if name != "stopped in order":
            assert world.witness.offers <= 1, f"{name}: offered again after a power cut at {host} after {step}"
