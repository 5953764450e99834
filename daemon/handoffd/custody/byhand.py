"""By hand: what an operator's command does to a root itself, with the daemon stopped or beside it.

It owns three acts (docs/custody.md section 7): a wish written down, an outcome given up, a file withdrawn that nobody
has taken. The rules that must stay true: what is in custody is touched only under the lock, and every act is one that
the daemon's own start finds as if it had been cut short in the middle of it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handoffd.custody import layout
from handoffd.custody.entry import Entry
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.ledger import Facts, Ledger, facts_in
from handoffd.custody.place import Place
from handoffd.custody.reading import read_file
from handoffd.custody.tree import Clock, Journal, Settings, Tree
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Reason, State, delivered_after
from handoffd.protocol.record import Record

_CARRIED = (Place.OUTBOX, Place.SENT)


class Changed(Exception):
    """The handoff went on between the look and the act: look again."""


class ByHand:
    """Acts on one root. Made by `stopped` or `beside`."""

    def __init__(self, root: Path, tree: Tree) -> None:
        self._root = root
        self._tree = tree

    def wish(self, entry: Entry) -> None:
        """Write down that the writer wants it back; the next start asks the peer. Raises Changed, OSError."""
        self._facts(entry)
        self._tree.put_note(layout.WISH, entry.tid, b"")
        self._tree.note_edge("withdraw_asked", self._facts(entry), role="sender", peer=entry.peer, detail=_BY_HAND)

    def give_up(self, entry: Entry) -> Record:
        """End it as outcome_unknown; the next start makes the last moves. Raises Changed, OSError, FlushFailed."""
        facts, reason = self._facts(entry), Reason.OUTCOME_UNKNOWN
        delivered = delivered_after(reason, claim_seen=entry.word == State.CLAIMED, sent=True)
        detail = f"given up by the operator, {_BY_HAND}"
        wanted = self._tree.ending(facts, reason, delivered, str(entry.peer), entry.file, detail)
        (record,) = self._tree.write_outcomes([wanted])
        if record is None:
            raise OSError(28, "the outcome cannot be written", str(self._root / layout.OUTCOME))
        self._note_end(facts, record, role="sender", peer=entry.peer, file=entry.file)
        return record

    def withdraw(self, entry: Entry) -> Record:
        """Take back a file of handoff/ that nobody has taken or claimed. Raises Changed, OSError, FlushFailed."""
        name = str(entry.file)
        placed = self._tree.place(layout.HANDOFF, name, layout.REJECTED, name, entry.tid)
        if placed is None:
            raise Changed
        read = read_file(self._root / layout.REJECTED / placed)
        data = read[0] if read else b""
        facts = facts_in(transfer_id(data), data)
        detail = "withdrawn by the operator before anybody had it"
        record = self._tree.ending(facts, Reason.REVOKED, Delivered.NEVER_SENT, None, name, detail)
        self._tree.put_reason(placed, record)
        self._tree.fs.sync_directories([layout.HANDOFF, layout.REJECTED])
        self._note_end(facts, record, role="local", file=name)
        return record

    def _note_end(self, facts: Facts, record: Record, **more: object) -> None:
        reason = record.reason and record.reason.value
        self._tree.note_edge(record.state.value, facts, state=record.state.value, reason=reason, **more)

    def _facts(self, entry: Entry) -> Facts:
        """Return what the file in custody says; it must still be there and not ended."""
        path = next((seen.path for seen in entry.sightings if seen.place in _CARRIED), None)
        read = None if path is None else read_file(self._root / path)
        if read is None or self._tree.has_outcome(entry.tid):
            raise Changed
        return facts_in(entry.tid, read[0]) if transfer_id(read[0]) == entry.tid else Facts(TransferId(entry.tid))


_BY_HAND = "with the daemon stopped"


@contextmanager
def stopped(root: Path, host: str, clock: Clock, journal: Journal) -> Iterator[ByHand]:
    """Hold the lock of a root whose daemon is stopped. Raises RootInUse, UnsafeRoot, OSError."""
    lock = layout.lock(root)
    try:
        with _tree(root, host, clock, journal, (layout.OUTCOME, layout.WISH)) as tree:
            _refuse_other_format(root)
            yield ByHand(root, tree)
    finally:
        os.close(lock)


@contextmanager
def beside(root: Path, host: str, clock: Clock, journal: Journal) -> Iterator[ByHand]:
    """Act in the agents' directories alone, as an agent may, whether the daemon runs or not. Raises OSError."""
    with _tree(root, host, clock, journal, (layout.HANDOFF, layout.REJECTED)) as tree:
        yield ByHand(root, tree)


@contextmanager
def _tree(root: Path, host: str, clock: Clock, journal: Journal, directories: tuple[str, ...]) -> Iterator[Tree]:
    fs = LinuxFilesystem(root, file_mode=0o660 if layout.is_shared(root) else 0o600)
    try:
        for directory in (layout.RELAY, layout.TMP, *directories):
            fs.make_directory(directory, 0o700)
        settings = Settings(HostName(host), frozenset(), {})
        yield Tree(fs, clock, settings, journal, lambda: os.urandom(16).hex(), Ledger(""))
    finally:
        fs.close()


def _refuse_other_format(root: Path) -> None:
    read = read_file(root / layout.RELAY / "format")
    found = "none" if read is None else read[0].decode("ascii", "replace").strip()[:40]
    if found != layout.FORMAT:
        raise layout.UnsafeRoot(f"relay/format is {found!r}, this handoffd knows {layout.FORMAT!r}; use that version")
