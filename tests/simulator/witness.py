"""Looks at all disks after every act and says which promise of docs/custody.md section 14 was broken.

It reads disks and answers, and of an engine's memory only what the engine would show. What agents got, it is told.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.simulator.disk import Folder, Node, Tally
from tests.simulator.given import Given
from tests.simulator.host import SimHost

from handoffd.custody.layout import (
    ARCHIVE,
    CLAIMED,
    HANDOFF,
    INBOX,
    OUTBOX,
    OUTCOME,
    PEERS,
    QUARANTINE,
    REJECTED,
    SENT,
    TMP,
    WISH,
    outbox,
    sent,
)
from handoffd.custody.message import Answer, Attempt, Offer, Settlement
from handoffd.custody.visit import Parcel
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.name import TransferId, published_name, suffixed
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import RANK, State
from handoffd.protocol.record import Record
from handoffd.protocol.timing import CLOCK_JUMP_REST_S

NOT_DELIVERED = ("never_sent", "not_delivered")
SAME_END = {"expired", "revoked"}
"""One end to the two hosts: a revoke that A asked for because of lateness is an expiry to A."""
BY_AGENT = ("completed", "rejected_by_agent")
TWO_LOSSES = 2


class Broken(Exception):
    """A promise was broken; the message says which and how."""


@dataclass(slots=True)
class Home:
    """One host's directories that payloads of its own agents are kept in, and those of its outcomes."""

    folders: list[tuple[str, Folder]]
    changed: Tally = field(default_factory=Tally)
    ended: Tally = field(default_factory=Tally)
    ends_at: int = -1
    ends: dict[str, bytes] = field(default_factory=dict)
    parsed: dict[int, dict[str, Any]] = field(default_factory=dict)


class Witness:
    """Watches all hosts. `tally` counts every change of a name on any disk."""

    def __init__(self, hosts: list[SimHost], tally: Tally) -> None:
        """All folders exist from the first start on, and stay."""
        self.hosts, self.tally = hosts, tally
        self.given: list[Given] = []
        self._published: dict[str, Given] = {}
        self._wrong = ""
        """What was seen inside of a call of an engine, whose bulkheads would catch what is raised there."""
        self._blinks = False
        self.loose = False
        """Whether a power cut may leave two names of a move: then nothing is said of names that are too many."""
        self._seen = -1
        self._forgetful: set[str] = set()
        self._inboxes: list[tuple[SimHost, str, Folder]] = []
        self._homes: dict[str, Home] = {}
        for host in hosts:
            items = host.disk.folders.items()
            self._inboxes += [(host, name, it) for name, it in items if name == HANDOFF or name.startswith(_INBOXES)]
            home = Home([(name, folder) for name, folder in items if name.startswith(_HOMES)])
            for _, folder in home.folders:
                folder.tallies.append(home.changed)
            host.disk.folders[OUTCOME].tallies.append(home.ended)
            self._homes[host.name] = home

    # ------------------------------------------------------------ what is reported to it

    def gave(
        self, file: str, data: bytes, source: SimHost, target: SimHost, way: list[SimHost], twin: Given | None = None
    ) -> Given:
        """An agent has written a handoff; `twin`: one that it has written before has the same S."""
        tid, fields = transfer_id(data), json.loads(data)
        caller, expires_at = str(fields["caller_hash"]), parse_moment(fields["expires_at"])
        published = published_name(caller, tid)
        hidden, outcome = f"{published}.new", f"{tid}.json"
        names = (published, hidden, outcome)
        one = Given(file, data, tid, *names, source, target, way, caller, expires_at, source.life)
        # Its source may not know yet that the peer's tree is another one: what it opens until then ends with the old.
        one.excused = any(host.name in self._forgetful for host in way)
        self.given.append(one)
        self._published[published] = one
        if twin is not None:
            one.twin, twin.twin = twin, one
        return one

    def _of(self, tid: TransferId | None) -> Given | None:
        return next((one for one in self.given if one.tid == tid), None)

    def claimed(self, one: Given) -> None:
        """An agent has got it."""
        one.claims += 1
        if one.claims > 1 and len(one.forgot) < TWO_LOSSES:
            raise Broken("I1: claimed twice")

    def accepted(self, one: Given, *, fresh: bool) -> None:
        """An agent has got the bytes over HTTP; `fresh`: it had not asked before."""
        one.over_http = True
        if one.claims == 0:
            self.claimed(one)
        if fresh and one.target.clock.wall_s > one.expires_at:
            raise Broken("section 7: claimed over HTTP, and it was past its time")
        if not one.is_accepted() or self._comes_back(one):
            raise Broken("R3: its bytes left, and a power cut undoes the claim")
        self.look()

    def put_back(self, one: Given) -> None:
        """An agent has let go of it: another one may get it."""
        one.claims -= 1
        one.put_back = one.excused = True

    def forgot(self, host: SimHost) -> None:
        """A host has lost its relay/, or got an old one back (section 8)."""
        for one in self.given:
            if one.source is host:
                one.orphaned = True
            if one.target is host:
                one.accepted |= one.is_accepted()
            if host in one.way:
                one.excused = one.lost = True
            if host is one.source or host in one.way:
                one.forgot.add(host.name)
        self._forgetful.add(host.name)
        self._homes[host.name].ends.clear()

    def not_in_custody(self, host: SimHost) -> list[Given]:
        """Return what its writer alone answers for: its place in outbox/ is not flushed yet (a7)."""
        return [one for one in self.given if one.source is host and not one.is_in_custody()]

    def power_failed(self, still_theirs: list[Given]) -> None:
        """What its writer had not flushed may be gone, whole or in part. What is left whole is taken and sent."""
        for one in still_theirs:
            if not self._places(one):
                one.orphaned = True

    def leave(self, source: SimHost, target: SimHost, offers: list[Offer]) -> None:
        """I4: nothing leaves before a power cut can take neither it nor what is known of the peer's tree."""
        folders = source.disk.folders
        kept = {name.partition("~")[0] for name in folders[outbox(target.name)].kept}
        kept |= {name.partition("~")[0] for name in folders[sent(target.name)].kept}
        if f"{target.name}.json" not in folders[PEERS].kept:
            raise Broken("I4: it leaves, and the peer's epoch is not durable")
        if any(offer.tid not in kept for offer in offers):
            raise Broken("I4: it leaves, and outbox/ is not durable")
        for one in filter(None, (self._of(offer.tid) for offer in offers)):
            one.has_left |= one.source is source
            twin = one.twin
            if twin is None or not twin.has_left or twin.orphaned:
                continue
            if source.life == max(one.life, twin.life):
                raise Broken("I12: one process sends two payloads of one S")

    def offered(self, source: SimHost, offers: Iterable[Offer]) -> None:
        """Section 7: what its writer wants back is not offered any more."""
        wishes = source.disk.folders[WISH].now
        if any(offer.tid in wishes for offer in offers):
            raise Broken("section 7: its writer wants it back, and it is offered")

    def answered(self, source: SimHost, target: SimHost, answers: list[Answer]) -> None:
        """I3: stored is said only of what is durable."""
        for answer in answers:
            if answer.status in (200, 201, 202) and answer.tid is not None:
                one = self._of(answer.tid)
                inbox = target.disk.folders[f"{INBOX}/{source.name}"].kept
                if one is not None and not one.has_receipt_in(inbox) and self.end(target, one) is None:
                    raise Broken(f"I3: {answer.status} was said, and no receipt is durable")
            elif answer.final and f"{answer.tid}.json" not in target.disk.folders[OUTCOME].kept:
                raise Broken(f"b3: {answer.status} was said for good, and no tombstone is durable")

    def settled(self, source: SimHost, settlements: Sequence[Settlement]) -> None:
        """a10: what its peer has said to have is not sent again."""
        for told in settlements:
            waiting = source.disk.folders[outbox(told.peer)].now
            if told.attempt is Attempt.ADMITTED and any(name.startswith(f"{told.tid}~") for name in waiting):
                raise Broken(f"a10: {told.peer} has said to have it, and it is to be sent again")

    def told(self, teller: SimHost, hearer: SimHost, records: Sequence[Record]) -> None:
        """I3, R3: a host tells nothing that a power cut could undo, but for `published`."""
        inbox = teller.disk.folders[f"{INBOX}/{hearer.name}"].kept
        ends = teller.disk.folders[OUTCOME].kept
        for record in records:
            one = self._of(record.tid)
            if one is None:
                continue
            if record.final and one.outcome not in ends:
                raise Broken(f"I6: {record.reason} was told, and no outcome is durable")
            if not record.final and not one.has_receipt_in(inbox):
                raise Broken(f"I3: {record.state} was told, and no receipt is durable")
            claimed = record.state is State.CLAIMED and not record.final and teller is one.target
            if claimed and self._comes_back(one) and not one.put_back:  # what is told then is the claim before
                raise Broken("R3: a claim was told, and a power cut undoes it")

    def lent(self, lender: SimHost, visitor: SimHost, parcels: Sequence[Parcel]) -> None:
        """Section 11.3: bytes leave in time, and when no power cut can make them look as if they had not."""
        for parcel in parcels:
            one = self._of(parcel.answer.tid)
            if one is None or parcel.answer.data is None:
                continue
            if not any(name.startswith(one.tid) for name in lender.disk.folders[sent(visitor.name)].kept):
                raise Broken("I4: it is lent, and sent/ is not durable")
            if lender.clock.wall_s > one.expires_at:
                raise Broken("section 11.3: it is lent, and was past its time")

    def released(self, lender: SimHost, tids: Iterable[TransferId]) -> None:
        """Section 11.2: a host that dials in forgets what its lender has recorded."""
        kept = lender.disk.folders[OUTCOME].kept
        known = [one for one in map(self._of, tids) if one is not None and lender.name not in one.forgot]
        if any(one.outcome not in kept for one in known):
            raise Broken("I6: the visitor is told to forget it, and no outcome is durable")

    def started(self, host: SimHost) -> None:
        """Section 8: what a daemon finds in handoff/ and holds no receipt for cannot be claimed once it serves."""
        inboxes = [folder.now for directory, folder in host.disk.folders.items() if directory.startswith(_INBOXES)]
        for name in host.disk.folders[HANDOFF].now:
            if name in self._published and not any(name in inbox for inbox in inboxes):
                raise Broken(f"section 8: {host.name} serves, and {name} can be claimed without a receipt")
        self.shown(host)

    def moved(self, host: SimHost, directory: str, name: str) -> None:
        """b5, b6: a daemon publishes what is its own agent's, in time, and with a durable receipt."""
        one = self._published.get(name) if directory == HANDOFF else None
        if one is None:
            return
        if host is not one.target:
            self._wrong = f"I1: published at {host.name}, which was to pass it on"
        elif one.published not in one.inbox().kept:
            self._wrong = "b6: published, and no receipt is durable"
        elif host.clock.wall_s > one.expires_at:
            self._wrong = "b6: published, and it was past its time"
        one.published_once = True

    @contextmanager
    def blinking(self) -> Iterator[None]:
        """Something is done inside of an engine's call; what is wrong with it is told after that."""
        self._blinks = True
        try:
            yield
        except Broken as error:
            self._wrong = str(error)
        finally:
            self._blinks = False

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """Look if a disk has changed since the last time."""
        if self._blinks:
            return
        if self._wrong:
            raise Broken(self._wrong)
        if self.tally.changes == self._seen:
            return
        self._seen = self.tally.changes
        for one in self.given:
            self._look_at(one)
        for host in self.hosts:
            self._ends_stay(host, self._homes[host.name])

    def _look_at(self, one: Given) -> None:
        token = self._token(one)
        twin = one.twin
        if twin is not None and (token or one.claims) and (twin.claims or self._token(twin)):
            self._may_both_be_there(one, twin)
        for host in one.way if not one.lost else ():
            end = self.end(host, one)
            if end is not None and token:
                raise Broken(f"I5: {host.name} says {end['reason']}, and it can be claimed: {token}")
            self._is_true(end, one, token)
        if one.orphaned:
            return
        self._bytes_are_kept(one)
        mine, theirs = self.end(one.source, one), self.end(one.target, one)
        self._is_true(mine, one, token)
        if mine is not None and theirs is not None and mine["reason"] != theirs["reason"]:
            self._may_differ(one, mine["reason"], theirs["reason"])

    def _is_true(self, end: dict[str, Any] | None, one: Given, token: str) -> None:
        if end is not None and end["delivered"] in NOT_DELIVERED and (one.claims or token) and not one.orphaned:
            raise Broken(f"I5: {end['reason']} at {end['by']}, and an agent has it or can get it: {token}")

    def _token(self, one: Given) -> str:
        """Where it can be claimed, or will be. I1, I7."""
        found = ""
        for host, directory, folder in self._inboxes:
            name = one.published if directory == HANDOFF else one.hidden
            node = folder.now.get(name)
            if node is None:
                continue
            if directory == HANDOFF and node.data != one.data and not one.rewritten:
                raise Broken("I7: what is published is not what was taken")
            if found:
                raise Broken(f"I1: claimable twice: {found} and {host.name} {directory}")
            found = f"{host.name} {directory}"
        if found and one.claims and len(one.forgot) < TWO_LOSSES:
            raise Broken(f"I1: claimed, and claimable again: {found}")
        return found

    def _may_both_be_there(self, one: Given, twin: Given) -> None:
        if len(one.forgot | twin.forgot) < TWO_LOSSES:
            raise Broken("I12: two payloads of one S, and agents have them or can get them")

    def _comes_back(self, one: Given) -> bool:
        """Tell whether a power cut would show it where it can be claimed, and nowhere farther (R6)."""
        return not self.loose and one.comes_back()

    def _bytes_are_kept(self, one: Given) -> None:
        """I2: its source has the bytes at every moment, by one name."""
        home = self._homes[one.source.name]
        if home.changed.changes == one.kept_at:
            return
        kept = self._places(one)
        if not kept:
            raise Broken("I2: its source has lost the bytes")
        if len(kept) > 1 + len(one.copies) and not self.loose:
            raise Broken(f"I2: its source has the bytes in several places: {kept}")
        one.kept_at = home.changed.changes

    def _places(self, one: Given) -> list[str]:
        """Return where its source has the bytes."""
        return [
            f"{directory}/{name}"
            for directory, folder in self._homes[one.source.name].folders
            for name, node in folder.now.items()
            if node.data == one.data and name[0] != "."
        ]

    def shown(self, host: SimHost) -> None:
        """I6, whenever a host may show more than before: it shows at most what is known where it went."""
        for one in self.given:
            if one.source is host and not one.orphaned and self.end(host, one) is None:
                self._shows_what_is_known(one)

    def _shows_what_is_known(self, one: Given) -> None:
        """`published` is news, not a promise (R3): an orderly stop and a power cut take it back. `leased` says that
        somebody may have it, and is no promise at all."""
        if one.source.view.dead:
            return
        record = one.source.engine.record([one.tid])[0]
        if record is None:
            return
        self._only_rises(one, record.state)
        if record.state in (State.QUEUED, State.LEASED) or any(self.end(host, one) is not None for host in one.way):
            return
        hops = zip(one.way, (one.source, *one.way), strict=False)
        inboxes = [host.disk.folders[f"{INBOX}/{before.name}"].kept for host, before in hops]
        if not any(one.has_receipt_in(inbox) for inbox in inboxes) and not one.excused:
            raise Broken(f"I6: {one.source.name} shows {record.state}, and nobody knows it")
        if record.state is State.CLAIMED and not (one.claims or one.put_back or one.accepted or one.is_accepted()):
            raise Broken("I6: a claim is shown that never was")

    def _only_rises(self, one: Given, state: State) -> None:
        """I6, a11: as long as a process lives, later news are not older ones."""
        shown = (one.source.life, RANK[state])
        if shown[0] == one.shown[0] and shown[1] < one.shown[1]:
            raise Broken(f"I6: {one.source.name} shows {state} after something later")
        one.shown = shown

    def _may_differ(self, one: Given, mine: str, theirs: str) -> None:
        if {mine, theirs} != SAME_END and not one.excused:
            raise Broken(f"{one.source.name} says {mine}, {one.target.name} says {theirs}")

    def _ends_stay(self, host: SimHost, home: Home) -> None:
        """I6: finals never change."""
        if home.ends_at == home.ended.changes:
            return
        home.ends_at = home.ended.changes
        now = host.disk.folders[OUTCOME].now
        for name, node in now.items():
            if not name.endswith(".json"):
                continue  # what a relay keeps beside its record, until it is forgotten
            if name not in home.ends:
                self._is_timely(host, name)
            if home.ends.setdefault(name, node.data) != node.data:
                raise Broken(f"I6: {name} at {host.name} has changed")
        lost = home.ends.keys() - now.keys()
        if lost:
            raise Broken(f"I6: an outcome at {host.name} is gone: {sorted(lost)}")

    def _is_timely(self, host: SimHost, name: str) -> None:
        """A new end at its home: what it rests on is durable (R3), and the janitor rested after a jump (section 7)."""
        one = self._of(TransferId(name.removesuffix(".json")))
        end = None if one is None or one.target is not host else self.end(host, one)
        if one is None or end is None:
            return
        if end["reason"] in BY_AGENT and one.is_unflushed():
            raise Broken(f"R3: {end['reason']} is recorded, and a power cut takes the agent's file")
        rests = host.clock.boot_s - host.jumped_at_s < CLOCK_JUMP_REST_S
        if end["reason"] == "expired" and one.published_once and rests:
            raise Broken(f"section 7: expired at {host.name}, whose clock has just jumped")

    def end(self, host: SimHost, one: Given) -> dict[str, Any] | None:
        """Return a host's final record of it, or None."""
        node: Node | None = host.disk.folders[OUTCOME].now.get(one.outcome)
        if node is None:
            return None
        parsed = self._homes[host.name].parsed
        if node.number not in parsed:
            parsed[node.number] = json.loads(node.data)
        return parsed[node.number]

    # ------------------------------------------------------------ the end

    def open(self) -> list[Given]:
        """Return what has no outcome at its source yet, or still lies about."""
        return [one for one in self.given if not one.orphaned and self.end(one.source, one) is None]

    def final(self) -> None:
        """Say what is wrong once all has come to rest."""
        self._seen = -1
        self.look()
        left = self.left_over()
        if left:
            raise Broken(f"left over at {left[0]}: {left[1]}")
        for one in self.given:
            if not one.orphaned:
                self._is_well_ended(one)

    def left_over(self) -> tuple[str, list[str]] | None:
        """Return a host, and what lies about there that nothing excuses."""
        for host in self.hosts:
            left = [name for name in leftovers(host) if not self._is_excused(host, name)]
            if left:
                return host.name, left
        return None

    def _is_excused(self, host: SimHost, path: str) -> bool:
        """A power cut takes what its writer had not flushed, and may bring a view back that had been removed (a12)."""
        directory, _, name = path.rpartition("/")
        mine = [one for one in self.given if one.source is host]
        if directory == CLAIMED and name in host.came_back:
            return any(name in (file, suffixed(file, one.tid)) for one in mine for file in one.files())
        node = host.disk.folders[directory].now[name]
        if self.loose and node.links > 1:
            return True
        if directory == HANDOFF and any(name in one.files() and node.data != one.data for one in mine):
            return True  # torn, and the other copy was whole
        gone = [(one, file) for one in mine if one.orphaned for file in one.files()]
        return any(name == file or (directory == CLAIMED and name == suffixed(file, one.tid)) for one, file in gone)

    def _is_well_ended(self, one: Given) -> None:
        end = self.end(one.source, one)
        if end is None:
            raise Broken(f"no outcome at {one.source.name}")
        reason, certain = end["reason"], not one.excused
        if reason == "completed" and not (one.claims == 1 and one.archived):
            raise Broken("completed, and no agent archived it")
        if certain and one.archived and reason != "completed":
            raise Broken(f"an agent archived it, and it ended as {reason}")
        if certain and end["delivered"] == "unknown":
            raise Broken(f"I9: {reason}, and nothing happened that would excuse it")
        home = ARCHIVE if reason == "completed" else REJECTED
        if not any(node.data == one.data for node in one.source.disk.folders[home].now.values()):
            raise Broken(f"{reason}, and the payload is not in {home}/")


_HOMES = (HANDOFF, ARCHIVE, REJECTED, QUARANTINE, OUTBOX, SENT)
_INBOXES = f"{INBOX}/"


def leftovers(host: SimHost) -> list[str]:
    """Return the names that must not be there once all is over."""
    return [
        f"{directory}/{name}"
        for directory, folder in host.disk.folders.items()
        if directory in (HANDOFF, CLAIMED, TMP) or directory.startswith((OUTBOX, SENT, INBOX))
        for name in folder.now
        if not name.startswith(".")
    ]
