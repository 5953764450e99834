"""Histories of the simulator as traces for the protocol model: is each of them a path of it (docs/custody.md 15.1)?

It owns the watching: after every change of a name, every flush, every answer and every misfortune it looks at the
handoffs concerned. What the model does not have ends the trace before it, under a name that is counted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from random import Random

from tests.simulator.agent import DELETES, MOVES, PUTS_BACK, REWRITES, Agents
from tests.simulator.disk import View
from tests.simulator.given import Given
from tests.simulator.host import SimHost
from tests.simulator.paths_step import records, said, step_of
from tests.simulator.paths_track import ANY, LOST, NONE, PULL, PUSH, Line, Track
from tests.simulator.shape import MESH
from tests.simulator.world import Item, Result, World

from handoffd.custody.filesystem import NewFile
from handoffd.custody.visit import Telling, Welcome
from handoffd.protocol.name import HostName, TransferId

TREES = 3
"""How many trees of one host the model tells apart."""
STEPS_BACK = 3
"""How often the model lets one clock fall back behind expires_at."""

# Why a trace ends before its handoff does.
SENDERS_TREE = "the sender lost its relay/, or an old one came back"
OLD_TREE = "an old relay/ came back at the receiver"
EARLIER_TREE = "the sender still knew an earlier tree of the receiver"
MANY_TREES = "the receiver lost its relay/ more often than the model counts"
MANY_STEPS_BACK = "a clock fell back more often than the model counts"
BY_HAND = "an agent deleted, rewrote or put back what it held"
UNFLUSHED = "a power cut took what its writer had not flushed"
LOST_CLAIM = "the receiver lost its relay/ with a claim over HTTP in it"
HALF = "a power cut left half of an agent's two changes"
HTTP_END = "a power cut took the outcome of an end over HTTP, and left the artefact"
LIMITS = (
    SENDERS_TREE,
    OLD_TREE,
    EARLIER_TREE,
    MANY_TREES,
    MANY_STEPS_BACK,
    BY_HAND,
    UNFLUSHED,
    LOST_CLAIM,
    HALF,
    HTTP_END,
)


class Paths:
    """The traces of one history."""

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def begin(self, one: Given) -> None:
        """An agent has written."""
        track = Track(one, PULL if one.target.name in one.source.settings.pulls else PUSH)
        self.tracks.append(track)
        if track.seen()["a.epoch"] not in ("0", "1"):
            track.limit = EARLIER_TREE
            return
        if track.link == PULL:
            track.may["hello"] = None  # it was said before, for the trace that begins here just now
        track.look("written")
        track.may.clear()

    def concerning(self, host: SimHost) -> Iterator[Track]:
        """Return the open traces that a host takes part in."""
        return (track for track in self.tracks if not track.limit and host in (track.one.source, track.one.target))

    def leased_by(self, host: SimHost, visitor: HostName) -> Iterator[TransferId]:
        """Return T of the open traces of what a visitor may lease at a host."""
        for track in self.concerning(host):
            if track.link == PULL and track.one.target.name == visitor:
                yield track.one.tid

    def of(self, tids: Iterable[object]) -> list[Track]:
        """Return the open traces of these T."""
        wanted = set(tids)
        return [track for track in self.tracks if not track.limit and track.one.tid in wanted]

    def changed(self, host: SimHost, where: str) -> None:
        """Something may have changed at a host."""
        for track in self.concerning(host):
            track.look(f"{host.name}:{where}")
            if any(track.falls_back(clock) > STEPS_BACK for clock in ("a.late", "b.late")):
                track.lines.pop()
                track.limit = MANY_STEPS_BACK

    @contextmanager
    def during(self, step: str, tracks: list[Track], where: str) -> Iterator[None]:
        """Meanwhile a step of the model may be taken."""
        for track in tracks:
            track.may[step] = None
        yield
        for track in tracks:
            if track.may and not track.limit:
                track.look(where)
            track.may.clear()

    # ------------------------------------------------------------ processes

    def ended(self, host: SimHost, fate: str) -> None:
        """A process has ended; the disk is as the next one will find it. `fate`: dies, power, loses, stop."""
        for track in self.concerning(host):
            if track.may:
                track.lines.append(Line("before-the-end", track.lines[-1].seen, track.may))
                track.may.clear()
            if host is track.one.source:
                self._source_ended(track, fate)
            else:
                self._target_ended(track, fate)

    def _source_ended(self, track: Track, fate: str) -> None:
        one, before = track.one, track.lines[-1].seen["a.place"]
        if fate == "loses":
            track.limit = SENDERS_TREE
            return
        track.source_starts()
        here = one.source.disk.folders["handoff"].now.get(one.file)
        now = track.seen()["a.place"]
        if fate == "power" and before != "?" and (now == "else" or (here is not None and here.data != one.data)):
            track.limit = UNFLUSHED
            return
        track.look(f"{one.source.name}:{fate}", "a-power" if fate == "power" else "a-dies")

    def _target_ended(self, track: Track, fate: str) -> None:
        one = track.one
        where = f"{one.target.name}:{fate}"
        if fate == "loses":
            if len(track.trees) == TREES or track.accepted:
                track.limit = LOST_CLAIM if track.accepted else MANY_TREES
                return
            track.lost_end = track.lost_end or track.lines[-1].seen["b.end"] != NONE
            track.trees.append("")
            track.told.append(set())
        track.starting = True
        seen = track.seen()
        last = track.lines[-1].seen
        if fate == "power" and track.is_half():
            track.limit = HALF
            return
        if fate == "power" and track.accepted and seen["b.end"] == NONE != last["b.end"]:
            track.limit = HTTP_END
            return
        if fate == "power" and seen["b.clean"] == "yes" != last["b.clean"]:
            # It failed between the mark of an orderly stop and its flush, and the disk had been quicker.
            track.lines.append(Line(where, {**last, "b.clean": "yes", "b.serves": ANY}, (), "b-stops"))
        if fate == "stop" and seen["b.clean"] == "yes":
            track.look(where)
        else:
            track.look(where, {"power": "b-power", "loses": LOST}.get(fate, "b-dies"))

    def started(self, host: SimHost) -> None:
        """A process serves."""
        for track in self.concerning(host):
            if host is track.one.target:
                track.trees[-1] = host.engine.epoch
                track.starting = False
            track.look(f"{host.name}:serves")


class WatchedView(View):
    """The port of one process, of which every change and every flush is told."""

    changed: Callable[[str], None]

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        with self._telling("create"):
            return super().create(files, durable=durable)

    def sync_directories(self, directories: Iterable[str]) -> None:
        names = list(directories)
        with self._telling(f"sync:{','.join(names)}"):
            super().sync_directories(names)

    def sync_all(self) -> None:
        with self._telling("sync-all"):
            super().sync_all()

    def move(self, source: str, name: str, target: str, new_name: str) -> None:
        with self._telling(f"move:{source}->{target}"):
            super().move(source, name, target, new_name)

    def exchange(self, source: str, name: str, target: str, new_name: str) -> None:
        with self._telling(f"exchange:{source}->{target}"):
            super().exchange(source, name, target, new_name)

    def link(self, source: str, name: str, target: str, new_name: str) -> None:
        with self._telling(f"link:{source}->{target}"):
            super().link(source, name, target, new_name)

    def unlink(self, directory: str, name: str) -> None:
        with self._telling(f"unlink:{directory}"):
            super().unlink(directory, name)

    @contextmanager
    def _telling(self, where: str) -> Iterator[None]:
        try:
            yield
        finally:
            self.changed(where)


class WatchedHost(SimHost):
    """A host whose processes are watched. `paths`: who watches, from the first start on."""

    paths: Paths | None = None
    _fate = "dies"

    def _view(self) -> View:
        view = WatchedView(self.disk, self.faults, self._tell_move)
        view.changed = self._changed
        return view

    def _changed(self, where: str) -> None:
        if self.paths is not None:
            self.paths.changed(self, where)

    def _open(self) -> None:
        if self.paths is not None:
            self.paths.ended(self, self._fate)
        self._fate = "dies"
        super()._open()

    def cut_power(self) -> bool:
        self._fate = "power"
        return super().cut_power()

    def lose_tree(self) -> None:
        if self.backup and self.paths is not None:
            for track in self.paths.concerning(self):
                if track.one.target is self:
                    track.limit = OLD_TREE
        self._fate = "loses"
        super().lose_tree()

    def stop(self) -> None:
        self._fate = "stop"
        if self.paths is None:
            super().stop()
            return
        with self.paths.during("b-stopping", list(self.paths.concerning(self)), f"{self.name}:stops"):
            super().stop()

    def _restart(self) -> None:
        super()._restart()
        if self.paths is not None:
            self.paths.started(self)


class WatchedAgents(Agents):
    """Agents that are watched."""

    def __init__(self, world: "WatchedWorld") -> None:
        super().__init__(world)
        self._paths = world.paths

    def claim(self, one: Given, *, renames: bool = False) -> None:
        with self._paths.during("agent", self._paths.of([one.tid]), "agent:claims"):
            super().claim(one)  # by its own name, the only one that the model has

    def end(self, one: Given, way: int) -> None:
        tracks = self._paths.of([one.tid])
        for track in tracks:
            track.in_halves = way != MOVES
            track.limit = BY_HAND if way in (DELETES, REWRITES, PUTS_BACK) else ""
        with self._paths.during("agent", tracks, "agent:ends"):
            super().end(one, way)


class WatchedWorld(World):
    """A world whose handoffs are watched."""

    host_type = WatchedHost

    def __init__(self, count: int, random: Random, shape: str = MESH) -> None:
        super().__init__(count, random, shape)
        self.paths = Paths()
        self.agents = WatchedAgents(self)
        for host in self.hosts:
            assert isinstance(host, WatchedHost)
            host.paths = self.paths

    def at(
        self, host: SimHost, verb: Callable[[Sequence[Item]], list[Result]], items: Sequence[Item]
    ) -> list[Result] | None:
        name = verb.__name__
        self.paths.changed(host, "clock")
        step, tids = self._step_of(host, name, items)
        with self.paths.during(step, self.paths.of(tids), f"{host.name}:{name}"):
            answers = super().at(host, verb, items)
            for track in self.paths.concerning(host):
                if track.one.target is host:
                    track.hear(records(answers or ()))
        self.paths.changed(host, f"answer:{name}")
        for word, about in said(answers or ()):
            for track in self.paths.of(about):
                track.look(f"{host.name}:{name}", word)
        return answers

    # The model has no copies, no agent inside of a step, no power cut after an orderly stop and no loose disks.

    def loosen(self) -> None:
        pass

    def write_again(self, one: Given) -> None:
        pass

    def write_variant(self, one: Given) -> None:
        pass

    def meddle_soon(self, host: SimHost, calls: int) -> None:
        pass

    def _switched_off(self, host: SimHost) -> None:
        pass

    def withdraw(self, one: Given) -> None:
        for track in self.paths.of([one.tid]):
            track.withdrawn = True  # a wish is remembered, and counts whenever nothing is out
        super().withdraw(one)

    def write(self, source: SimHost, target: SimHost, ttl_s: float) -> Given:
        one = super().write(source, target, ttl_s)
        self.paths.begin(one)
        return one

    def send(self, source: SimHost, *, idly: bool = True) -> None:
        before = {id(request) for wire in self.wires for request in wire.requests}
        try:
            super().send(source, idly=idly)
        finally:  # also what should not have left shows that it has
            fresh = (request for wire in self.wires for request in wire.requests if id(request) not in before)
            for request in fresh:
                for track in self.paths.of(offer.tid for offer in request.offers):
                    track.look(f"{source.name}:posts", "posts")

    def _step_of(self, host: SimHost, name: str, items: Sequence[object]) -> tuple[str, list[object]]:
        """Return the step of the model that a call may be, and of which T."""
        if name in ("welcome", "tell"):
            visitors = (item.peer for item in items if isinstance(item, Welcome | Telling))
            told = [tid for visitor in visitors for tid in self.paths.leased_by(host, visitor)]
            return ("hello" if name == "welcome" else "told"), list(told)
        return step_of(name, items)
