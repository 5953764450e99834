"""Residents: files that stay in handoff/: local handoffs, odd ones, and those for agents that nobody knows.

It owns their memory, so that each is read once, and their expiry (docs/custody.md section 7). It never takes a file
into custody. The rule that must stay true: a local handoff is left alone but for its expiry and its journal lines.
"""

from contextlib import suppress
from dataclasses import dataclass

from handoffd.custody import layout
from handoffd.custody.ending import Ending
from handoffd.custody.filesystem import Stat
from handoffd.custody.judgement import Judgement
from handoffd.custody.ledger import Facts, facts_in
from handoffd.custody.message import Waiting
from handoffd.custody.tree import Settings, Tree
from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Reason
from handoffd.protocol.timing import EXPIRY_GRACE_S, MALFORMED_GRACE_S


@dataclass(slots=True)
class Resident:
    """A file that stays in handoff/, remembered so that it is read once: a local handoff, or an odd one."""

    seen: Stat
    verdict: Judgement
    since_b: float
    facts: Facts
    settings: Settings


class Residents:
    """All of them, by file name."""

    def __init__(self, tree: Tree, ending: Ending) -> None:
        self._tree = tree
        self._ending = ending
        self._known: dict[str, Resident] = {}

    def drop(self, name: str) -> None:
        """Strike a file that left."""
        self._known.pop(name, None)

    def waits(self, name: str, verdict: Judgement) -> bool:
        """Tell whether a broken file gets more of its MALFORMED_GRACE_S: it may still be being written."""
        if verdict.word != "broken":
            return False
        known, now_b = self._known.get(name), self._tree.clock.boottime()
        since_b = known.since_b if known and known.verdict.word == "broken" else now_b
        return now_b - since_b < MALFORMED_GRACE_S

    def is_settled(self, name: str) -> bool:
        """Tell whether another look at a file that stays would find what the last one found."""
        known = self._known.get(name)
        if known is None:
            return False
        seen = self._tree.fs.stat(layout.HANDOFF, name)
        same = seen is not None and known.seen.same_bytes_as(seen) and known.seen.links == seen.links
        return seen is None or (same and not self._looks_again(known))

    def _looks_again(self, known: Resident) -> bool:
        """Tell whether the verdict may change without the file changing: with time, with the disk, after a reload."""
        return known.verdict.word in ("broken", "unmovable", "beyond") or known.settings is not self._tree.settings

    def leave_odd(self, name: str) -> None:
        """Leave a file whose name no handoff bears; one event."""
        if name in self._known:
            return
        seen = self._tree.fs.stat(layout.HANDOFF, name)
        self.leave(name, seen, Judgement(None, "odd", detail="not a handoff's file name; see docs"), b"")

    def leave(self, name: str, seen: Stat | None, verdict: Judgement, data: bytes) -> None:
        """Remember a file that stays, with the verdict on it; one event for each new verdict."""
        known = self._known.get(name)
        if seen is None:
            seen = Stat(0, 0, 0, 0, 0, regular=False)
        facts = verdict.facts or facts_in(TransferId(""), data)
        since = known.since_b if known else self._tree.clock.boottime()
        self._known[name] = Resident(seen, verdict, since, facts, self._tree.settings)
        if known is None or known.verdict.word != verdict.word:
            self._tell_left(name, verdict, facts)
        if known is None or not known.seen.same_bytes_as(seen):
            self._tell_waiting(name, seen, verdict, facts)

    def _tell_waiting(self, name: str, seen: Stat, verdict: Judgement, facts: Facts) -> None:
        late = verdict.expires_at is not None and self._tree.clock.wall() > verdict.expires_at
        if verdict.word == "local" and facts.to is not None and not late:
            self._tree.tell(Waiting(facts.to, name, facts, seen.mtime_ns))

    def _tell_left(self, name: str, verdict: Judgement, facts: Facts) -> None:
        if verdict.word == "broken":
            return
        event = {"local": "local_started", "unroutable": "unroutable"}.get(verdict.word, "left_alone")
        self._tree.note_edge(event, facts, role="local", file=name, detail=verdict.detail)

    def forget(self, present: set[str]) -> None:
        """Drop what is in handoff/ no more; a claim between two local agents gets its line."""
        for name in [name for name in self._known if name not in present]:
            gone = self._known.pop(name)
            if gone.verdict.word == "local" and self._tree.fs.stat(layout.CLAIMED, name) is not None:
                self._tree.note_edge("claimed", gone.facts, role="local", file=name)

    def expire(self) -> None:
        """End what is past its time between local agents, and what nobody can be found for."""
        if self._tree.expiry_rests():
            return
        now = self._tree.clock.wall()
        for name, resident in list(self._known.items()):
            word, expires_at = resident.verdict.word, resident.verdict.expires_at
            if word in ("local", "unroutable") and expires_at is not None and now > expires_at + EXPIRY_GRACE_S:
                with suppress(OSError):  # again on the next scan
                    self._expire_one(name, resident)

    def _expire_one(self, name: str, resident: Resident) -> None:
        """The same CAS as the janitor's: the rename picks between us and the agent; then the reason."""
        reason = Reason.EXPIRED if resident.verdict.word == "local" else Reason.UNROUTABLE
        salt = TransferId(self._tree.salt() * 2)
        placed = self._tree.place(layout.HANDOFF, name, layout.REJECTED, name, salt)
        del self._known[name]
        if placed is None:
            return
        facts = self._facts_of_rejected(placed, salt)
        record = self._tree.ending(facts, reason, Delivered.NEVER_SENT, None, name, resident.verdict.detail)
        self._ending.reason_beside(placed, record)
        self._tree.note_edge(record.state.value, facts, role="local", file=name, reason=reason.value)

    def _facts_of_rejected(self, name: str, salt: TransferId) -> Facts:
        """Return what the bytes say; of a file made unreadable only that it ended, under an id made up."""
        try:
            data, _ = self._tree.fs.read(layout.REJECTED, name)
        except OSError:
            return Facts(salt)
        return facts_in(transfer_id(data), data)
