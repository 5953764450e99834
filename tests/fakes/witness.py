"""Looks at both roots after every act and says which promise of docs/custody.md section 14 was broken.

It reads the disk and the engines' answers, never an engine's memory. Claims are what the test's agents did.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.custody.pair import Host

from handoffd.custody.message import Answer
from handoffd.protocol.name import TransferId, published_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import State

NOT_DELIVERED = ("never_sent", "not_delivered")
SAME_END = ({"expired", "revoked"},)
"""Reasons that are one to the two hosts: A calls its own revoke for lateness an expiry."""


@dataclass
class Given:
    """One handoff that bob wrote."""

    name: str
    data: bytes
    tid: TransferId
    published: str
    claims: int = 0
    archived: bool = False


@dataclass
class Witness:
    a: Host
    b: Host
    handoffs: dict[TransferId, Given] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], bytes] = field(default_factory=dict)
    forgotten: bool = False
    seen: tuple[int, int] = (0, 0)

    # ------------------------------------------------------------ what is reported to it

    def given(self, name: str, data: bytes) -> None:
        tid = transfer_id(data)
        self.handoffs[tid] = Given(name, data, tid, published_name(json.loads(data)["caller_hash"], tid))

    def claimed(self, published: str) -> Given:
        """An agent got it: by rename, or by a 200 to an accept with a nonce of its own."""
        one = next(one for one in self.handoffs.values() if one.published == published)
        one.claims += 1
        assert one.claims == 1, "claimed twice"
        return one

    def answered(self, answers: list[Answer]) -> None:
        """I3: stored is said only of what is there."""
        for answer in answers:
            if answer.status in (200, 201, 202) and answer.tid in self.handoffs and not answer.final:
                name = self.handoffs[answer.tid].published
                inbox = names(self.b.root / "relay/inbox/host-a")
                assert name in inbox or self._outcome(self.b, answer.tid), "stored, but there is no receipt"

    @property
    def offers(self) -> int:
        """How often, at the most, B put one name into handoff/ for agents to claim."""
        moved = (line.split() for line in self.b.faults.trace if " move relay/inbox/" in line)
        offered = Counter(words[-1] for words in moved if words[-2] == "handoff")
        return max(offered.values(), default=0)

    # ------------------------------------------------------------ looking

    def look_if_changed(self) -> None:
        changes = (self.a.faults.changes, self.b.faults.changes)
        if changes != self.seen:
            self.seen = changes
            self.look()

    def look(self) -> None:
        for one in self.handoffs.values():
            self._look_at(one)
        self._outcomes_stay()

    def _look_at(self, one: Given) -> None:
        tokens = self._tokens(one)
        assert len(tokens) <= 1, f"I1: claimable twice: {tokens}"
        assert not (tokens and one.claims), f"I1: claimed, and claimable again: {tokens}"
        self._bytes_are_kept(one)
        mine, theirs = self._outcome(self.a, one.tid), self._outcome(self.b, one.tid)
        if theirs:
            assert not tokens, f"I5: an outcome says {theirs['reason']}, and it can be claimed: {tokens}"
        for outcome in (mine, theirs):
            if outcome and outcome["delivered"] in NOT_DELIVERED:
                assert one.claims == 0, f"I5: {outcome['reason']} at {outcome['by']}, and an agent has it"
        if mine and mine["delivered"] in NOT_DELIVERED:
            assert not tokens, f"I5: {mine['reason']} at A, and it can still be claimed: {tokens}"
        self._a_shows_what_b_has(one, mine, theirs)

    def _tokens(self, one: Given) -> list[str]:
        found = [f"{host.name}/handoff" for host in (self.a, self.b) if one.published in names(host.root / "handoff")]
        for host in (self.a, self.b):
            for peer in names(host.root / "relay/inbox"):
                if f"{one.published}.new" in names(host.root / "relay/inbox" / peer):
                    found.append(f"{host.name}/inbox/{peer}")
        for place in found:
            if place.endswith("/handoff"):
                self._is_exact(one, place)
        return found

    def _is_exact(self, one: Given, place: str) -> None:
        root = self.a.root if place.startswith(self.a.name) else self.b.root
        data = (root / "handoff" / one.published).read_bytes()
        assert data == one.data, "I7: what is published is not what was taken"

    def _bytes_are_kept(self, one: Given) -> None:
        """I2: A has the bytes at every moment; by one name, but for a link being moved."""
        root = self.a.root
        kept = [path for path in places_of_payload(root) if path.read_bytes() == one.data]
        assert kept, "I2: A has lost the bytes"
        assert len(kept) == 1, f"the payload is in several places: {kept}"

    def _a_shows_what_b_has(self, one: Given, mine: dict[str, str] | None, theirs: dict[str, str] | None) -> None:
        """I6. `published` is news, not a promise (R3): an orderly stop and a power cut take it back."""
        record = self.a.engine.record([one.tid])[0] if mine is None else None
        if record is not None and record.state is not State.QUEUED:
            inbox = names(self.b.root / "relay/inbox/host-a")
            assert theirs or one.published in inbox, f"I6: A shows {record.state}, B does not know it"
            accepted = any(name.startswith(f"{one.published}.accepted~") for name in inbox)
            assert record.state is not State.CLAIMED or one.claims or accepted, "I6: A shows a claim that never was"
        if mine is not None and theirs is not None:
            same = mine["reason"] == theirs["reason"] or {mine["reason"], theirs["reason"]} in SAME_END
            assert same, f"A says {mine['reason']}, B says {theirs['reason']}"

    def _outcomes_stay(self) -> None:
        """I6: finals never change."""
        for host in (self.a, self.b):
            directory = host.root / "relay/outcome"
            present = set(names(directory))
            for name in present:
                known = self.outcomes.setdefault((host.name, name), (directory / name).read_bytes())
                assert (directory / name).read_bytes() == known, "I6: an outcome has changed"
            lost = [name for name_host, name in self.outcomes if name_host == host.name and name not in present]
            assert self.forgotten or not lost, f"an outcome is gone: {lost}"

    @staticmethod
    def _outcome(host: Host, tid: TransferId) -> dict[str, str] | None:
        try:
            found: dict[str, str] = json.loads((host.root / "relay/outcome" / f"{tid}.json").read_bytes())
        except FileNotFoundError:
            return None
        return found

    # ------------------------------------------------------------ the end

    def all_ended(self) -> bool:
        left = [name for name in leftovers(self.a) + leftovers(self.b) if not name.startswith("tmp/")]
        return not left and all(self._outcome(self.a, tid) for tid in self.handoffs)

    def reasons(self) -> list[str]:
        found = [self._outcome(self.a, tid) for tid in self.handoffs]
        return [one["reason"] if one else "open" for one in found]

    def final(self, *, held: bool = False) -> None:
        """What must be true when all has come to rest. `held`: alice's files in claimed/ are hers to keep."""
        self.look()
        for host in (self.a, self.b):
            # A part that the disk refused to remove stays in tmp/ until the next start.
            refused = any(line.startswith("unlink relay/tmp") for line in host.faults.trace)
            left = [name for name in leftovers(host) if not (refused and name.startswith("tmp/"))]
            assert left == [], f"left over at {host.name}"
        assert names(self.a.root / "claimed") == [], "a view is left"
        assert held or names(self.b.root / "claimed") == []
        for one in self.handoffs.values():
            mine = self._outcome(self.a, one.tid)
            assert mine, "no outcome at A"
            assert (mine["reason"] == "completed") <= (one.claims == 1 and one.archived)
            self._lies_where_it_belongs(one, mine["reason"])

    def _lies_where_it_belongs(self, one: Given, reason: str) -> None:
        (path,) = [path for path in places_of_payload(self.a.root) if path.read_bytes() == one.data]
        home = "archive" if reason == "completed" else "rejected"
        assert path.parent.name == home, f"{reason}, and the payload is in {path}"
        if home == "rejected":
            beside = path.name.removesuffix(".original") + ".reason"
            assert beside in names(path.parent), f"no reason beside {path}"


def names(directory: Path) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def places_of_payload(root: Path) -> list[Path]:
    """Every file at A that may be the payload: not the view in claimed/."""
    directories = [root / "handoff", root / "archive", root / "rejected", root / "relay/quarantine"]
    for kind in ("outbox", "sent"):
        directories += [root / "relay" / kind / peer for peer in names(root / "relay" / kind)]
    paths = [directory / name for directory in directories for name in names(directory)]
    return [path for path in paths if not path.name.startswith(".") and not path.name.endswith(".reason")]


def leftovers(host: Host) -> list[str]:
    """What must be empty once all is over."""
    relay = host.root / "relay"
    directories = [host.root / "handoff", relay / "tmp", relay / "quarantine"]
    for kind in ("outbox", "sent", "inbox"):
        directories += [relay / kind / peer for peer in names(relay / kind)]
    return [f"{directory.name}/{name}" for directory in directories for name in names(directory)]
