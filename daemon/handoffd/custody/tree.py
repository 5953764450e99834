"""An opened root: its files, clock and settings, and the small durable acts that every custody step is made of.

It owns records, reasons, notes, final moves and the copies shown to agents. It decides nothing about a handoff. The
rules that must stay true: an outcome never changes (R5), a note is whole or absent, nothing is reported from here.
"""

import errno
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from handoffd.custody import layout
from handoffd.custody.filesystem import Filesystem, NewFile
from handoffd.custody.household import SHARED, Homes, known_agents
from handoffd.custody.ledger import Facts, Ledger, Receipt, Sending
from handoffd.custody.message import Changed, News, Owed
from handoffd.protocol.moment import format_moment, parse_moment
from handoffd.protocol.name import CANARY_AGENT, AgentName, FileName, HostName, TransferId, suffixed
from handoffd.protocol.reason import STATE_OF, Delivered, Reason, State
from handoffd.protocol.record import DETAIL_LIMIT, BadRecord, Record, decode, encode, with_course
from handoffd.protocol.timing import (
    CANARY_KEEP_S,
    CLOCK_JUMP_REST_S,
    CLOCK_JUMP_S,
    DOUBT_MAX_S,
    FORGET_AFTER_S,
    HOUR_S,
    MAX_TTL_S,
    PAYLOAD_LIMIT_BYTES,
    RETAIN_S,
    TOMBSTONES_PER_HOUR,
)

OWN_LIMIT = 4_096
"""Names of our own files remembered: hints about them come within seconds."""
RECORD_LIMIT_BYTES = 64 << 10
"""A record is below 3 KiB; a larger file in outcome/ was not written by us."""


class Clock(Protocol):
    """The two clocks the engine reads."""

    def wall(self) -> float:
        """Return POSIX seconds; may jump."""

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME seconds; never jumps, counts suspended time."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the engine needs of the configuration; replaced whole on reload. Times in seconds, sizes in bytes."""

    host: HostName
    agents: frozenset[AgentName]
    peers: Mapping[HostName, frozenset[AgentName]]
    max_payload_bytes: int = PAYLOAD_LIMIT_BYTES
    max_ttl_s: float = MAX_TTL_S
    forget_after_s: float = FORGET_AFTER_S
    retain_s: float = RETAIN_S
    doubt_max_s: float = DOUBT_MAX_S
    directory_mode: int = 0o755
    pulls: frozenset[HostName] = frozenset()
    """Peers that dial in for what is theirs: nothing is sent to them unasked (docs/custody.md section 11)."""
    relays: frozenset[HostName] = frozenset()
    """Peers that send on behalf of others: behind them may be one more host that is silent."""
    default_peer: HostName | None = None
    """Where every agent lives that nobody names."""
    homes: Homes = field(init=False)
    known_agents: Set[str] = field(init=False)

    def __post_init__(self) -> None:
        named: dict[str, list[HostName]] = {}
        for peer, agents in self.peers.items():
            for agent in agents:
                named.setdefault(agent, []).append(peer)
        homes = Homes(named, self.default_peer)
        object.__setattr__(self, "homes", homes)
        object.__setattr__(self, "known_agents", known_agents(homes, self.agents))

    def is_leased(self, peer: str) -> bool:
        """Tell whether what waits for this `<peer>` is leased by whoever dials in, not sent."""
        return peer in self.pulls or peer.startswith(SHARED)


class Journal(Protocol):
    """Where custody edges are written down; never read back here."""

    def write(self, event: str, **fields: object) -> None:
        """Note one edge; must not raise."""


@dataclass(slots=True)
class Tree:
    """The root as the engine uses it."""

    fs: Filesystem
    clock: Clock
    settings: Settings
    journal: Journal
    salt: Callable[[], str]
    ledger: Ledger
    epoch: str = ""
    news: list[News] = field(default_factory=list)
    rest_until_b: float = 0.0
    wall_minus_boot: float | None = None
    peers: dict[str, None] = field(default_factory=dict)
    graves: dict[str, int] = field(default_factory=dict)
    graves_hour: int = -1
    hand_over: Callable[[], None] = lambda: None
    """Tells that what was told so far should be heard now, not when the group is done."""
    own: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)

    # ------------------------------------------------------------ telling

    def now_text(self) -> str:
        """Return this host's wall time as records show it."""
        return format_moment(self.clock.wall())

    def tell(self, item: News) -> None:
        """Queue news for link, hub or app; they get it when the group is done."""
        self.news.append(item)

    def owe(self, peer: str) -> None:
        """Let whoever may have what waits for this `<peer>` hear that there is something."""
        for taker in self.settings.homes.takers(peer):
            self.tell(Owed(taker))

    def note_edge(self, event: str, facts: Facts, **more: object) -> None:
        """Write one custody edge to the journal."""
        self.journal.write(
            event, tid=facts.tid, handoff_id=facts.handoff_id, **{"from": facts.sender, "to": facts.to}, **more
        )

    def note_broken(self, facts: Facts, role: str, peer: str, rule: str, detail: str) -> None:
        """Raise the alarm: the files of a handoff contradict a rule of docs/custody.md (section 14)."""
        self.note_edge("broken", facts, role=role, peer=peer, detail=f"{rule}: {detail}; it was set aside")

    def note_refusal(self, record: Record) -> None:
        """Write to the journal that a payload ended here before it was ever let in."""
        assert record.reason is not None
        self.journal.write(
            record.state.value,
            tid=record.tid,
            handoff_id=record.handoff_id,
            role="receiver",
            peer=record.peer,
            reason=record.reason.value,
            detail=record.detail,
        )

    def changed(self, peer: str, tid: TransferId) -> None:
        """Let the peer that sent T hear of its new state."""
        self.ledger.note(peer, tid)
        self.tell(Changed(peer))

    # ------------------------------------------------------------ records

    def ending(
        self, facts: Facts, reason: Reason, delivered: Delivered, peer: str | None, file: str | None, detail: str = ""
    ) -> Record:
        """Return the final record of a transfer that ends on this host's own knowledge; `peer`: None if never taken."""
        state, at = STATE_OF[reason], self.now_text()
        return Record(
            tid=facts.tid,
            state=state,
            by=self.settings.host,
            at=at,
            handoff_id=facts.handoff_id,
            identity=facts.identity,
            sender=facts.sender,
            to=facts.to,
            peer=peer,
            file=file,
            reason=reason,
            delivered=delivered,
            expires_at=facts.expires_text,
            detail=detail[:DETAIL_LIMIT],
            edges={state.value: at},
        )

    def current(self, one: Receipt | Sending, file: str, told: State | None = None) -> Record:
        """Return the record of a transfer that has not ended. `told`: the state to be told, where it is not its own."""
        facts, state = one.facts, told or one.state
        record = Record(
            tid=facts.tid,
            state=state,
            by=one.edges_by.get(state.value, self.settings.host),
            at=one.edges.get(state.value) or self.now_text(),
            handoff_id=facts.handoff_id,
            identity=facts.identity,
            sender=facts.sender,
            to=facts.to,
            peer=one.peer,
            file=file,
            expires_at=facts.expires_text,
        )
        return with_course(record, self.settings.host, one.edges, one.edges_by, one.clocks)

    def outcome(self, tid: TransferId) -> Record | None:
        """Return the final record of T, or None. A record that does not parse is an alarm, not an answer; so is a T
        that was set aside."""
        if tid in self.ledger.aside:
            raise BadOutcome(f"{tid} was set aside; see `handoffd fsck`")
        try:
            data, _ = self.fs.read(layout.OUTCOME, layout.outcome_name(tid), RECORD_LIMIT_BYTES)
        except FileNotFoundError:
            return None
        try:
            return decode(data)
        except BadRecord as error:
            raise BadOutcome(f"relay/outcome/{tid}.json: {error}") from None

    def has_outcome(self, tid: TransferId) -> bool:
        """Tell whether T has ended here; of one that was set aside nobody can say that it has not."""
        return tid in self.ledger.aside or self.fs.stat(layout.OUTCOME, layout.outcome_name(tid)) is not None

    def write_outcomes(self, records: Sequence[Record]) -> list[Record | None]:
        """Make final records durable, one directory flush for all; return what now stands in outcome/.

        An older record of the same T stays and is returned. None: the disk did not take it, nothing has changed.
        """
        if not records:
            return []
        names = [self.salt() for _ in records]
        failures = self.fs.create(
            [NewFile(layout.TMP, name, encode(record)) for name, record in zip(names, records, strict=True)]
        )
        written: list[Record | None] = []
        for name, record, failure in zip(names, records, failures, strict=True):
            written.append(None if failure is not None else self._enter(name, record))
        self.fs.sync_directories([layout.OUTCOME])
        return written

    def _enter(self, name: str, record: Record) -> Record | None:
        try:
            self.fs.move(layout.TMP, name, layout.OUTCOME, layout.outcome_name(record.tid))
        except OSError as error:
            # The group's flush must follow: a record that is there would else be read, and told, unflushed.
            self.drop_part(name)
            return self._standing(record.tid) if isinstance(error, FileExistsError) else None
        self.forget_canary(record)
        return record

    def forget_canary(self, record: Record) -> bool:
        """Let the outcome of a canary go soon, asked or not; tell whether it is one's (section 18)."""
        if record.to != CANARY_AGENT:
            return False
        try:
            expires_at = parse_moment(record.expires_at or "")
        except ValueError:
            expires_at = self.clock.wall()
        self.ledger.forgettable.add(record.tid, expires_at + CANARY_KEEP_S)
        return True

    def _standing(self, tid: TransferId) -> Record | None:
        try:
            return self.outcome(tid)
        except (BadOutcome, OSError) as error:
            self.journal.write("parked", tid=tid, detail=f"an outcome stands and cannot be read: {error}"[:300])
            return None

    def drop_part(self, name: str) -> None:
        """Remove an unfinished write; never raises OSError."""
        with suppress(OSError):  # tmp/ is emptied at the next start
            self.fs.unlink(layout.TMP, name)

    # ------------------------------------------------------------ files agents see

    def place(self, source: str, name: str, target: str, wanted: str, tid: TransferId) -> str | None:
        """Move a file to a free name as close to the wanted one as may be; return it, or None if it was gone.

        Raises OSError, FileExistsError if three names were taken.
        """
        for candidate in (wanted, suffixed(wanted, tid), suffixed(f"{self.salt()[:8]}.{wanted}", tid)):
            try:
                self.fs.move(source, name, target, candidate)
            except FileExistsError:
                continue
            except FileNotFoundError:
                return None
            return candidate
        raise FileExistsError(errno.EEXIST, "no free name", wanted)

    def reject(self, source: str, name: str, wanted: str, record: Record) -> None:
        """Move a file to rejected/ with `<name>.reason` beside it.

        The reason comes first: whoever sees the file finds it, and a crash between is repeated at start.
        """
        if self.fs.stat(layout.REJECTED, wanted) is not None:
            wanted = suffixed(wanted, record.tid)
        self.put_reason(wanted, record)
        self.place(source, name, layout.REJECTED, wanted, record.tid)

    def is_own(self, directory: str, name: str) -> bool:
        """Tell whether we put this file there ourselves: a copy of ours is no evidence of what an agent did."""
        return (directory, name) in self.own

    def put_reason(self, name: str, record: Record) -> None:
        """Write `<name>.reason` in rejected/. Raises OSError where the disk does not take it."""
        beside = f"{name}{layout.REASON}"
        if not self.show(layout.REJECTED, beside, encode(record)) and self.fs.stat(layout.REJECTED, beside) is None:
            raise OSError(errno.ENOSPC, "the reason cannot be written", beside)

    def show(self, directory: str, name: str, data: bytes, *, durable: bool = True) -> bool:
        """Put a file of ours into an agents' directory, never replacing one; tell whether it is now there.

        A view (a12) is not durable: it is made again when it is missing.
        """
        salt = self.salt()
        (failure,) = self.fs.create([NewFile(layout.TMP, salt, data)], durable=durable)
        if failure is not None:
            return False
        try:
            self.fs.move(layout.TMP, salt, directory, name)
        except OSError:
            self.drop_part(salt)
            return False
        self.own[(directory, name)] = None
        if len(self.own) > OWN_LIMIT:
            self.own.popitem(last=False)
        return True

    def quarantine(self, source: str, name: str, why: str, facts: Facts | None = None) -> None:
        """Put away a file that nobody asked for; it is never deleted."""
        try:
            self.fs.move(source, name, layout.QUARANTINE, f"{self.salt()[:12]}~{name}"[:250])
        except FileNotFoundError:
            return
        self.journal.write("quarantined", file=name, detail=why, tid=facts and facts.tid)

    def put_note(self, directory: str, name: str, data: bytes) -> None:
        """Write a small file whole and durable, replacing an older one atomically. Raises OSError, FlushFailed."""
        salt = self.salt()
        (failure,) = self.fs.create([NewFile(layout.TMP, salt, data)])
        if failure is not None:
            raise failure
        try:
            self.fs.move(layout.TMP, salt, directory, name)
        except FileExistsError:
            self.fs.exchange(layout.TMP, salt, directory, name)
            self.fs.unlink(layout.TMP, salt)
        except OSError:
            self.drop_part(salt)
            raise
        self.fs.sync_directories([directory])

    def open_peer(self, peer: str) -> None:
        """Make the directories of one peer, or of one agent that speaks HTTP."""
        if peer in self.peers:
            return
        for directory in layout.directories_of(peer):
            self.fs.make_directory(directory, 0o700)
        self.peers[peer] = None

    def open_shared(self, found: Iterable[str] = ()) -> None:
        """Make the directories where what may be leased by any of several homes waits, and open those found."""
        for where in (*self.settings.homes.shared(), *found):
            self.fs.make_directory(layout.outbox(where), 0o700)

    # ------------------------------------------------------------ limits

    def may_bury(self, peer: str) -> bool:
        """Count a tombstone for a peer's T; False when the hour's are used up (section 6, b3)."""
        hour = int(self.clock.boottime() // HOUR_S)
        if hour != self.graves_hour:
            self.graves_hour = hour
            self.graves.clear()
        self.graves[peer] = self.graves.get(peer, 0) + 1
        return self.graves[peer] <= TOMBSTONES_PER_HOUR

    # ------------------------------------------------------------ time

    def watch_clock(self) -> None:
        """A wall clock that jumped against CLOCK_BOOTTIME makes everything that expires rest (section 7)."""
        offset = self.clock.wall() - self.clock.boottime()
        before, self.wall_minus_boot = self.wall_minus_boot, offset
        if before is not None and abs(offset - before) > CLOCK_JUMP_S:
            self.rest_until_b = self.clock.boottime() + CLOCK_JUMP_REST_S
            self.journal.write("clock_jumped", detail=f"by {offset - before:+.1f} s; nothing expires for 60 s")

    def expiry_rests(self) -> bool:
        """Tell whether the clock jumped so recently that nothing may expire by it (section 7), up to this moment."""
        self.watch_clock()
        return self.clock.boottime() < self.rest_until_b


class BadOutcome(Exception):
    """What T's end is cannot be said: that transfer is left alone and shown to the operator."""


def with_file(record: Record, *, peer: str, file: FileName | str | None) -> Record:
    """Return a peer's record as this host keeps it."""
    return replace(record, peer=peer, file=file)
