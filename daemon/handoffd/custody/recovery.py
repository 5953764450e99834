"""Start and orderly stop: what a crash leaves, and what is done about it (docs/custody.md section 13).

It owns the two tables, for the files of a sender and of a receiver, and the boot note. It runs before anything is
served. The rules that must stay true: after a power cut nothing published is believed, the boot note is written
last, and every step can be interrupted and repeated.
"""

import errno
import os
from dataclasses import dataclass

from handoffd.custody import layout
from handoffd.custody.admit import Admitter
from handoffd.custody.closing import Close, Closing
from handoffd.custody.ending import Ending
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.ledger import RECENT_LIMIT, Facts, Place, Receipt, Sending, facts_in
from handoffd.custody.observe import Observer
from handoffd.custody.recall import Recall
from handoffd.custody.send import Sender
from handoffd.custody.take import Taker
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.protocol.moment import format_moment, parse_moment
from handoffd.protocol.name import (
    BadName,
    FileName,
    TransferId,
    is_transfer_id,
    parse_accepted,
    parse_outbox,
    parse_taking,
    peer_name,
    tid_of_published,
)
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import SIGNATURE_MEMORY_S

CLEAN = b"clean\n"
NOTE_LIMIT_BYTES = 256


@dataclass(slots=True)
class Found:
    """The names that one N has in inbox/<peer>/."""

    receipt: bool = False
    new: bool = False
    pulled: bool = False
    accepted: str | None = None


@dataclass(frozen=True, slots=True)
class Steps:
    """The engine's parts that a start runs."""

    ending: Ending
    closing: Closing
    admitter: Admitter
    observer: Observer
    recall: Recall
    taker: Taker
    sender: Sender


class Recovery:
    """Brings a root from whatever it was left as to a state the engine can go on from."""

    def __init__(self, tree: Tree, steps: Steps) -> None:
        self._tree = tree
        self._steps = steps
        self.power_cut = False

    # ------------------------------------------------------------ start

    def start(self, boot_id: str) -> None:
        """Run the whole start; afterwards everything on disk is entered or ended. Raises UnsafeRoot, OSError."""
        self._open_directories()
        self._write_format()
        self.power_cut = self._is_power_cut(boot_id)
        self._load_epoch()
        self._quarantine_strays()
        self._remember_outcomes()
        for peer in self._peers_in(layout.INBOX):
            self._recover_inbox(peer)
        for peer in self._peers_in(layout.OUTBOX):
            self._recover_outbox(peer)
            self._warn_of_stranger(peer)
        self._steps.ending.flush()
        # The boot note comes last: until then a crash leaves this a power-cut start (section 13).
        self._tree.put_note(layout.RELAY, "boot", boot_id.encode() + b"\n")
        self._steps.admitter.publish_waiting()

    def _open_directories(self) -> None:
        fs = self._tree.fs
        fs.make_directory(layout.RELAY, 0o700)
        self._refuse_other_format()  # before anything in a tree of another version is touched
        for directory in layout.AGENTS_DIRECTORIES:
            layout.open_own(fs, directory, self._tree.settings.directory_mode)
        for directory in layout.RELAY_DIRECTORIES:
            fs.make_directory(directory, 0o700)
        for name in fs.names(layout.TMP):
            fs.unlink(layout.TMP, name)
        layout.probe(fs, self._tree.salt()[:16])
        peers = {str(peer) for peer in self._tree.settings.peers}
        for kind in (layout.OUTBOX, layout.SENT, layout.INBOX):
            peers.update(name for name in fs.names(kind) if _is_peer(name))
        for peer in sorted(peers):
            self._tree.open_peer(peer)
        # What is seen from here on is durable: nothing below may rest on a name that a power cut takes back.
        kept = [directory for peer in sorted(peers) for directory in layout.directories_of(peer)]
        fs.sync_directories([*layout.AGENTS_DIRECTORIES, *layout.RELAY_DIRECTORIES, *kept])

    def _peers_in(self, kind: str) -> list[str]:
        return sorted(name for name in self._tree.fs.names(kind) if _is_peer(name))

    def _note(self, name: str) -> bytes | None:
        try:
            return self._tree.fs.read(layout.RELAY, name, NOTE_LIMIT_BYTES)[0]
        except FileNotFoundError:
            return None

    def _write_format(self) -> None:
        if self._note("format") is None:
            self._tree.put_note(layout.RELAY, "format", layout.FORMAT.encode() + b"\n")

    def _refuse_other_format(self) -> None:
        found = self._note("format")
        if found is not None and found.decode("ascii", "replace").strip() != layout.FORMAT:
            shown = found.decode("ascii", "replace").strip()[:40]
            raise layout.UnsafeRoot(
                f"relay/format is {shown!r}, this handoffd knows {layout.FORMAT!r}; run the version that wrote it"
            )

    def _is_power_cut(self, boot_id: str) -> bool:
        boot, epoch = self._note("boot"), self._note("epoch")
        return epoch is None or (boot != CLEAN and boot != boot_id.encode() + b"\n")

    def _load_epoch(self) -> None:
        """Read or make the tree's epoch."""
        found = self._note("epoch")
        text = (found or b"").decode("ascii", "replace").strip()
        if text:
            self._tree.epoch = text
            return
        # A new epoch makes this a power-cut start, and it stays one until `boot` is written, however often it is cut.
        self._tree.fs.unlink(layout.RELAY, "boot")
        self._tree.fs.sync_directories([layout.RELAY])
        self._tree.epoch = self._tree.salt()[:32]
        self._tree.put_note(layout.RELAY, "epoch", self._tree.epoch.encode() + b"\n")

    def _quarantine_strays(self) -> None:
        """Published names nobody holds a receipt for (section 8, last point); those held, recovery pulls or observes.

        An outcome does not hold one: what came back to handoff/ after its end must not be claimed again.
        """
        tree = self._tree
        held = {name for peer in self._peers_in(layout.INBOX) for name in tree.fs.names(layout.inbox(peer))}
        for name in tree.fs.names(layout.HANDOFF):
            if tid_of_published(name) is not None and name not in held:
                tree.quarantine(layout.HANDOFF, name, "published by an earlier tree or copied back by hand")

    def _remember_outcomes(self) -> None:
        """Rebuild S and what may be forgotten from outcome/; only records younger than their times matter."""
        labels: list[tuple[str, TransferId, str]] = []
        for name in self._tree.fs.names(layout.OUTCOME):
            tid = name.removesuffix(".json")
            record = self._read_outcome(TransferId(tid)) if is_transfer_id(tid) else None
            if record is not None:
                self._remember_outcome(record)
                if record.handoff_id is not None:
                    labels.append((record.at, record.tid, record.handoff_id))
        for _, tid, handoff_id in sorted(labels)[-RECENT_LIMIT:]:
            self._tree.ledger.remember(TransferId(tid), handoff_id)

    def _remember_outcome(self, record: Record) -> None:
        try:
            expires_at = parse_moment(record.expires_at or "")
        except ValueError:
            return
        young = expires_at + SIGNATURE_MEMORY_S > self._tree.clock.wall()
        if young and record.reason not in (Reason.VARIANT, Reason.MALFORMED):
            self._tree.ledger.signatures.reserve(record.identity, record.tid, expires_at)
        if record.sender in self._tree.settings.agents and record.peer in self._tree.settings.peers:
            self._steps.ending.owe_forget(str(record.peer), record.tid, expires_at)

    def _read_outcome(self, tid: TransferId) -> Record | None:
        try:
            return self._tree.outcome(tid)
        except BadOutcome as error:
            self._tree.journal.write("parked", tid=tid, detail=str(error))
            return None

    # ------------------------------------------------------------ receiver's table

    def _recover_inbox(self, peer: str) -> None:
        found: dict[FileName, Found] = {}
        for name in self._tree.fs.names(layout.inbox(peer)):
            if not _sort_name(name, found):
                self._tree.quarantine(layout.inbox(peer), name, "not a name of ours in inbox/")
        closes: list[Close] = []
        for name, have in sorted(found.items()):
            tid = tid_of_published(name)
            assert tid is not None
            record = self._read_outcome(tid)
            if record is not None:
                self._clear(peer, name, have, record)
            else:
                self._recover_receipt(peer, name, tid, have, closes)
        # Claims made since the directories were opened are told like all others, so they are flushed like them.
        self._tree.fs.sync_directories((layout.CLAIMED, layout.HANDOFF))
        self._steps.closing.close(closes)
        if self.power_cut and any(one.receipt.tid in self._tree.ledger.receipts for one in closes):
            # With `boot` written, the next start would take these for untouched by the power cut.
            raise OSError(errno.ENOSPC, "outcomes of a power-cut start were not written; free some space")

    def _clear(self, peer: str, name: FileName, have: Found, record: Record) -> None:
        """Outcome and any other name: pull or remove the rest."""
        receipt = self._receipt(peer, name, record.tid, have)
        fs, own = self._tree.fs, layout.inbox(peer)
        offered = fs.stat(layout.HANDOFF, name) is not None
        if offered and (have.pulled or have.accepted):
            self._tree.quarantine(layout.HANDOFF, name, "a staler name of a file that went on", receipt.facts)
        elif offered:
            fs.move(layout.HANDOFF, name, own, f"{name}.pulled")
        if have.accepted:
            receipt.place = Place.ACCEPTED
        elif offered or have.pulled:
            receipt.place = Place.PULLED
        if have.new:
            fs.unlink(own, f"{name}.new")
        self._steps.closing.clear_or_keep(receipt, record)

    def _recover_receipt(self, peer: str, name: FileName, tid: TransferId, have: Found, closes: list[Close]) -> None:
        fs, own = self._tree.fs, layout.inbox(peer)
        if not have.receipt:
            if have.new:
                fs.unlink(own, f"{name}.new")  # never acknowledged
            elif have.pulled or have.accepted:
                self._tree.quarantine(own, have.accepted or f"{name}.pulled", "no receipt beside it")
            return
        receipt = self._receipt(peer, name, tid, have)
        self._tree.ledger.add_receipt(receipt)
        self._tree.ledger.signatures.reserve(receipt.facts.identity, tid, receipt.facts.expires_at)
        self._tree.ledger.feed(peer).note(tid)
        self._locate(receipt, have)
        if receipt.place == Place.PULLED:
            closes.append(self._close_pulled(receipt))
        elif self.power_cut:
            self._doubt(receipt, have, closes)

    def _receipt(self, peer: str, name: FileName, tid: TransferId, have: Found) -> Receipt:
        own = layout.inbox(peer)
        source = name if have.receipt else (have.accepted or (f"{name}.pulled" if have.pulled else f"{name}.new"))
        try:
            data, seen = self._tree.fs.read(own, source)
            facts, inode, changed = facts_in(tid, data), seen.inode, seen.mtime_ns
        except (FileNotFoundError, NotRegular):
            facts, inode, changed = Facts(tid), 0, 0
        receipt = Receipt(facts, peer, name, inode, Place.AWAY, State.STORED, published_ns=changed)
        if have.accepted:
            winner = parse_accepted(have.accepted)
            assert winner is not None
            receipt.winner = winner[1:]
        return receipt

    def _locate(self, receipt: Receipt, have: Found) -> None:
        """R6, the furthest place wins: claimed, then pulled, then handoff/, then N.new; staler names go."""
        fs, own, name = self._tree.fs, layout.inbox(receipt.peer), receipt.name
        offered = fs.stat(layout.HANDOFF, name) is not None
        claimed = fs.stat(own, have.accepted) if have.accepted else fs.stat(layout.CLAIMED, name)
        receipt.place = _furthest(have, claimed=claimed is not None, offered=offered)
        receipt.state = _STATE_AT[receipt.place]
        if claimed is not None and receipt.place in (Place.ACCEPTED, Place.AWAY):
            # The file's last change was the rename that claimed it: the same time however often we start.
            receipt.state = State.CLAIMED
            receipt.edges["claimed"] = format_moment(claimed.ctime_ns / 1e9)
        if have.new and receipt.place != Place.NEW:
            fs.unlink(own, f"{name}.new")
        if offered and receipt.place != Place.OFFERED:
            self._tree.quarantine(layout.HANDOFF, name, "a staler name of a file that went on", receipt.facts)

    def _close_pulled(self, receipt: Receipt) -> Close:
        if self.power_cut:
            reason = Reason.UNCERTAIN_POWER_LOSS
        else:
            late = self._tree.clock.wall() > receipt.facts.expires_at
            reason = Reason.EXPIRED if late else Reason.REVOKED
        receipt.ends_as = reason
        return Close(receipt, reason, "taken back before the last start")

    def _doubt(self, receipt: Receipt, have: Found, closes: list[Close]) -> None:
        """After a power cut only what lies beyond the agents' reach, or is a claim, is believed."""
        detail = "the machine lost power while it was open to agents; it may have been claimed"
        flush = (layout.inbox(receipt.peer), layout.HANDOFF)
        own, name = layout.inbox(receipt.peer), receipt.name
        if receipt.place == Place.OFFERED:
            self._tree.fs.move(layout.HANDOFF, name, own, f"{name}.pulled")
        elif receipt.place == Place.NEW:
            self._tree.fs.move(own, f"{name}.new", own, f"{name}.pulled")
        elif receipt.place == Place.AWAY and receipt.state is not State.CLAIMED:
            self._steps.observer.search_now(receipt)
            if self._is_open(receipt):
                closes.append(Close(receipt, Reason.UNCERTAIN_POWER_LOSS, detail))
            return
        else:
            return
        receipt.place, receipt.ends_as = Place.PULLED, Reason.UNCERTAIN_POWER_LOSS
        closes.append(Close(receipt, Reason.UNCERTAIN_POWER_LOSS, detail, flush=flush))

    def _is_open(self, receipt: Receipt) -> bool:
        return receipt.tid in self._tree.ledger.receipts and receipt.state is not State.CLAIMED

    # ------------------------------------------------------------ sender's table

    def _recover_outbox(self, peer: str) -> None:
        self._steps.sender.load_epoch(peer)
        for place in (layout.sent(peer), layout.outbox(peer)):
            for name in self._tree.fs.names(place):
                if parse_taking(name) is not None:
                    self._steps.taker.linger(peer, name)
                else:
                    self._recover_sending(peer, place, name)

    def _warn_of_stranger(self, peer: str) -> None:
        """Files of a peer that is configured no more stay, and end by the same rules (section 7)."""
        held = sum(1 for _ in self._tree.ledger.sendings_to(peer))
        if held and peer not in self._tree.settings.peers:
            detail = f"{held} handoffs for a peer that is not configured; add it again, or they end in doubt"
            self._tree.journal.write("peer_unknown", peer=peer, detail=detail)

    def _recover_sending(self, peer: str, place: str, name: str) -> None:
        try:
            tid, file = parse_outbox(name)
            data, _ = self._tree.fs.read(place, name)
        except (BadName, NotRegular):
            self._tree.quarantine(place, name, "not a name of ours in outbox/ or sent/")
            return
        intact = transfer_id(data) == tid
        sending = Sending(facts_in(tid, data) if intact else Facts(tid), peer, file, place, doubtful=1)
        sending.state = State.STORED if place == layout.sent(peer) else State.QUEUED
        record = self._read_outcome(tid)
        if record is not None:
            sending.outcome = record
            self._tree.ledger.add_sending(sending)
            self._steps.ending.finish_or_keep(sending, record)
        elif tid in self._tree.ledger.sendings:
            self._tree.quarantine(place, name, "a staler name: sent/ has it too (R6)")
        elif not intact:
            self._tree.quarantine(place, name, "bytes do not hash to T")
            self._tree.ledger.add_sending(sending)
            self._steps.ending.alone(sending, Reason.CONTENT_CHANGED, "the file was changed on disk")
        else:
            self._tree.ledger.signatures.reserve(sending.facts.identity, tid, sending.facts.expires_at)
            self._tree.ledger.add_sending(sending)

    # ------------------------------------------------------------ orderly stop

    def stop(self) -> None:
        """Take every unclaimed file back, flush, leave the clean mark. Any failure: no mark, nothing lost."""
        tree = self._tree
        for receipt in list(tree.ledger.receipts.values()):
            if receipt.place == Place.OFFERED and not self._take_in(receipt):
                self._steps.observer.settle([receipt])
        inboxes = [layout.inbox(peer) for peer in tree.peers]
        tree.fs.sync_directories([*layout.AGENTS_DIRECTORIES, *inboxes, layout.OUTCOME])
        tree.put_note(layout.RELAY, "boot", CLEAN)

    def _take_in(self, receipt: Receipt) -> bool:
        try:
            self._tree.fs.move(layout.HANDOFF, receipt.name, layout.inbox(receipt.peer), f"{receipt.name}.new")
        except FileNotFoundError:
            return False
        receipt.place, receipt.state = Place.NEW, State.STORED
        return True


_STATE_AT = {
    Place.NEW: State.STORED,
    Place.PULLED: State.STORED,
    Place.OFFERED: State.PUBLISHED,
    Place.AWAY: State.PUBLISHED,
    Place.ACCEPTED: State.CLAIMED,
}
"""AWAY without a claim to be seen: the token has been in handoff/, wherever it is now (place.py, LEGAL)."""


def _furthest(have: Found, *, claimed: bool, offered: bool) -> str:
    if have.accepted:
        return Place.ACCEPTED
    if have.pulled:
        return Place.PULLED
    if claimed or not (offered or have.new):
        return Place.AWAY
    return Place.OFFERED if offered else Place.NEW


def _is_peer(name: str) -> bool:
    try:
        return bool(peer_name(name))
    except BadName:
        return False


def _sort_name(name: str, found: dict[FileName, Found]) -> bool:
    """Enter one name of inbox/<peer>/; tell whether it has a form that we make."""
    accepted = parse_accepted(name)
    stem, suffix = (accepted[0], ".accepted") if accepted else _split(name)
    if tid_of_published(stem) is None:
        return False
    have = found.setdefault(FileName(stem), Found())
    if suffix == ".accepted":
        have.accepted = name
    elif suffix == ".new":
        have.new = True
    elif suffix == ".pulled":
        have.pulled = True
    else:
        have.receipt = True
    return True


def _split(name: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if suffix in (".new", ".pulled") else (name, "")
