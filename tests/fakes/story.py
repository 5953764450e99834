"""Stories a handoff can have, played in a world with faults or without, and judged by its witness."""

import errno
from collections.abc import Callable
from dataclasses import dataclass

from tests.fakes import agents
from tests.fakes.faulty import Failing
from tests.fakes.lane import settlements
from tests.fakes.world import World
from tests.unit.custody.pair import payload

from handoffd.custody.message import Arrival, Principal
from handoffd.protocol.name import AgentName

X = "0011223344556677-0.json"
TRIES = 20
Play = Callable[[World], None]


def from_start_to_end(agent: Callable[[], agents.Agent], *, seconds: float = 1.0, ttl_s: float = 600.0) -> Play:
    def play(world: World) -> None:
        world.hand_over(X, payload(ttl_s=ttl_s))
        world.until_quiet(agent(), seconds=seconds)

    return play


def expiry(world: World) -> None:
    world.hand_over(X, payload(ttl_s=5.0))
    world.until_quiet(agents.nobody, seconds=2.0)


def revoke_of_a_waiting_one(world: World) -> None:
    world.hand_over(X, payload(ttl_s=600.0))
    world.round()
    (tid,) = world.witness.handoffs

    def withdraw(world: World) -> None:
        world.at(world.a, lambda: world.a.engine.withdraw([tid]))

    world.until_quiet(withdraw)


def a_wish_told_once(world: World) -> None:
    """A answers the writer that it will ask for an end, crashes, and asks without being told again."""
    world.hand_over(X, payload(ttl_s=600.0))
    world.round()
    (tid,) = world.witness.handoffs
    for _ in range(TRIES):
        told = world.at(world.a, lambda: world.a.engine.withdraw([tid]))
        if told and told[0] and not told[0].detail:
            break
        world.round()
    world.restart(world.a)
    world.until_quiet(agents.nobody)


def revoke_before_it_came(world: World) -> None:
    """The POST is lost, A asks for an end, and then a copy of the POST arrives after all."""
    world.hand_over(X, payload(ttl_s=5.0))
    world.tick(world.a)
    offers = world.at(world.a, lambda: world.pair.offers(world.a, world.b)) or []
    world.tick(world.a)
    engine = world.a.engine
    for seconds in (2.0, 2.0, 2.0):
        world.a.clock.advance(seconds)
        world.tick(world.a)
    if offers and world.a.engine is engine:
        world.at(world.a, lambda: world.a.engine.settle(settlements(offers, None)))
    world.follow()
    if offers:
        world.at(world.b, lambda: world.pair.post(world.a, world.b, offers))
    world.until_quiet(agents.nobody, seconds=2.0)


def silence_after_the_post(world: World) -> None:
    """B has it, the answer is lost, A goes down, and hears nothing until after expiry; B's clock is behind."""
    world.hand_over(X, payload(ttl_s=5.0))
    world.tick(world.a)
    world.push(answers_arrive=False)
    world.restart(world.a)
    for seconds in (3.0, 3.0, 3.0):
        world.a.clock.advance(seconds)
        world.tick(world.a)
    world.until_quiet(agents.nobody, seconds=2.0)


def refusal_at_take(world: World) -> None:
    """A payload that is not admissible ends at A."""
    data = payload(ttl_s=600.0).replace(b'"transcript": []', b'"transcript": 12')
    world.hand_over(X, data)
    world.until_quiet(agents.nobody)


def orderly_stop(world: World) -> None:
    """B is stopped in order while the handoff waits, and started again."""
    world.hand_over(X, payload(ttl_s=600.0))
    world.round()
    world.stop(world.b)
    world.round()
    world.stop(world.a)
    world.until_quiet(agents.archives)


def several_at_once(world: World) -> None:
    """Three in one group, at A as at B."""
    for number in range(3):
        world.hand_over(f"{number}.json", payload(ttl_s=600.0))
    world.until_quiet(agents.archives)


def posted_over_http(world: World) -> None:
    """Bob has no directory: he posts to his own host, again and again until it says that it has it."""
    bob, data = AgentName("bob"), payload(ttl_s=600.0)
    arrival = Arrival(Principal("@bob", bob, frozenset({bob})), data)
    for _ in range(TRIES):
        answers = world.at(world.a, lambda: world.a.engine.admit([arrival]))
        if answers and answers[0].status in (200, 201):
            break
        world.tick(world.a)
    world.witness.given(X, data)
    world.until_quiet(agents.archives)


def forgetting(world: World) -> None:
    """The outcome is told, and two days later nothing is left of it but the files."""
    world.hand_over(X, payload(ttl_s=60.0))
    world.until_quiet(agents.archives)
    world.witness.final()
    world.witness.forgotten = True
    for _ in range(4):
        world.round(16 * 3600.0)
        world.round(70.0)


@dataclass(frozen=True)
class Story:
    """`reason`: how it ends in peace; `also`: how a crash may make it end instead."""

    play: Play
    reason: str
    also: tuple[str, ...] = ()
    restarts: int = 0


STORIES = {
    "final transcript comes home": Story(from_start_to_end(lambda: agents.talks), "completed"),
    "archived as it is": Story(from_start_to_end(lambda: agents.archives), "completed"),
    "rejected": Story(from_start_to_end(lambda: agents.rejects), "rejected_by_agent"),
    "held by a listener": Story(from_start_to_end(lambda: agents.listens), "completed"),
    "deleted by its agent": Story(from_start_to_end(lambda: agents.loses, seconds=4.0), "vanished_at_target"),
    "accepted over http": Story(from_start_to_end(agents.Remote), "completed"),
    "completed over http without artefact": Story(from_start_to_end(lambda: agents.Remote(artefact=None)), "completed"),
    "rejected over http": Story(from_start_to_end(lambda: agents.Remote(reject=True)), "rejected_by_agent"),
    "expired": Story(expiry, "expired"),
    "revoked while it waits": Story(revoke_of_a_waiting_one, "revoked"),
    "withdrawn before a crash": Story(a_wish_told_once, "revoked", restarts=1),
    "revoked before it came": Story(revoke_before_it_came, "expired"),
    "answer lost": Story(silence_after_the_post, "expired", restarts=1),
    "refused at take": Story(refusal_at_take, "malformed", also=("refused_policy",)),
    "several at once": Story(several_at_once, "completed"),
    "posted over http": Story(posted_over_http, "completed"),
    "stopped in order": Story(orderly_stop, "completed", restarts=2),
    "forgotten": Story(forgetting, "completed"),
}


def suffer(world: World, story: Story, what: str) -> None:
    """Play a story with faults to its end, and look whether it is a right one."""
    try:
        story.play(world)
        if not world.witness.forgotten:
            world.witness.final()
            assert set(world.witness.reasons()) <= {story.reason, *story.also}
    except (AssertionError, OSError) as error:
        trace = [line for host in world.hosts for line in (f"-- {host.name}", *host.faults.trace[-40:])]
        error.add_note("\n".join((what, *trace)))
        raise
    finally:
        world.close()


def changes(world: World, story: Story) -> dict[str, int]:
    """Play it in peace; return how many changes each host made to its disk."""
    story.play(world)
    return {host.name[-1]: host.faults.changes for host in world.hosts}


# ---------------------------------------------------------------- failing calls

WRITING = frozenset({"make_directory", "create", "move", "link", "exchange"})
ALL = WRITING | {"names", "stat", "read", "sync_files", "sync_directories", "sync_all", "unlink"}
OPENING = frozenset({"make_directory", "names", "read", "create", "sync_files"})
FAULTS = {
    "disk full": (WRITING, errno.ENOSPC),
    "input/output error": (ALL, errno.EIO),
    "too many open files": (OPENING, errno.EMFILE),
}


def fallible(world: World, story: Story, verbs: frozenset[str]) -> dict[str, int]:
    """Play it in peace; return how many calls of these verbs each host makes."""
    for host in world.hosts:
        host.faults.failing = Failing(verbs, 0, 0, 0)
    story.play(world)
    return {host.name[-1]: host.faults.fallible for host in world.hosts}
