"""Acquaintances: each peer's tree as this host last knew it, and when the peer was last heard (custody.md section 8).

It owns the notes `relay/peers/<peer>.json` and the moves that a changed mode asks for. It ends nothing. The rules that
must stay true: no epoch is taken for known before its note is durable; and what was in the hands of the old mode is
moved and flushed before the new mode is noted (section 11.7).
"""

import json
from contextlib import suppress
from typing import Final

from handoffd.custody import layout
from handoffd.custody.household import SHARED
from handoffd.custody.ledger import Sending
from handoffd.custody.tree import Tree
from handoffd.protocol.name import BadName, TransferId, parse_outbox, parse_taking, routed_name
from handoffd.protocol.reason import State

NOTE_LIMIT_BYTES: Final = 4096
DAMAGED: Final = ""
"""Stands for the epoch of a note that cannot be read."""
PUSH: Final = "push"
PULL: Final = "pull"
SILENT_S: Final = 3_600.0
"""A peer unheard for so long is silent (section 7); a link that works says hello every 25 s."""
WAKE_S: Final = 60.0
"""After a start or a sleep of ours a peer has at least this long to be heard."""


class BadNote(ValueError):
    """A note of a peer's tree that cannot be read."""


def read_note(data: bytes) -> tuple[str, str]:
    """Return the epoch and the mode (PUSH or PULL) that a note tells. Raises BadNote."""
    try:
        note = json.loads(data)
        epoch, mode = note["epoch"], note.get("mode", PUSH)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadNote(f"not a note: {type(error).__name__}") from None
    if not isinstance(epoch, str):
        raise BadNote("its epoch is no string")
    return epoch, PULL if mode == PULL else PUSH


class Acquaintances:
    """What is known of the peers' trees."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._epochs: dict[str, str] = {}
        self._modes: dict[str, str] = {}
        self._heard_b: dict[str, float] = {}
        self._looked_b = tree.clock.boottime()
        self._held_up: set[TransferId] = set()

    # ------------------------------------------------------------ notes

    def load(self, peer: str) -> None:
        """Read the note of the peer's tree."""
        try:
            data, _ = self._tree.fs.read(layout.PEERS, f"{peer}.json", NOTE_LIMIT_BYTES)
            self._epochs[peer], self._modes[peer] = read_note(data)
        except FileNotFoundError:
            return
        except BadNote:
            # A damaged note is not first contact: no epoch equals it, so all the peer may have had ends first.
            self._epochs[peer], self._modes[peer] = DAMAGED, PUSH

    def epoch(self, peer: str) -> str | None:
        """Return the epoch noted, DAMAGED for a note that cannot be read, None before first contact."""
        return self._epochs.get(peer)

    def agreed(self, peer: str) -> str:
        """Return the epoch under which payloads may go out in the configured mode; empty: under none now."""
        return "" if self.has_changed(peer) else self._epochs.get(peer) or ""

    def note(self, peer: str, epoch: str) -> None:
        """Write down the peer's epoch, durable. Raises OSError, FlushFailed."""
        self._write(peer, epoch, self.mode(peer))

    def _write(self, peer: str, epoch: str, mode: str) -> None:
        note = json.dumps({"epoch": epoch, "mode": mode}).encode() + b"\n"
        self._tree.put_note(layout.PEERS, f"{peer}.json", note)
        self._epochs[peer], self._modes[peer] = epoch, mode

    # ------------------------------------------------------------ push or pull

    def mode(self, peer: str) -> str:
        """Return how this host is configured to hand over to the peer."""
        return PULL if peer in self._tree.settings.pulls else PUSH

    def pulls(self, peer: str) -> bool:
        """Tell whether the peer, or each home of `@agent`, comes for what is its own."""
        return self._tree.settings.is_leased(peer)

    def has_changed(self, peer: str) -> bool:
        """Tell whether the note says another mode than the configuration."""
        configured = peer in self._tree.settings.peers
        return configured and peer in self._modes and self._modes[peer] != self.mode(peer)

    def change_mode_at_start(self, peer: str) -> None:
        """Move all that the peer may have had under the old mode, then note the new one. Raises OSError."""
        sent, outbox = layout.sent(peer), layout.outbox(peer)
        source, target = (outbox, sent) if self.pulls(peer) else (sent, outbox)
        for name in self._tree.fs.names(source):
            if parse_taking(name) is not None:
                continue  # nobody else has seen it
            with suppress(FileExistsError):  # both names of one rename: recovery knows which one counts (R6)
                self._tree.fs.move(source, name, target, name)
        self._tree.fs.sync_directories((outbox, sent))
        self._write(peer, self._epochs[peer], self.mode(peer))

    def change_mode(self, peer: str) -> None:
        """Do the same while running: the entries tell which of them the peer may have had. Raises OSError."""
        sent, outbox = layout.sent(peer), layout.outbox(peer)
        for sending in list(self._tree.ledger.sendings_to(peer)):
            if sending.outcome is not None:
                continue
            if self.pulls(peer) and sending.place == outbox and sending.maybe_sent:
                self._move(sending, sent)
                sending.state = State.LEASED
            elif not self.pulls(peer) and sending.place == sent and sending.state is State.LEASED:
                self._move(sending, outbox)
                # Somebody may have its bytes; and it is not waited for, so it is due at once.
                sending.doubtful, sending.due_b = 1, 0.0
        self._tree.fs.sync_directories((outbox, sent))
        self._write(peer, self._epochs[peer], self.mode(peer))

    # ------------------------------------------------------------ several homes that became one (section 11.7)

    def _only_home(self, where: str) -> str | None:
        """Return whom we push to of those that `@agent` stands for today: with such a home it has no other."""
        settings = self._tree.settings
        takers = settings.homes.takers(where) if where.startswith(SHARED) else ()
        return next((peer for peer in takers if peer not in settings.pulls), None)

    def settle_shared_at_start(self, where: str) -> None:
        """Give what was never leased to the one home that is pushed to now. Raises OSError, FlushFailed.

        What came from that home stays where it is: it would be refused there as a loop.
        """
        peer = self._only_home(where)
        if peer is None:
            return
        source, target = layout.outbox(where), layout.outbox(peer)
        for name in self._tree.fs.names(source):
            if self._came_from(peer, name):
                continue
            try:
                self._tree.fs.move(source, name, target, name)
            except FileExistsError:
                self._tree.fs.unlink(source, name)  # both names of one rename that a power cut left: the later counts
        self._tree.fs.sync_directories((target, source))

    def _came_from(self, peer: str, name: str) -> bool:
        try:
            _, file = parse_outbox(name)
        except BadName:
            return False
        return self._tree.fs.stat(layout.inbox(peer), routed_name(file)) is not None

    def settle_shared(self) -> None:
        """Do the same while running, for every tick. Raises FlushFailed.

        What the disk refuses is told once and tried again.
        """
        held_up: set[TransferId] = set()
        for where in self._tree.ledger.shared():
            peer = self._only_home(where)
            if peer is not None:
                self._settle(where, peer, held_up)
        self._held_up = held_up

    def _settle(self, where: str, peer: str, held_up: set[TransferId]) -> None:
        waiting = [one for one in self._tree.ledger.sendings_to(where) if one.outcome is None]
        moved = [one for one in waiting if not one.came_from(peer) and self._has_moved(one, peer, held_up)]
        if not moved:
            return
        # Before any of them can leave (a7).
        self._tree.fs.sync_directories((layout.outbox(peer), layout.outbox(where)))
        for sending in moved:
            self._tree.ledger.hand_to(sending, peer)
            sending.due_b = 0.0
        self._tree.owe(peer)

    def _has_moved(self, sending: Sending, peer: str, held_up: set[TransferId]) -> bool:
        try:
            self._move(sending, layout.outbox(peer))
        except OSError as error:
            held_up.add(sending.tid)
            if sending.tid not in self._held_up:
                detail = f"not yet moved to the one home that is left, {peer}: {error.strerror}"
                self._tree.note_edge("parked", sending.facts, role=sending.role, peer=sending.peer, detail=detail)
            return False
        return True

    def _move(self, sending: Sending, place: str) -> None:
        self._tree.fs.move(sending.place, sending.name, place, sending.name)
        sending.place = place

    # ------------------------------------------------------------ silence

    def hear(self, peer: str) -> None:
        """Note that the peer has just spoken to us, or answered."""
        self._heard_b[peer] = self._tree.clock.boottime()

    def is_silent(self, peer: str) -> bool:
        """Tell whether the peer has said nothing for SILENT_S, counted from our start at the earliest."""
        now_b = self._tree.clock.boottime()
        return now_b - self._heard_b.setdefault(peer, now_b - SILENT_S + WAKE_S) > SILENT_S

    def notice_sleep(self) -> None:
        """After a sleep of this host no peer can have been heard: each gets WAKE_S to speak. For every tick."""
        now_b = self._tree.clock.boottime()
        before_b, self._looked_b = self._looked_b, now_b
        if now_b - before_b > WAKE_S:
            self._heard_b = {peer: max(at_b, now_b - SILENT_S + WAKE_S) for peer, at_b in self._heard_b.items()}
