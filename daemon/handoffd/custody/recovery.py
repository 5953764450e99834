"""Start and orderly stop: what a crash leaves, and what is done about it (docs/custody.md section 13).

It owns the two tables, for the files of a sender and of a receiver, and the boot note. It runs before anything is
served. The rules that must stay true: after a power cut nothing published is believed, the boot note is written
last, and every step can be interrupted and repeated.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from itertools import compress

from handoffd.custody import layout
from handoffd.custody.acquaintance import Acquaintances
from handoffd.custody.admit import Admitter
from handoffd.custody.closing import Close, Closing
from handoffd.custody.ending import Ending
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.forward import Forwarder
from handoffd.custody.household import SHARED
from handoffd.custody.ledger import RECENT_LIMIT, Facts, Place, Receipt, Sending, facts_in
from handoffd.custody.message import Waiting
from handoffd.custody.observe import Observer
from handoffd.custody.recall import Recall
from handoffd.custody.send import Sender
from handoffd.custody.take import Taker
from handoffd.custody.tree import BadOutcome, Tree
from handoffd.protocol.moment import format_moment, parse_moment
from handoffd.protocol.name import (
    ROUTED,
    BadName,
    FileName,
    TransferId,
    is_peer_name,
    is_transfer_id,
    parse_accepted,
    parse_outbox,
    parse_taking,
    routed_name,
    tid_of_published,
)
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import SIGNATURE_MEMORY_S

CLEAN = b"clean\n"
NOTE_LIMIT_BYTES = 256
STALER = "a staler name of a file that went on"


@dataclass(slots=True)
class Found:
    """The names that one N has in inbox/<peer>/."""

    receipt: bool = False
    routed: bool = False
    new: bool = False
    pulled: bool = False
    accepted: str | None = None

    def names(self, name: FileName) -> list[str]:
        """Return all of them; `name` is N."""
        simple = (name, routed_name(name), f"{name}.new", f"{name}.pulled")
        there = (self.receipt, self.routed, self.new, self.pulled)
        return [*compress(simple, there), *filter(None, [self.accepted])]


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
    peers: Acquaintances
    forwarder: Forwarder


class Recovery:
    """Brings a root from whatever it was left as to a state the engine can go on from."""

    def __init__(self, tree: Tree, steps: Steps) -> None:
        self._tree = tree
        self._steps = steps
        self.power_cut = False
        self._carried: dict[TransferId, tuple[str, str]] = {}
        self._joined: dict[TransferId, Sending] = {}
        self._closes: list[Close] = []
        self._doubted: list[Receipt] = []

    # ------------------------------------------------------------ start

    def start(self, boot_id: str) -> None:
        """Run the whole start; afterwards everything on disk is entered or ended. Raises UnsafeRoot, OSError."""
        self._open_directories()
        self._write_format()
        self.power_cut = self._is_power_cut(boot_id)
        self._load_epoch()
        self._quarantine_strays()
        self._load_notes()
        self._carried = self._carried_by()
        self._remember_outcomes()
        self._recover_inboxes()
        # All of sent/ first: what a power cut shows under two names may have two peers (R6).
        for kind, place in ((layout.SENT, layout.sent), (layout.OUTBOX, layout.outbox)):
            for peer in self._peers_in(kind):
                self._recover_outbox(peer, place(peer))
        for peer in self._peers_in(layout.OUTBOX):
            self._warn_of_stranger(peer)
        self._steps.ending.flush()
        self._recall_wishes()
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
        layout.probe(fs)
        peers = {str(peer) for peer in self._tree.settings.peers}
        for kind in (layout.OUTBOX, layout.SENT, layout.INBOX):
            peers.update(name for name in self._peers_in(kind) if kind == layout.INBOX or not name.startswith(SHARED))
        for peer in sorted(peers):
            self._tree.open_peer(peer)
        self._tree.open_shared([name for name in fs.names(layout.OUTBOX) if name.startswith(SHARED)])
        # What is seen from here on is durable: nothing below may rest on a name that a power cut takes back.
        kept = [directory for peer in sorted(peers) for directory in layout.directories_of(peer)]
        kept += [layout.outbox(name) for name in self._peers_in(layout.OUTBOX) if name.startswith(SHARED)]
        fs.sync_directories([*layout.AGENTS_DIRECTORIES, *layout.RELAY_DIRECTORIES, *kept])

    def _peers_in(self, kind: str) -> list[str]:
        """Return each `<peer>` with a directory of this kind; what was leased or sent has one host."""
        named = sorted(name for name in self._tree.fs.names(kind) if is_peer_name(name))
        return [name for name in named if kind != layout.SENT or not name.startswith(SHARED)]

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

    def _load_notes(self) -> None:
        """Read what was known of the peers' trees; a changed mode moves what the old one left (section 11.7)."""
        peers = self._steps.peers
        for peer in dict.fromkeys([*map(str, self._tree.settings.peers), *self._peers_in(layout.SENT)]):
            peers.load(peer)
            if peers.has_changed(peer):
                peers.change_mode_at_start(peer)
        for where in self._peers_in(layout.OUTBOX):
            peers.settle_shared_at_start(where)

    def _carried_by(self) -> dict[TransferId, tuple[str, str]]:
        """Return, for each T in outbox/ or sent/, the peer and the place that counts: sent/ before outbox/ (R6)."""
        found: dict[TransferId, tuple[str, str]] = {}
        for kind, place in ((layout.OUTBOX, layout.outbox), (layout.SENT, layout.sent)):
            for peer in self._peers_in(kind):
                for name in self._tree.fs.names(place(peer)):
                    with suppress(BadName):
                        found[parse_outbox(name)[0]] = (peer, place(peer))
        return found

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
            if record is not None and not self._tree.forget_canary(record):
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
        if record.peer in self._tree.settings.peers:
            self._remember_for_peer(record, str(record.peer), expires_at)
        elif record.peer == f"{SHARED}{record.to}":
            self._steps.ending.forgotten(record.tid, expires_at)  # no home had it
        if record.onward is not None and self._pushes_to(record.onward) and record.tid not in self._carried:
            self._steps.ending.owe_forget(record.onward, record.tid, None)

    def _pushes_to(self, peer: str) -> bool:
        return peer in self._tree.settings.peers and not self._tree.settings.is_leased(peer)

    def _remember_for_peer(self, record: Record, peer: str, expires_at: float) -> None:
        tree = self._tree
        own = record.sender in tree.settings.agents and record.onward is None
        if own and peer in tree.settings.pulls:
            self._steps.ending.forgotten(record.tid, expires_at)
        elif (
            own and record.tid not in self._carried
        ):  # else when its last moves are made: its artefact may be there yet
            self._steps.ending.owe_forget(peer, record.tid, expires_at)
        if tree.ledger.is_kept_for(peer) and (not own or _came_here(record)):
            tree.ledger.keep_for_telling(peer).note(record.tid)

    def _read_outcome(self, tid: TransferId) -> Record | None:
        try:
            return self._tree.outcome(tid)
        except BadOutcome as error:
            self._tree.journal.write("parked", tid=tid, detail=str(error))
            return None

    # ------------------------------------------------------------ receiver's table

    def _recover_inboxes(self) -> None:
        # Of two receipts of one T, which a copy by hand leaves, that of a peer we know counts.
        for peer in sorted(self._peers_in(layout.INBOX), key=lambda peer: peer not in self._tree.settings.peers):
            self._recover_inbox(peer)
        self._settle_doubts()
        # Claims made since the directories were opened are told like all others, so they are flushed like them.
        self._tree.fs.sync_directories((layout.CLAIMED, layout.HANDOFF))
        self._steps.closing.close(self._closes)
        if self.power_cut and any(self._is_in_doubt(one.receipt.tid) for one in self._closes):
            # With `boot` written, the next start would take these for untouched by the power cut.
            raise OSError(errno.ENOSPC, "outcomes of a power-cut start were not written; free some space")

    def _recover_inbox(self, peer: str) -> None:
        found: dict[FileName, Found] = {}
        for name in self._tree.fs.names(layout.inbox(peer)):
            if not _sort_name(name, found):
                self._tree.quarantine(layout.inbox(peer), name, "not a name of ours in inbox/")
        for name, have in sorted(found.items()):
            tid = tid_of_published(name)
            assert tid is not None
            record = self._read_outcome(tid)
            if record is not None:
                self._clear(peer, name, have, record)
            elif tid in self._tree.ledger.receipts:
                for copy in have.names(name):
                    self._tree.quarantine(layout.inbox(peer), copy, "the receipt of it is another peer's")
            else:
                self._recover_receipt(peer, name, tid, have)

    def _is_in_doubt(self, tid: TransferId) -> bool:
        return tid in self._tree.ledger.receipts or tid in self._tree.ledger.aside

    def _clear(self, peer: str, name: FileName, have: Found, record: Record) -> None:
        """Outcome and any other name: pull or remove the rest."""
        receipt = self._receipt(peer, name, record.tid, have)
        fs, own = self._tree.fs, layout.inbox(peer)
        offered = fs.stat(layout.HANDOFF, name) is not None
        if offered and (have.pulled or have.accepted):
            self._tree.quarantine(layout.HANDOFF, name, STALER, receipt.facts)
        elif offered:
            fs.move(layout.HANDOFF, name, own, f"{name}.pulled")
        if have.accepted:
            receipt.place = Place.ACCEPTED
        elif offered or have.pulled:
            receipt.place = Place.PULLED
        if have.new:
            fs.unlink(own, f"{name}.new")
        self._steps.closing.clear_or_keep(receipt, record)

    def _recover_receipt(self, peer: str, name: FileName, tid: TransferId, have: Found) -> None:
        fs, own = self._tree.fs, layout.inbox(peer)
        if not (have.receipt or have.routed):
            if have.new:
                fs.unlink(own, f"{name}.new")  # never acknowledged
            elif have.pulled or have.accepted:
                self._tree.quarantine(own, have.accepted or f"{name}.pulled", "no receipt beside it")
            return
        receipt = self._receipt(peer, name, tid, have)
        self._tree.ledger.add_receipt(receipt)
        self._tree.ledger.signatures.reserve(receipt.facts.identity, tid, receipt.facts.expires_at)
        self._tree.ledger.note(peer, tid)
        if receipt.routed:
            self._recover_routed(receipt, have)
            return
        self._locate(receipt, have)
        if receipt.place == Place.PULLED:
            self._closes.append(self._close_pulled(receipt))
        elif self.power_cut and not receipt.facts.is_canary:  # which no agent has ever seen
            self._doubted.append(receipt)
        elif receipt.place == Place.OFFERED and receipt.facts.to is not None:
            self._tree.tell(Waiting(receipt.facts.to, name, receipt.facts))  # nobody may have been woken for it

    def _recover_routed(self, receipt: Receipt, have: Found) -> None:
        """What is only forwarded was never published: neither a power cut nor an agent makes it uncertain (11.7)."""
        fs, own, name = self._tree.fs, layout.inbox(receipt.peer), receipt.name
        carried = self._carried.get(receipt.tid)
        if carried is not None:
            for stale in (f"{name}.new", f"{name}.pulled"):
                fs.unlink(own, stale)
            peer, place = carried
            # What lies in outbox/ for a peer that we push to may have been sent by an earlier process.
            doubtful = 0 if self._steps.peers.pulls(peer) else 1
            self._joined[receipt.tid] = self._steps.forwarder.join(receipt, peer, place, doubtful=doubtful)
        elif have.pulled:
            fs.unlink(own, f"{name}.new")
            receipt.place = Place.PULLED
            self._closes.append(self._close_pulled(receipt))
        elif have.new or self.power_cut:
            if not have.new:
                fs.link(own, receipt.receipt_name, own, f"{name}.new")  # b5 had not passed
            receipt.place, receipt.state = Place.NEW, State.STORED
        else:
            receipt.place = Place.AWAY
            detail = "somebody removed the file that was to be forwarded"
            self._closes.append(Close(receipt, Reason.VANISHED_AT_TARGET, detail))

    def _receipt(self, peer: str, name: FileName, tid: TransferId, have: Found) -> Receipt:
        own = layout.inbox(peer)
        held = routed_name(name) if have.routed else name
        source = (
            held
            if have.receipt or have.routed
            else (have.accepted or (f"{name}.pulled" if have.pulled else f"{name}.new"))
        )
        try:
            data, seen = self._tree.fs.read(own, source)
            facts, inode, changed = facts_in(tid, data), seen.inode, seen.mtime_ns
        except (FileNotFoundError, NotRegular):
            facts, inode, changed = Facts(tid), 0, 0
        receipt = Receipt(facts, peer, name, inode, Place.AWAY, State.STORED, published_ns=changed, routed=have.routed)
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
            self._tree.quarantine(layout.HANDOFF, name, STALER, receipt.facts)

    def _close_pulled(self, receipt: Receipt) -> Close:
        if self.power_cut and not receipt.routed:
            reason = Reason.UNCERTAIN_POWER_LOSS
        else:
            late = self._tree.clock.wall() > receipt.facts.expires_at
            reason = Reason.EXPIRED if late else Reason.REVOKED
        receipt.ends_as = reason
        return Close(receipt, reason, "taken back before the last start")

    def _settle_doubts(self) -> None:
        """After a power cut only what lies beyond the agents' reach, or is a claim, is believed; it is looked for once
        for all. What is found nowhere ends."""
        looked_for = [one for one in self._doubted if one.place != Place.ACCEPTED]
        places = {receipt.tid: receipt.place for receipt in looked_for}
        for receipt in looked_for:
            receipt.place = Place.AWAY
        found = self._steps.observer.search_at_rest(looked_for)
        seen = found.tids()
        for receipt in looked_for:
            if receipt.tid in seen:
                self._remove_staler(receipt, places[receipt.tid])
        self._steps.observer.report(found)
        lost = [one for one in looked_for if one.tid not in seen and one.state is not State.CLAIMED]
        self._closes += [self._uncertain(one, places[one.tid]) for one in lost]

    def _remove_staler(self, receipt: Receipt, place: str) -> None:
        """Remove the name that the power cut showed again of a file that has gone on."""
        if place == Place.OFFERED:
            self._tree.quarantine(layout.HANDOFF, receipt.name, STALER, receipt.facts)
        elif place == Place.NEW:
            self._tree.fs.unlink(layout.inbox(receipt.peer), f"{receipt.name}.new")

    def _uncertain(self, receipt: Receipt, place: str) -> Close:
        """Take it out of the agents' reach."""
        own, name = layout.inbox(receipt.peer), receipt.name
        detail = "the machine lost power while it was open to agents; it may have been claimed"
        if place == Place.AWAY:
            return Close(receipt, Reason.UNCERTAIN_POWER_LOSS, detail)
        shown = (layout.HANDOFF, name) if place == Place.OFFERED else (own, f"{name}.new")
        self._tree.fs.move(*shown, own, f"{name}.pulled")
        receipt.place, receipt.ends_as = Place.PULLED, Reason.UNCERTAIN_POWER_LOSS
        return Close(receipt, Reason.UNCERTAIN_POWER_LOSS, detail, flush=(own, layout.HANDOFF))

    # ------------------------------------------------------------ sender's table

    def _recover_outbox(self, peer: str, place: str) -> None:
        for name in self._tree.fs.names(place):
            if parse_taking(name) is not None:
                self._steps.taker.linger(peer, name)
            else:
                self._recover_sending(peer, place, name)

    def _recall_wishes(self) -> None:
        """Go on asking for what its writer wants back (section 7); a wish that has nothing to wish for goes."""
        for name in self._tree.fs.names(layout.WISH):
            sending = self._tree.ledger.sendings.get(TransferId(name))
            if sending is not None and sending.outcome is None:
                sending.withdrawn = True
            elif is_transfer_id(name):
                self._tree.fs.unlink(layout.WISH, name)

    def _warn_of_stranger(self, peer: str) -> None:
        """Files of a peer that is configured no more stay, and end by the same rules (section 7)."""
        held = sum(1 for _ in self._tree.ledger.sendings_to(peer))
        if held and not set(self._tree.settings.homes.takers(peer)) & set(self._tree.settings.peers):
            detail = f"{held} handoffs for a peer that is not configured; add it again, or they end in doubt"
            if peer.startswith(SHARED):
                detail = f"{held} handoffs for {peer[1:]}, which no peer lists now; list it again, or they expire"
            self._tree.journal.write("peer_unknown", peer=peer, detail=detail)

    def _recover_sending(self, peer: str, place: str, name: str) -> None:
        try:
            tid, file = parse_outbox(name)
            data, seen = self._tree.fs.read(place, name)
        except (BadName, NotRegular):
            self._tree.quarantine(place, name, "not a name of ours in outbox/ or sent/")
            return
        intact = transfer_id(data) == tid
        sending = self._joined.pop(tid, None)
        if sending is None:
            sending = self._sending(tid, file, peer, place, data if intact else None, seen.mtime_ns)
        record = self._read_outcome(tid)
        if record is not None:
            sending.outcome = record
            self._tree.ledger.add_sending(sending)
            self._steps.ending.last.make(sending, record)
        elif tid in self._tree.ledger.sendings and intact:
            self._tree.fs.unlink(place, name)  # a rename shown twice after a power cut: sent/ has it too (R6)
        elif not intact:
            self._tree.quarantine(place, name, "bytes do not hash to T")
            self._tree.ledger.add_sending(sending)
            self._steps.ending.alone(sending, Reason.CONTENT_CHANGED, "the file was changed on disk")
        else:
            self._tree.ledger.signatures.reserve(sending.facts.identity, tid, sending.facts.expires_at)
            self._tree.ledger.add_sending(sending)

    def _sending(
        self, tid: TransferId, file: FileName, peer: str, place: str, data: bytes | None, since_ns: int
    ) -> Sending:
        """Return the entry of a file in outbox/ or sent/; `data` None: its bytes are not T's."""
        pulls, is_sent = self._steps.peers.pulls(peer), place == layout.sent(peer)
        # A peer that pulls has had nothing but what is in sent/; one that we push to may have had everything.
        doubtful = 0 if pulls else 1
        facts = facts_in(tid, data) if data is not None else Facts(tid)
        sending = Sending(facts, peer, file, place, since_ns, doubtful=doubtful)
        if is_sent:
            sending.state = State.LEASED if pulls else State.STORED
        return sending

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
    elif suffix == ROUTED:
        have.routed = True
    else:
        have.receipt = True
    return True


def _split(name: str) -> tuple[str, str]:
    stem, suffix = os.path.splitext(name)
    return (stem, suffix) if suffix in (".new", ".pulled", ROUTED) else (name, "")


def _came_here(record: Record) -> bool:
    """Tell whether an outcome may be one that a peer is to be told: a tombstone, or one of a published name."""
    return record.file is None or tid_of_published(record.file) == record.tid
