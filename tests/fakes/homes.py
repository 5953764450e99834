"""Stories of one agent at home on several hosts, each of which dials in at the same hub."""

from collections.abc import Callable

from tests.fakes import agents
from tests.fakes.star import Several
from tests.fakes.story import STORIES, Story
from tests.fakes.visits import VISITS, alone, handed_over
from tests.fakes.world import World
from tests.unit.custody.pair import payload

from handoffd.custody.visit import Lease
from handoffd.protocol.name import TransferId


def at_several(play: Callable[[Several], None]) -> Callable[[World], None]:
    def told(world: World) -> None:
        assert isinstance(world, Several)
        play(world)

    return told


def listed(world: Several) -> tuple[TransferId, ...]:
    """What the home whose turn it is was told to take."""
    if not world.visit.session:
        world.hello()
    wishes = world.tell(())
    return wishes.take if wishes is not None else ()


def all_ask_at_once(world: Several) -> None:
    """Every home was told to take it, and their leases meet in one group: one gets the bytes."""
    handed_over(world, 600.0)
    asked = []

    def ask() -> None:
        tids = listed(world)
        if tids:
            asked.append((world.b, Lease(world.b.name, world.b.engine.epoch, tids)))

    world.each(ask)
    hub = world.h.engine
    leased = world.at(world.h, lambda: hub.lease([lease for _, lease in asked])) if asked else None
    for (home, lease), told in zip(asked, leased or (), strict=False):
        world.b = home
        won = [parcel for parcel in told.parcels if parcel.answer.data is not None]
        for parcel in won:
            world.witness.leased(parcel.answer, home)
        if won and home.engine.epoch == lease.epoch:
            world.admit(tuple(won))
    answers = [parcel.answer for told in leased or () for parcel in told.parcels]
    assert len([answer for answer in answers if answer.data is not None]) <= 1, "leased to two homes"
    world.until_quiet(agents.archives)


def the_one_that_leased_it_is_gone(world: Several) -> None:
    """Its lease's answer was lost and it does not come before it is too late: no other home ever gets it."""
    handed_over(world, 20.0)
    world.lease(listed(world))
    winner = world.b
    for _ in range(3):
        for home in world.homes:
            if home is not winner:
                world.b = home
                world.call_on()
        alone(world, 11.0)
    world.until_quiet(agents.nobody, seconds=2.0)


def withdrawn_while_it_waits_for_any(world: Several) -> None:
    """Bob wants it back before any home has come."""
    handed_over(world, 600.0)
    (tid,) = world.witness.handoffs
    for _ in range(3):
        world.at(world.a, lambda: world.a.engine.withdraw([tid]))
        alone(world, 1.0)
    world.until_quiet(agents.nobody)


def several_for_several(world: Several) -> None:
    """Two handoffs, and two homes come for one of them each."""
    for _ in range(2):
        handed_over_as(world, f"{len(world.witness.handoffs)}.json")

    def fetch_one() -> None:
        world.take(listed(world)[:1])

    world.each(fetch_one)
    world.until_quiet(agents.archives)


def handed_over_as(world: Several, name: str) -> None:
    world.hand_over(name, payload(ttl_s=600.0))
    alone(world, 1.0)


_ALSO_HERE = ("final transcript comes home", "rejected", "expired", "stopped in order")
HOMES = {
    **{name: STORIES[name] for name in _ALSO_HERE},
    "never visited": VISITS["never visited"],
    "lease answer lost": VISITS["lease answer lost"],
    "all ask at once": Story(at_several(all_ask_at_once), "completed"),
    "the one that leased it is gone": Story(at_several(the_one_that_leased_it_is_gone), "expired"),
    "withdrawn while it waits for any": Story(at_several(withdrawn_while_it_waits_for_any), "revoked"),
    "several for several": Story(at_several(several_for_several), "completed"),
}
