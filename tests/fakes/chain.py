"""Several hosts in a row, from bob's to alice's, every lane between two of them pushed or taken by a visit.

`"push pull"` is A -> H <= B, `"pull push"` A <= H -> B, and so on; with three lanes the hubs are `h1` and `h2`.
"""

from collections.abc import Callable
from pathlib import Path

from tests.fakes.lane import PullLane, PushLane
from tests.fakes.world import World
from tests.unit.custody.pair import Host

BOBS, ALICES = ["bob", "carol"], ["alice"]


class Chain(World):
    """`lanes`: the words for them, from A on."""

    def __init__(self, directory: Path, lanes: str, *, power: bool = False, once: bool = False) -> None:
        words = lanes.split()
        names = ["a", *(["h"] if len(words) == 2 else [f"h{number}" for number in range(1, len(words))]), "b"]
        hosts = [made(directory, names, words, place) for place in range(len(names))]
        for host in hosts:
            host.start()
        self.a, self.b = hosts[0], hosts[-1]
        self.named = dict(zip(names, hosts, strict=True))
        self.begin(hosts, power=power, once=once)
        kinds = {"push": PushLane, "pull": PullLane}
        self.lanes = [kinds[word](self, *hosts[place : place + 2]) for place, word in enumerate(words)]
        self.wire = getattr(self.lanes[0], "wire", None)

    def carry(self) -> None:
        for lane in self.lanes:
            lane.carry()

    def push(self, *, answers_arrive: bool = True) -> None:
        self.lanes[0].push(answers_arrive=answers_arrive)

    def follow(self) -> None:
        for lane in reversed(self.lanes):
            lane.follow()


def made(directory: Path, names: list[str], words: list[str], place: int) -> Host:
    """Return the host at a place of the way, not started."""
    own = BOBS if place == 0 else ALICES if place == len(words) else []
    before = {f"host-{names[place - 1]}": BOBS} if place else {}
    after = {f"host-{names[place + 1]}": ALICES} if place < len(words) else {}
    pulls = tuple(after) if place < len(words) and words[place] == "pull" else ()
    return Host(directory / names[place], f"host-{names[place]}", own, {**before, **after}, pulls=pulls)


def chain(lanes: str) -> Callable[..., Chain]:
    """Return what makes such a chain in a directory."""

    def make(directory: Path, *, power: bool = False, once: bool = False) -> Chain:
        return Chain(directory, lanes, power=power, once=once)

    return make
