"""A crash after every single change to either host's disk, in every story a handoff can have.

A story is played once in peace to learn how many changes each host makes; then once for each of them, with a crash
right after it. The crashed host starts again and the story goes on to its end. See tests/fakes/witness.py for what is
checked on the way.
"""

import errno
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.fakes import agents
from tests.fakes.faulty import Failing
from tests.fakes.world import World, settlements
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
    "revoked before it came": Story(revoke_before_it_came, "expired"),
    "answer lost": Story(silence_after_the_post, "expired", restarts=1),
    "refused at take": Story(refusal_at_take, "malformed", also=("refused_policy",)),
    "several at once": Story(several_at_once, "completed"),
    "posted over http": Story(posted_over_http, "completed"),
    "stopped in order": Story(orderly_stop, "completed", restarts=2),
    "forgotten": Story(forgetting, "completed"),
}


@pytest.fixture
def ground() -> Iterator[Path]:
    """Memory instead of a disk where there is some: what an fsync costs is not what is tested."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def new_world(ground: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(**options: bool) -> World:
        directory = ground / str(len(made))
        directory.mkdir()
        made.append(World(directory, **options))
        return made[-1]

    yield make
    for world in made:
        world.close()


def suffer(world: World, story: Story, what: str) -> None:
    """Play a story with faults to its end, and look whether it is a right one."""
    try:
        story.play(world)
        if not world.witness.forgotten:
            world.witness.final()
            assert set(world.witness.reasons()) <= {story.reason, *story.also}
    except (AssertionError, OSError) as error:
        trace = "\n".join([*world.a.faults.trace[-40:], "-- b", *world.b.faults.trace[-40:]])
        error.add_note(f"{what}\n{trace}")
        raise
    finally:
        world.close()


def changes(world: World, story: Story) -> dict[str, int]:
    """Play it in peace; return how many changes each host made to its disk."""
    story.play(world)
    return {"a": world.a.faults.changes, "b": world.b.faults.changes}


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
def test_a_crash_within_the_start_after_a_crash(name: str, host: str, new_world: Callable[..., World]) -> None:
    """The second crash falls after each change of the first start, a third one after the first change beyond it."""
    story = STORIES[name]
    total = changes(new_world(), story)[host]
    for step in range(1, total + 1):
        for later in (16, 18, 21):  # before that, a start only opens the directories that are there
            world = new_world()
            getattr(world, host).faults.crash_after = {step, step + later, step + later + 17}
            suffer(world, story, f"{name}: crash at {host} after change {step} and after {later} more")


# ---------------------------------------------------------------- power cuts

UNCERTAIN = ("uncertain_power_loss",)


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
        for later in (16, 17, 19):
            world = new_world(power=True, once=True)
            world.b.faults.crash_after = {step, step + later}
            suffer(world, story, f"{name}: power cut at b after change {step}, crash {later} later")


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
    for host in (world.a, world.b):
        host.faults.failing = Failing(verbs, 0, 0, 0)
    story.play(world)
    return {"a": world.a.faults.fallible, "b": world.b.faults.fallible}


@pytest.mark.parametrize("length", [1, 7])
@pytest.mark.parametrize("host", ["a", "b"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", STORIES)
def test_a_call_that_fails_changes_no_end(
    name: str, fault: str, host: str, length: int, new_world: Callable[..., World]
) -> None:
    """`length` calls in a row fail; the engine survives them, or the daemon exits on a failed flush (R7)."""
    story, (verbs, code) = STORIES[name], FAULTS[fault]
    for first in range(1, fallible(new_world(), story, verbs)[host] + 1, length):
        world = new_world()
        getattr(world, host).faults.failing = Failing(verbs, first, first + length - 1, code)
        suffer(world, story, f"{name}: {fault} at {host}, {length} from call {first}")
