"""Looks at all disks after every act and says which promise of docs/custody.md section 14 was broken.

It reads disks and answers, and of an engine's memory only what the engine would show. What agents got, it is told.
"""

import json
from dataclasses import dataclass, field
from typing import Any

from tests.simulator.disk import Folder, Node, Tally
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
    outbox,
    sent,
)
from handoffd.custody.message import Answer, Offer
from handoffd.protocol.name import TransferId, published_name, routed_name, suffixed
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import State
from handoffd.protocol.record import Record

NOT_DELIVERED = ("never_sent", "not_delivered")
SAME_END = {"expired", "revoked"}
"""One end to the two hosts: a revoke that A asked for because of lateness is an expiry to A."""
KNOWN = ("completed", "rejected")
TWO_LOSSES = 2


class Broken(Exception):
    """A promise was broken; the message says which and how."""


@dataclass(slots=True)
class Given:
    """One handoff that an agent wrote. `excused`: something happened to it that may make its end uncertain."""

    file: str
    data: bytes
    tid: TransferId
    published: str
    hidden: str
    outcome: str
    source: SimHost
    target: SimHost
    way: list[SimHost]
    """The hosts it comes to; the last one is its target, others pass it on."""
    caller: str
    claims: int = 0
    accepted: bool = False
    """Its target had noted an agent's claim over HTTP, before it lost its memory; the agent may not have heard."""
    archived: bool = False
    excused: bool = False
    orphaned: bool = False
    """Its source lost its memory: what becomes of it is nobody's promise, but for claims."""
    lost: bool = False
    """A host it comes to lost its memory: what that host says of it now is no news of the agents."""
    forgot: set[str] = field(default_factory=set)
    """Hosts that lost their memory of it. Two such losses are beyond what is promised, of claims too (section 17)."""
    kept_at: int = -1
    """The source's directories had changed so often when the bytes were last found in one place."""


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

    def gave(self, file: str, data: bytes, source: SimHost, target: SimHost, way: list[SimHost]) -> Given:
        """An agent has written a handoff."""
        tid, caller = transfer_id(data), str(json.loads(data)["caller_hash"])
        published = published_name(caller, tid)
        one = Given(file, data, tid, published, f"{published}.new", f"{tid}.json", source, target, way, caller)
        # Its source may not know yet that the peer's tree is another one: what it opens until then ends with the old.
        one.excused = any(host.name in self._forgetful for host in way)
        self.given.append(one)
        return one

    def claimed(self, one: Given) -> None:
        """An agent has got it."""
        one.claims += 1
        if one.claims > 1 and len(one.forgot) < TWO_LOSSES:
            raise Broken("I1: claimed twice")

    def forgot(self, host: SimHost) -> None:
        """A host has lost its relay/, or got an old one back (section 8)."""
        for one in self.given:
            if one.source is host:
                one.orphaned = True
            if one.target is host:
                one.accepted |= _is_accepted(one)
            if host in one.way:
                one.excused = one.lost = True
            if host is one.source or host in one.way:
                one.forgot.add(host.name)
        self._forgetful.add(host.name)
        self._homes[host.name].ends.clear()

    def not_in_custody(self, host: SimHost) -> list[Given]:
        """Return what its writer alone answers for: its place in outbox/ is not flushed yet (a7)."""
        return [one for one in self.given if one.source is host and not _is_in_custody(one)]

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

    def answered(self, source: SimHost, target: SimHost, answers: list[Answer]) -> None:
        """I3: stored is said only of what is durable."""
        for answer in answers:
            if answer.status in (200, 201, 202) and answer.tid is not None:
                one = next((one for one in self.given if one.tid == answer.tid), None)
                inbox = target.disk.folders[f"{INBOX}/{source.name}"].kept
                if one is not None and not _has_receipt(inbox, one) and self.end(target, one) is None:
                    raise Broken(f"I3: {answer.status} was said, and no receipt is durable")

    def told(self, visitor: SimHost, lender: SimHost, records: tuple[Record, ...]) -> None:
        """I3, R3: a host that dials in tells nothing that a power cut could undo, but for `published`."""
        inbox = visitor.disk.folders[f"{INBOX}/{lender.name}"].kept
        ends = visitor.disk.folders[OUTCOME].kept
        for record in records:
            one = next((one for one in self.given if one.tid == record.tid), None)
            if one is None:
                continue
            if record.final and one.outcome not in ends:
                raise Broken(f"I6: {record.reason} was told, and no outcome is durable")
            if not record.final and not _has_receipt(inbox, one):
                raise Broken(f"I3: {record.state} was told, and no receipt is durable")

    # ------------------------------------------------------------ looking

    def look(self) -> None:
        """Look if a disk has changed since the last time."""
        if self.tally.changes == self._seen:
            return
        self._seen = self.tally.changes
        for one in self.given:
            self._look_at(one)
        for host in self.hosts:
            self._ends_stay(host, self._homes[host.name])

    def _look_at(self, one: Given) -> None:
        token = self._token(one)
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
            if directory == HANDOFF and node.data != one.data:
                raise Broken("I7: what is published is not what was taken")
            if found:
                raise Broken(f"I1: claimable twice: {found} and {host.name} {directory}")
            found = f"{host.name} {directory}"
        if found and one.claims and len(one.forgot) < TWO_LOSSES:
            raise Broken(f"I1: claimed, and claimable again: {found}")
        return found

    def _bytes_are_kept(self, one: Given) -> None:
        """I2: its source has the bytes at every moment, by one name."""
        home = self._homes[one.source.name]
        if home.changed.changes == one.kept_at:
            return
        kept = self._places(one)
        if not kept:
            raise Broken("I2: its source has lost the bytes")
        if len(kept) > 1:
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
        if one.source.view.dead or any(self.end(host, one) is not None for host in one.way):
            return
        record = one.source.engine.record([one.tid])[0]
        if record is None or record.state in (State.QUEUED, State.LEASED):
            return
        hops = zip(one.way, (one.source, *one.way), strict=False)
        inboxes = [host.disk.folders[f"{INBOX}/{before.name}"].kept for host, before in hops]
        if not any(_has_receipt(inbox, one) for inbox in inboxes) and not one.excused:
            raise Broken(f"I6: {one.source.name} shows {record.state}, and nobody knows it")
        if record.state is State.CLAIMED and not (one.claims or one.accepted or _is_accepted(one)):
            raise Broken("I6: a claim is shown that never was")

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
            if home.ends.setdefault(name, node.data) != node.data:
                raise Broken(f"I6: {name} at {host.name} has changed")
        lost = home.ends.keys() - now.keys()
        if lost:
            raise Broken(f"I6: an outcome at {host.name} is gone: {sorted(lost)}")

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
            return any(name in (one.file, suffixed(one.file, one.tid)) for one in mine)
        gone = [one for one in mine if one.orphaned]
        return any(name == one.file or (directory == CLAIMED and name == suffixed(one.file, one.tid)) for one in gone)

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


def _is_in_custody(one: Given) -> bool:
    peer, folders = one.way[0].name, one.source.disk.folders
    name = f"{one.tid}~{one.file}"
    return (
        name in folders[outbox(peer)].kept or name in folders[sent(peer)].kept or one.outcome in folders[OUTCOME].kept
    )


def _is_accepted(one: Given) -> bool:
    before = (one.source, *one.way)[-2]
    inbox = one.target.disk.folders[f"{INBOX}/{before.name}"].kept
    return any(name.startswith(f"{one.published}.accepted~") for name in inbox)


def _has_receipt(inbox: dict[str, Node], one: Given) -> bool:
    """Tell whether this inbox knows it, as its home or as a relay."""
    return one.published in inbox or routed_name(one.published) in inbox


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
