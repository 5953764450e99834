"""Stories of hosts that dial in, beside those that every link has."""

from collections.abc import Callable

from tests.fakes import agents
from tests.fakes.star import Dialling
from tests.fakes.story import STORIES, Story, X
from tests.fakes.world import World
from tests.unit.custody.pair import payload


def visiting(play: Callable[[Dialling], None]) -> Callable[[World], None]:
    def told(world: World) -> None:
        assert isinstance(world, Dialling)
        play(world)

    return told


def handed_over(world: Dialling, ttl_s: float) -> None:
    """Bob writes, and the handoff comes as far as it comes without a visitor."""
    world.hand_over(X, payload(ttl_s=ttl_s))
    alone(world, 1.0)


def alone(world: Dialling, seconds: float) -> None:
    """Time passes, and the visitor does not call."""
    for host in world.hosts:
        host.clock.advance(seconds)
        world.tick(host)
    if world.far is not world.b:
        world.push()
        world.follow()


def never_visited(world: Dialling) -> None:
    """Alice's host does not come before it is too late, and then finds nothing for it."""
    handed_over(world, 5.0)
    for _ in range(4):
        alone(world, 3.0)
    world.until_quiet(agents.nobody, seconds=2.0)


def lease_answer_lost(world: Dialling) -> None:
    """The bytes are on their way when the connection breaks; the visitor calls again."""
    handed_over(world, 600.0)
    wishes = world.tell(())
    if wishes is not None and wishes.take:
        world.lease(wishes.take)
    world.hello()
    world.until_quiet(agents.archives)


def late_bytes(world: Dialling) -> None:
    """The bytes come only after the visitor has said that it never had them."""
    handed_over(world, 5.0)
    wishes = world.tell(())
    parcels = world.lease(wishes.take) if wishes is not None and wishes.take else ()
    visitor = world.b.engine
    for _ in range(4):
        alone(world, 11.0)
    world.call_on()
    world.call_on()
    if world.b.engine is visitor:
        world.admit(parcels)
    world.until_quiet(agents.nobody, seconds=2.0)


def returns_after_hours(world: Dialling) -> None:
    """The visitor has it, published, and goes to sleep before it can tell."""
    handed_over(world, 60.0)
    wishes = world.tell(())
    if wishes is not None and wishes.take:
        world.admit(world.lease(wishes.take))
    for _ in range(3):
        for host in world.hosts[:-1]:
            host.clock.advance(3600.0)
            world.tick(host)
        if world.far is not world.b:
            world.push()
            world.follow()
    world.b.clock.advance(3 * 3600.0)
    world.until_quiet(agents.nobody, seconds=2.0)


def withdrawn_while_leased(world: Dialling) -> None:
    """Bob wants it back when the visitor has it."""
    handed_over(world, 600.0)
    world.call_on()
    (tid,) = world.witness.handoffs

    def withdraw(world: World) -> None:
        world.at(world.a, lambda: world.a.engine.withdraw([tid]))

    world.until_quiet(withdraw)


def refused_by_the_visitor(world: Dialling) -> None:
    """Alice has moved out of her host, which nobody told bob's."""
    world.b.settings = strangers(world.b)
    world.restart(world.b)
    world.restarts = 0
    world.hand_over(X, payload(ttl_s=600.0))
    world.until_quiet(agents.nobody)


def strangers(host: object) -> object:
    from dataclasses import replace

    from handoffd.custody.tree import Settings
    from handoffd.protocol.name import AgentName

    settings = host.settings  # type: ignore[attr-defined]
    assert isinstance(settings, Settings)
    return replace(settings, agents=frozenset({AgentName("zoe")}))


VISITS = {
    **STORIES,
    "never visited": Story(visiting(never_visited), "expired"),
    "lease answer lost": Story(visiting(lease_answer_lost), "completed"),
    "late bytes": Story(visiting(late_bytes), "expired"),
    "returns after hours": Story(visiting(returns_after_hours), "expired"),
    "withdrawn while leased": Story(visiting(withdrawn_while_leased), "revoked"),
    "refused by the visitor": Story(visiting(refused_by_the_visitor), "unroutable"),
}
