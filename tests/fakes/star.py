"""A host that is only dialled, and one that only dials: with a relay between them, or without.

`Star` plays A -> H <= B: bob's host pushes to a hub, and alice's pulls from it. `Spoke` plays A <= B: alice's host
pulls from bob's own. `Several` plays A -> H <= B, C, D: alice lives on three hosts, and `b` is the one whose turn it
is. A round does what the visitor's link would do: a session, all tellings, what it is asked for.
"""

from collections.abc import Callable
from pathlib import Path

from tests.fakes.lane import Visit, Visiting, Wire
from tests.fakes.world import World
from tests.unit.custody.pair import Host


class Dialling(Visiting, World):
    """A world in which the last host dials the one before it, or several do."""

    def begin(self, hosts: list[Host], *, power: bool, once: bool, several: int = 1) -> None:
        super().begin(hosts, power=power, once=once, several=several)
        self.visits: dict[str, Visit] = {}
        self.sessions = 0

    @property
    def lender(self) -> Host:  # type: ignore[override]
        return self.witness.before(self.b)

    @property
    def visitor(self) -> Host:  # type: ignore[override]
        return self.b

    @property
    def visit(self) -> Visit:  # type: ignore[override]
        return self.visits.setdefault(self.b.name, Visit())

    @visit.setter
    def visit(self, visit: Visit) -> None:
        self.visits[self.b.name] = visit


class Star(Dialling):
    """A -> H <= B."""

    def __init__(self, directory: Path, *, power: bool = False, once: bool = False) -> None:
        self.a = Host(directory / "a", "host-a", ["bob", "carol"], {"host-h": ["alice"]})
        self.h = Host(
            directory / "h", "host-h", [], {"host-a": ["bob", "carol"], "host-b": ["alice"]}, pulls=("host-b",)
        )
        self.b = Host(directory / "b", "host-b", ["alice"], {"host-h": ["bob", "carol"]})
        for host in (self.a, self.h, self.b):
            host.start()
        self.wire = Wire(self.a, self.h)
        self.begin([self.a, self.h, self.b], power=power, once=once)
        self.hello()

    def carry(self) -> None:
        self.push()
        self.call_on()
        self.call_on()  # to tell what became of what was leased
        self.follow()


class Several(Dialling):
    """A -> H <= B, C, D."""

    def __init__(self, directory: Path, *, power: bool = False, once: bool = False) -> None:
        homes = {f"host-{letter}": ["alice"] for letter in "bcd"}
        self.a = Host(directory / "a", "host-a", ["bob", "carol"], {"host-h": ["alice"]})
        self.h = Host(directory / "h", "host-h", [], {"host-a": ["bob", "carol"], **homes}, pulls=tuple(homes))
        self.homes = [Host(directory / name[-1], name, ["alice"], {"host-h": ["bob", "carol"]}) for name in homes]
        for host in (self.a, self.h, *self.homes):
            host.start()
        self.wire = Wire(self.a, self.h)
        self.b = self.homes[0]
        self.begin([self.a, self.h, *self.homes], power=power, once=once, several=len(homes))
        self.each(self.hello)

    def each(self, act: Callable[[], object]) -> None:
        """Let every home do it, one after the other, beginning with another one each time."""
        self.homes.append(self.homes.pop(0))
        for home in list(self.homes):
            self.b = home
            act()

    def carry(self) -> None:
        self.push()
        self.each(self.call_on)
        self.each(self.call_on)
        self.follow()

    def until_quiet(self, agents: Callable[[World], None], rounds: int = 45, seconds: float = 1.0) -> None:
        super().until_quiet(lambda world: self.each(lambda: agents(world)), rounds, seconds)


class Spoke(Dialling):
    """A <= B."""

    def __init__(self, directory: Path, *, power: bool = False, once: bool = False) -> None:
        self.a = Host(directory / "a", "host-a", ["bob", "carol"], {"host-b": ["alice"]}, pulls=("host-b",))
        self.b = Host(directory / "b", "host-b", ["alice"], {"host-a": ["bob", "carol"]})
        for host in (self.a, self.b):
            host.start()
        self.wire = Wire(self.a, self.b)
        self.begin([self.a, self.b], power=power, once=once)
        self.hello()

    def carry(self) -> None:
        self.call_on()
        self.call_on()

    def push(self, *, answers_arrive: bool = True) -> None:
        """Nothing is pushed to a host that cannot be reached; an answer that is lost is a lease's."""
        if answers_arrive:
            self.call_on()
        else:
            self.lose_a_lease()

    def follow(self) -> None:
        self.call_on()
