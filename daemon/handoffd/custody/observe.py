"""Observe: what agents did with published files (docs/custody.md section 6, "Observe").

It owns the search for a token in the direction of its motion: handoff/, claimed/, archive/ or rejected/. It never
moves an agent's file. The rules that must stay true: a claim is reported only when it is flushed (R3), and a file
that is nowhere is never published again.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from handoffd.custody import layout
from handoffd.custody.closing import Close, Closing
from handoffd.custody.filesystem import Stat
from handoffd.custody.ledger import Place, Receipt
from handoffd.custody.message import Seen
from handoffd.custody.tree import Tree
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import TransferId, tid_of_published
from handoffd.protocol.payload import label, rejection_words
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import DETAIL_LIMIT, Artefact
from handoffd.protocol.timing import (
    MALFORMED_GRACE_S,
    ROUTE_LIMIT_BYTES,
    STALE_CLAIM_S,
    UNACCOUNTED_S,
    VANISHED_LOOKS,
    VANISHED_S,
)

WORDS_LIMIT_BYTES = 64 << 10
MARGIN_NS = 2_000_000_000
"""Files changed up to this long before publication are read too: the file system's clock ticks coarsely."""
LOOK_PAUSE_S = VANISHED_S / VANISHED_LOOKS
SEARCH_S = 60.0
"""A file that an agent holds outside the four directories is searched for this often, once its looks are used up."""


@dataclass(slots=True)
class Findings:
    """What one look found: claims to be flushed and reported, ends to be recorded.

    `at_rest`: no agent runs, so what does not parse will never do, and nothing but `wanted` is looked for; by its bytes
    or its name no file that was last changed before `since_ns`.
    """

    claims: dict[TransferId, Receipt]
    closes: list[Close]
    by_links: bool = False
    at_rest: bool = False
    wanted: frozenset[TransferId] = frozenset()
    since_ns: int = 0

    def tids(self) -> set[TransferId]:
        """Return every T that was found."""
        return {*self.claims, *(one.receipt.tid for one in self.closes)}


class Observer:
    """Looks after every receipt that is published and has no outcome."""

    def __init__(self, tree: Tree, closing: Closing) -> None:
        self._tree = tree
        self._closing = closing
        self._unripe: dict[tuple[str, str], float] = {}
        self._searched: dict[str, tuple[int, float]] = {}
        self._search_b = 0.0

    # ------------------------------------------------------------ entrances

    def look(self, seen: Seen) -> None:
        """Follow hints: the receipts behind names that changed. An empty set of names means the whole directory."""
        found = Findings({}, [])
        for name in seen.get(layout.HANDOFF, ()):
            # Mostly the hint of our own publication. Where nothing is found, the hint of the other name is on its way,
            # and the tick looks at link counts: a claim under a name unknown costs a flush of everything.
            self._follow(self._receipt_named(name), found, by_links=False)
        for directory in (layout.ARCHIVE, layout.REJECTED, layout.CLAIMED):
            if directory in seen and self._tree.ledger.receipts:
                names = seen[directory] or self._changed_names(directory)
                self._match_all(directory, names, found)
        self.report(found)

    def tick(self) -> None:
        """Look at every receipt, whatever the hints said."""
        found = Findings({}, [])
        for receipt in list(self._tree.ledger.receipts.values()):
            self._follow(receipt, found)
        if self._is_search_due():
            self._search(found)
        self._retry_unripe(found)
        self.report(found)
        self._close_vanished()
        self._note_stale()

    def settle(self, receipts: Iterable[Receipt]) -> None:
        """Look for these now: somebody needs to know whether an agent has them."""
        found = Findings({}, [])
        for receipt in receipts:
            self._follow(receipt, found)
        self.report(found)

    def search_at_rest(self, receipts: Iterable[Receipt]) -> Findings:
        """Look for these everywhere, at once: after a power cut nobody waits two seconds.

        No agent runs, and a name that came back in handoff/ or beside the receipt says nothing against what is found:
        the file itself, its name or its handoff_id and hmac. To be reported when that name has gone.
        """
        wanted = {receipt.tid: receipt for receipt in receipts}
        found = Findings({}, [], at_rest=True, wanted=frozenset(wanted))
        for receipt in wanted.values():
            self._follow(receipt, found)
        since_ns = min(map(self._since_ns, wanted.values()), default=0)
        found.since_ns = since_ns if since_ns < self._tree.clock.wall() * 1e9 else 0  # else a clock has gone back
        if not {one.receipt.tid for one in found.closes}.issuperset(wanted):
            for directory in (layout.ARCHIVE, layout.REJECTED, layout.CLAIMED):
                self._match_all(directory, self._tree.fs.names(directory), found)
        # What bears its own name counts before what is like it.
        found.closes = list({one.receipt.tid: one for one in reversed(found.closes)}.values())
        return found

    def report(self, found: Findings) -> None:
        """Flush, then tell: claims first, so that a story is told in its order."""
        claims = list(found.claims.values())
        if claims:
            if found.by_links:
                self._tree.fs.sync_all()  # the name is not known, so neither is its directory
            self._tree.fs.sync_directories((layout.CLAIMED, layout.HANDOFF))
            for receipt in claims:
                self.mark_claimed(receipt)
        self._closing.close(found.closes)

    # ------------------------------------------------------------ one receipt, by its known names

    def _receipt_named(self, name: str) -> Receipt | None:
        tid = tid_of_published(name)
        receipt = None if tid is None else self._tree.ledger.receipts.get(tid)
        return receipt if receipt is not None and receipt.name == name else None

    def _follow(self, receipt: Receipt | None, found: Findings, *, by_links: bool = True) -> None:
        if receipt is None or receipt.place not in (Place.OFFERED, Place.AWAY):
            return
        fs, name = self._tree.fs, receipt.name
        if receipt.place == Place.OFFERED and fs.stat(layout.HANDOFF, name) is not None:
            return
        receipt.place = Place.AWAY
        if fs.stat(*(receipt.away or (layout.CLAIMED, name))) is not None:
            receipt.missed_b, receipt.looks = None, 0
            self._claimed(receipt, found)
            return
        receipt.away = None
        for directory in (layout.ARCHIVE, layout.REJECTED):
            if self._match(directory, name, found):
                return
        if by_links:
            self._miss(receipt, found)

    def _miss(self, receipt: Receipt, found: Findings) -> None:
        """At none of its names. The receipt is a hard link: two links mean an agent holds it under some name, if it is
        not one of ours that a power cut has shown again."""
        mine = self._tree.fs.stat(layout.inbox(receipt.peer), receipt.name)
        if mine is not None and mine.links > 1 and not self._is_shown(receipt):
            found.by_links = found.by_links or receipt.state is not State.CLAIMED
            self._claimed(receipt, found)
        if receipt.missed_b is None:
            receipt.missed_b = self._tree.clock.boottime()

    def _claimed(self, receipt: Receipt, found: Findings) -> None:
        if receipt.state is not State.CLAIMED:
            found.claims[receipt.tid] = receipt

    def _is_search_due(self) -> bool:
        looks = [r.looks for r in self._tree.ledger.receipts.values() if self._is_unaccounted(r)]
        patient = self._tree.clock.boottime() - self._search_b < SEARCH_S
        return any(number < VANISHED_LOOKS for number in looks) or (bool(looks) and not patient)

    def _is_unaccounted(self, receipt: Receipt) -> bool:
        missed = receipt.missed_b
        return missed is not None and self._tree.clock.boottime() - missed >= UNACCOUNTED_S

    # ------------------------------------------------------------ agents' directories, by hint or by search

    def _search(self, found: Findings) -> None:
        now_b = self._search_b = self._tree.clock.boottime()
        due = [receipt for receipt in self._tree.ledger.receipts.values() if _is_look_due(receipt, now_b)]
        for directory in (layout.ARCHIVE, layout.REJECTED, layout.CLAIMED):
            if self._needs_search(directory) or due:
                self._match_all(directory, self._changed_names(directory), found)
        closing = {one.receipt.tid for one in found.closes}
        for receipt in due:
            if receipt.missed_b is not None and receipt.tid not in closing:
                receipt.looks += 1

    def _needs_search(self, directory: str) -> bool:
        """Tell whether listing may find more than the last time: an archive may hold a million names."""
        seen = self._tree.fs.stat(directory, ".")
        last_ns, last_b = self._searched.get(directory, (-1, -1.0))
        newest_b = max((r.missed_b for r in self._tree.ledger.receipts.values() if r.missed_b), default=0.0)
        if seen is not None and seen.mtime_ns == last_ns and newest_b + UNACCOUNTED_S < last_b:
            return False
        # A name that came within the same tick of the file system's clock leaves the time as it is.
        settled = seen is not None and seen.mtime_ns < self._tree.clock.wall() * 1e9 - MARGIN_NS
        self._searched[directory] = (seen.mtime_ns if seen and settled else -1, self._tree.clock.boottime())
        return True

    def _changed_names(self, directory: str) -> list[str]:
        """Return the names in a directory changed since the oldest open publication."""
        open_since = [self._since_ns(receipt) for receipt in self._tree.ledger.receipts.values() if _is_out(receipt)]
        if not open_since:
            return []
        since = min(open_since)
        names = []
        for name in self._tree.fs.names(directory):
            found = self._tree.fs.stat(directory, name)
            if found is not None and found.ctime_ns >= since:
                names.append(name)
        return names

    def _since_ns(self, receipt: Receipt) -> int:
        """Return the earliest time that a file which ends this receipt may bear."""
        since = receipt.published_ns - MARGIN_NS
        if receipt.missed_b is None:
            return since
        # The wall clock may have gone back since. What the agent did last to the file itself, the receipt shows too.
        mine = self._tree.fs.stat(layout.inbox(receipt.peer), receipt.name)
        return since if mine is None else min(since, mine.ctime_ns - int(VANISHED_S * 1e9))

    def _match_all(self, directory: str, names: Iterable[str], found: Findings) -> None:
        for name in names:
            if name.endswith(".json") and not name.startswith("."):  # hidden ones are temporary
                self._match(directory, name, found)

    def _match(self, directory: str, name: str, found: Findings) -> bool:
        """Tell whether this file is the token of an open receipt; note what follows."""
        seen = self._tree.fs.stat(directory, name)
        if seen is None or not seen.regular or self._tree.is_own(directory, name):
            return False
        receipt, data = self._identify(directory, name, seen, found)
        if receipt is None or receipt.place not in (Place.OFFERED, Place.AWAY):
            return False
        if found.at_rest and receipt.tid not in found.wanted:
            return False
        if not found.at_rest and self._tree.fs.stat(layout.HANDOFF, receipt.name) is not None:
            return False  # still claimable: a look-alike is no evidence
        receipt.place, receipt.missed_b, receipt.looks = Place.AWAY, None, 0
        if directory == layout.CLAIMED:
            receipt.away = (directory, name)
            self._claimed(receipt, found)
        else:
            self._final(directory, name, receipt, data, found)
        return True

    def _identify(self, directory: str, name: str, seen: Stat, found: Findings) -> tuple[Receipt | None, bytes | None]:
        """Find the receipt: by inode, by name, by parsed (handoff_id, hmac), by a name ending in its handoff_id."""
        ledger = self._tree.ledger
        receipt = ledger.receipt_of_inode(seen.inode) or self._receipt_named(name)
        if receipt is not None:
            return receipt, None
        data = self._read(directory, name) if seen.ctime_ns >= found.since_ns else None
        if data is None:
            return None, None
        handoff_id, hmac = label(data)
        same = [ledger.receipts[tid] for tid in ledger.labelled(handoff_id or "") if tid in ledger.receipts]
        like = [one for one in same if one.facts.hmac == hmac]
        # By its name alone only a file that does not say itself what it is: another one's must not end this one.
        by_name = not like and hmac is None
        if by_name:
            like = [one for one in self._called_like(name) if handoff_id in (None, one.facts.handoff_id)]
        if len(like) != 1 or (found.at_rest and self._is_doubtful(like[0], directory, seen, by_name=by_name)):
            return None, None
        return like[0], data

    def _is_doubtful(self, receipt: Receipt, directory: str, seen: Stat, *, by_name: bool) -> bool:
        """After a power cut: what is only called like it and older, or stands against a name of the file itself. A copy
        in claimed/ is no claim then either."""
        if by_name and (seen.ctime_ns < self._since_ns(receipt) or self._is_held(receipt)):
            return True
        return directory == layout.CLAIMED and self._is_shown(receipt)

    def _called_like(self, name: str) -> list[Receipt]:
        """Return the open ones that agents archive under this name, if no other handoff bears their id: one that ended
        lately may have left the file."""
        ledger, rest = self._tree.ledger, name.removesuffix(".json")
        called: list[Receipt] = []
        while rest:
            rest = rest.partition("-")[2]
            tids = ledger.labelled(rest)
            called += [ledger.receipts[tid] for tid in tids if len(tids) == 1 and tid in ledger.receipts]
        return [receipt for receipt in called if _bears(name, receipt)]

    def _is_held(self, receipt: Receipt) -> bool:
        """Tell whether the file itself is where it waits, or where it is claimed."""
        return self._is_shown(receipt) or self._tree.fs.stat(layout.CLAIMED, receipt.name) is not None

    def _is_shown(self, receipt: Receipt) -> bool:
        """Tell whether a name is there under which nobody has claimed it."""
        hidden = (layout.inbox(receipt.peer), f"{receipt.name}.new")
        return any(self._tree.fs.stat(*one) is not None for one in ((layout.HANDOFF, receipt.name), hidden))

    def _read(self, directory: str, name: str) -> bytes | None:
        try:
            return self._tree.fs.read(directory, name, ROUTE_LIMIT_BYTES)[0]
        except OSError:
            return None

    # ------------------------------------------------------------ ends

    def _final(self, directory: str, name: str, receipt: Receipt, data: bytes | None, found: Findings) -> None:
        data = self._read(directory, name) if data is None else data
        if data is None or (not found.at_rest and self._is_unripe(directory, name, data)):
            return
        sha256 = hashlib.sha256(data).hexdigest()
        artefact = None if sha256 == receipt.tid else Artefact(name, TransferId(sha256), len(data))
        if directory == layout.ARCHIVE:
            reason, words = Reason.COMPLETED, ""
        else:
            reason, words = Reason.REJECTED_BY_AGENT, rejection_words(data) or self._reason_file(directory, name)
        found.closes.append(Close(receipt, reason, words, artefact, (directory,)))

    def _is_unripe(self, directory: str, name: str, data: bytes) -> bool:
        """Tell whether the file may still be being written: it does not parse, and has had less than 2 s."""
        try:
            json.loads(data)
        except (ValueError, RecursionError):
            since = self._unripe.setdefault((directory, name), self._tree.clock.boottime())
            if self._tree.clock.boottime() - since < MALFORMED_GRACE_S:
                return True
        self._unripe.pop((directory, name), None)
        return False

    def _retry_unripe(self, found: Findings) -> None:
        for directory, name in list(self._unripe):
            if not self._match(directory, name, found):
                self._unripe.pop((directory, name), None)

    def _reason_file(self, directory: str, name: str) -> str:
        try:
            data, _ = self._tree.fs.read(directory, f"{name}{layout.REASON}", WORDS_LIMIT_BYTES)
        except OSError:
            return ""
        words = rejection_words(data) or _field(data, "detail") or _field(data, "reason")
        return words or data.decode("utf-8", "replace").strip()[:DETAIL_LIMIT]

    def mark_claimed(self, receipt: Receipt, seen: Stat | None = None) -> None:
        """Enter a claim that is durable; `seen`: the file whose last change was the claim."""
        receipt.state = State.CLAIMED
        receipt.edges["claimed"] = self._tree.now_text() if seen is None else format_moment(seen.ctime_ns / 1e9)
        self._tree.note_edge("claimed", receipt.facts, role="receiver", peer=receipt.peer, file=receipt.name)
        self._tree.changed(receipt.peer, receipt.tid)

    def _close_vanished(self) -> None:
        now_b = self._tree.clock.boottime()
        gone = []
        for receipt in self._tree.ledger.receipts.values():
            patient = receipt.missed_b is None or now_b - receipt.missed_b < VANISHED_S
            if patient or receipt.looks < VANISHED_LOOKS or receipt.place != Place.AWAY:
                continue
            mine = self._tree.fs.stat(layout.inbox(receipt.peer), receipt.name)
            if mine is None or mine.links == 1 or self._is_put_away(mine):
                detail = "its file is in none of the agents' directories"
                gone.append(Close(receipt, Reason.VANISHED_AT_TARGET, detail))
        self._closing.close(gone)

    def _is_put_away(self, mine: Stat) -> bool:
        """Tell whether the file's other name is ours: an agent put its claim back, and it went to quarantine/ (I1)."""
        fs = self._tree.fs
        held = (fs.stat(layout.QUARANTINE, name) for name in fs.names(layout.QUARANTINE))
        return mine.links == 2 and any(one is not None and one.inode == mine.inode for one in held)

    def _note_stale(self) -> None:
        now = self._tree.clock.wall()
        for receipt in self._tree.ledger.receipts.values():
            silent = receipt.state is State.CLAIMED and now > receipt.facts.expires_at + STALE_CLAIM_S
            if silent and not receipt.stale_told:
                receipt.stale_told = True
                self._tree.note_edge("stale_claim", receipt.facts, role="receiver", peer=receipt.peer)


def _is_out(receipt: Receipt) -> bool:
    return receipt.place in (Place.OFFERED, Place.AWAY)


def _is_look_due(receipt: Receipt, now_b: float) -> bool:
    """Tell whether a receipt unaccounted for gets one of its VANISHED_LOOKS now."""
    if receipt.missed_b is None or receipt.looks >= VANISHED_LOOKS:
        return False
    return now_b - receipt.missed_b >= (receipt.looks + 1) * LOOK_PAUSE_S


def _bears(name: str, receipt: Receipt) -> bool:
    """Tell whether a name is the one agents archive this handoff under (overview.md section 3)."""
    unix, _, rest = name.partition("-")
    facts = receipt.facts
    return unix.isascii() and unix.isdigit() and rest == f"{facts.sender}-{facts.to}-{facts.handoff_id}.json"


def _field(data: bytes, key: str) -> str:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return ""
    value = document.get(key) if isinstance(document, dict) else None
    return value[:DETAIL_LIMIT] if isinstance(value, str) else ""
