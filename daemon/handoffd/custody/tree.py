"""An opened root: its files, clock and settings, and the small durable acts that every custody step is made of.

It owns records, reasons, notes, final moves and the copies shown to agents. It decides nothing about a handoff. The
rules that must stay true: an outcome never changes (R5), a note is whole or absent, nothing is reported from here.
"""

import errno
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol

from handoffd.custody import layout
from handoffd.custody.filesystem import Filesystem, NewFile
from handoffd.custody.ledger import Facts, Ledger
from handoffd.custody.message import Changed, News
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import AgentName, FileName, HostName, TransferId, suffixed
from handoffd.protocol.reason import STATE_OF, Delivered, Reason, State
from handoffd.protocol.record import DETAIL_LIMIT, BadRecord, Record, decode, encode
from handoffd.protocol.timing import (
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
    homes: Mapping[str, HostName] = field(init=False)
    known_agents: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        homes = {str(agent): peer for peer, agents in self.peers.items() for agent in agents}
        object.__setattr__(self, "homes", homes)
        object.__setattr__(self, "known_agents", frozenset(homes) | self.agents)


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
    peers: dict[str, None] = field(default_factory=dict)
    graves: dict[str, int] = field(default_factory=dict)
    graves_hour: int = -1
    own: OrderedDict[tuple[str, str], None] = field(default_factory=OrderedDict)

    # ------------------------------------------------------------ telling

    def now_text(self) -> str:
        """Return this host's wall time as records show it."""
        return format_moment(self.clock.wall())

    def tell(self, item: News) -> None:
        """Queue news for link, hub or app; they get it when the group is done."""
        self.news.append(item)

    def note_edge(self, event: str, facts: Facts, **more: object) -> None:
        """Write one custody edge to the journal."""
        self.journal.write(
            event, tid=facts.tid, handoff_id=facts.handoff_id, **{"from": facts.sender, "to": facts.to}, **more
        )

    def changed(self, peer: str, tid: TransferId) -> None:
        """Let the peer that sent T hear of its new state."""
        self.ledger.feed(peer).note(tid)
        self.tell(Changed(peer))

    # ------------------------------------------------------------ records

    def ending(
        self, facts: Facts, reason: Reason, delivered: Delivered, peer: str, file: str | None, detail: str = ""
    ) -> Record:
        """Return the final record of a transfer that ends on this host's own knowledge."""
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

    def current(self, facts: Facts, state: State, peer: str, file: str | None, edges: Mapping[str, str]) -> Record:
        """Return the record of a transfer that has not ended."""
        return Record(
            tid=facts.tid,
            state=state,
            by=self.settings.host,
            at=edges.get(state.value) or self.now_text(),
            handoff_id=facts.handoff_id,
            identity=facts.identity,
            sender=facts.sender,
            to=facts.to,
            peer=peer,
            file=file,
            expires_at=facts.expires_text,
            edges=dict(edges),
        )

    def outcome(self, tid: TransferId) -> Record | None:
        """Return the final record of T, or None. A record that does not parse is an alarm, not an answer."""
        try:
            data, _ = self.fs.read(layout.OUTCOME, layout.outcome_name(tid), RECORD_LIMIT_BYTES)
        except FileNotFoundError:
            return None
        try:
            return decode(data)
        except BadRecord as error:
            raise BadOutcome(f"relay/outcome/{tid}.json: {error}") from None

    def has_outcome(self, tid: TransferId) -> bool:
        """Tell whether T has ended here."""
        return self.fs.stat(layout.OUTCOME, layout.outcome_name(tid)) is not None

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
            self._drop_part(name)
            return self._standing(record.tid) if isinstance(error, FileExistsError) else None
        return record

    def _standing(self, tid: TransferId) -> Record | None:
        try:
            return self.outcome(tid)
        except (BadOutcome, OSError) as error:
            self.journal.write("parked", tid=tid, detail=f"an outcome stands and cannot be read: {error}"[:300])
            return None

    def _drop_part(self, name: str) -> None:
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
        beside = f"{name}.reason"
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
            self._drop_part(salt)
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
        self.fs.sync_directories([directory])

    def open_peer(self, peer: str) -> None:
        """Make the directories of one peer, or of one agent that speaks HTTP."""
        if peer in self.peers:
            return
        for directory in layout.directories_of(peer):
            self.fs.make_directory(directory, 0o700)
        self.peers[peer] = None

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

    def expiry_rests(self) -> bool:
        """Tell whether the clock jumped so recently that nothing may expire by it (section 7)."""
        return self.clock.boottime() < self.rest_until_b


class BadOutcome(Exception):
    """A file in outcome/ is not a record: that transfer is left alone and shown to the operator."""


def with_file(record: Record, *, peer: str, file: FileName | str | None) -> Record:
    """Return a peer's record as this host keeps it."""
    return replace(record, peer=peer, file=file)
