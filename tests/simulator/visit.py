"""The connection of a host that dials in: it tells what it has, hears what is wanted of it, and leases what is its own.

What it said may arrive late or twice, and so may its wish to lease; an answer is heard once, at any later time, by the
process that asked. Whatever goes wrong ends the session, as in `link/visit.py`; the next word is a hello.
"""

from typing import TYPE_CHECKING

from tests.simulator.host import SimHost

from handoffd.custody.engine import Engine
from handoffd.custody.message import Arrival, Batch, Hello, Lookup
from handoffd.custody.visit import Bring, Lease, Leased, Parcel, Telling, Tidings, Untold, Welcome, Wishes
from handoffd.protocol.name import TransferId
from handoffd.protocol.record import Record

if TYPE_CHECKING:
    from tests.simulator.world import World

HEARD, ANSWER_LOST, REQUEST_LOST = range(3)
"""What becomes of a word and its answer."""


class Visit:
    """What one host says to the host it dials, and what it heard."""

    def __init__(self, world: "World", visitor: SimHost, lender: SimHost) -> None:
        self.visitor, self.lender = visitor, lender
        self.told: list[Telling] = []
        self.leases: list[tuple[Lease, Engine]] = []
        """Wishes to lease, which may arrive at any time, and the engine that waits for what is lent."""
        self.parcels: list[tuple[tuple[Parcel, ...], Engine]] = []
        self.is_quiet = False
        """Whether nothing was told with the last word, nothing wanted in its answer, and nothing is to be leased."""
        self._world = world
        self._engine: Engine | None = None
        self._forget_all()
        self._sessions = 0

    def _forget_all(self) -> None:
        self.takes: dict[TransferId, None] = {}
        self._session = ""
        self._since = 0
        self._told_all = False
        self._again: dict[TransferId, None] = {}
        self._extra: list[Record] = []
        self._lenders_epoch = ""

    def is_open(self) -> bool:
        """Tell whether there is a session that this process of the visitor began."""
        return bool(self._session) and self._engine is self.visitor.engine

    def has_waiting(self) -> bool:
        """Tell whether the visitor waits for what is lent."""
        return any(engine is self.visitor.engine for _, engine in self.parcels)

    # ------------------------------------------------------------ telling

    def say(self, fate: int) -> None:
        """Say hello, or tell what is new, or ask what is wanted if there is nothing to tell."""
        self.is_quiet = False
        if self.is_open():
            self._tell(fate)
        else:
            self._hello(fate)

    def _hello(self, fate: int) -> None:
        world, visitor, lender = self._world, self.visitor, self.lender
        engine = visitor.engine
        if engine is not self._engine:
            self._forget_all()
        self._engine, self._session, self._told_all, self._since = engine, "", False, 0
        self._sessions += 1
        name, epoch = f"s{self._sessions}", lender.engine.epoch
        if fate == REQUEST_LOST:
            return
        welcomed = world.at(lender, lender.engine.welcome, [Welcome(visitor.name, engine.epoch, name)])
        if welcomed != [True] or fate == ANSWER_LOST:
            return
        for wire in world.wires:
            if wire.source is visitor and wire.target is lender:
                wire.note_epoch(engine)
        if world.at(visitor, engine.hello, [Hello(lender.name, epoch)]) == [True]:
            self._session, self._lenders_epoch = name, epoch

    def _tell(self, fate: int) -> None:
        world, visitor, engine = self._world, self.visitor, self.visitor.engine
        found = world.at(visitor, engine.tidings, [Untold(self.lender.name, self._since, tuple(self._again))])
        if not found:
            return
        tidings, extra = found[0], self._extra
        records = (*tidings.records, *extra)
        world.witness.told(visitor, self.lender, tidings.records)
        self._bring(records)
        if engine is not visitor.engine:
            return
        telling = Telling(visitor.name, engine.epoch, self._session, records, more=tidings.more)
        if records:
            self.told.append(telling)
        wishes = None if fate == REQUEST_LOST else self.hear(telling)
        if wishes is None or fate == ANSWER_LOST:
            self._session = ""
            return
        self._extra = []
        self.is_quiet = not (records or tidings.more or wishes or self.takes)
        self._note(records, wishes, tidings)
        self._heed(wishes)

    def _note(self, records: tuple[Record, ...], wishes: Wishes, tidings: Tidings) -> None:
        for record in records:
            self._again.pop(record.tid, None)
            if record.final and record.tid not in wishes.forget:
                self._again[record.tid] = None
        self._since, self._told_all = tidings.number, not tidings.more

    def _bring(self, records: tuple[Record, ...]) -> None:
        world, visitor, lender = self._world, self.visitor, self.lender
        for record in records:
            if record.final and record.artefact is not None:
                found = world.at(visitor, visitor.engine.lookup, [Lookup(lender.principal, record.tid, True)])
                data = found[0].data if found else None
                if data is not None:
                    epoch = visitor.engine.epoch
                    world.at(lender, lender.engine.bring, [Bring(visitor.name, epoch, record.tid, data)])

    def hear(self, telling: Telling) -> Wishes | None:
        """The lender hears a word, now or once more; return what it wants, None if it refuses or dies."""
        if self.lender.engine.epoch != self._lenders_epoch:
            return None
        wishes = self._world.at(self.lender, self.lender.engine.tell, [telling])
        self._world.witness.shown(self.lender)
        if wishes:
            self._world.witness.released(self.lender, wishes[0].forget)
        return wishes[0] if wishes and not (wishes[0].refused or wishes[0].failed) else None

    def _heed(self, wishes: Wishes) -> None:
        world, visitor, peer = self._world, self.visitor, self.lender.name
        engine = visitor.engine
        if wishes.forget:
            world.at(visitor, engine.forget, [Batch(peer, wishes.forget)])
        if wishes.verdict and engine is visitor.engine:
            told = world.at(visitor, engine.verdict, [Batch(peer, wishes.verdict)])
            self._extra += told[0] if told else ()
        self.takes.update(dict.fromkeys(wishes.take))

    # ------------------------------------------------------------ leasing

    def ask(self) -> None:
        """Wish to lease what is to be taken; the wish arrives when `lend` is called."""
        if not self.is_open():
            return
        tids, self.takes = tuple(self.takes), {}
        engine = self.visitor.engine
        wanted = self._world.at(self.visitor, engine.wanted, [Batch(self.lender.name, tids)])
        if wanted and wanted[0]:
            self.leases.append((Lease(self.visitor.name, engine.epoch, wanted[0]), engine))

    def lend(self, number: int) -> None:
        """A wish to lease arrives, at any time and any number of times; the last one is number -1."""
        if not self.leases:
            return
        lease, asker = self.leases[number]
        leased: list[Leased] | None = self._world.at(self.lender, self.lender.engine.lease, [lease])
        if leased:
            self._world.witness.lent(self.lender, self.visitor, leased[0].parcels)
        if leased and not leased[0].refused and asker is self.visitor.engine:
            self.parcels.append((leased[0].parcels, asker))
        self._world.witness.shown(self.lender)

    def receive(self, *, lost: bool) -> None:
        """What was lent arrives, or is lost on its way."""
        parcels, asker = self.parcels.pop(0)
        if asker is not self.visitor.engine:
            return
        if lost:
            self._world.happened["a lease's answer was lost"] += 1
            self._session = ""
            return
        arrivals = [
            Arrival(self.lender.principal, one.answer.data, one.answer.tid, path=one.path)
            for one in parcels
            if one.answer.data is not None
        ]
        if arrivals:
            received = self._world.at(self.visitor, asker.receive, arrivals)
            self._extra += [one.told for one in received or () if one.told is not None]
