"""Looks at both roots after every act and says which promise of docs/custody.md section 14 was broken.

It reads the disk and the engines' answers, never an engine's memory. Claims are what the test's agents did.
"""

import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.unit.custody.pair import Host

from handoffd.custody.examine import examine
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
    deleted: bool = False


@dataclass
class Witness:
    """`hosts`: in the order in which a handoff passes them; the first is the sender's, the last `several` are homes."""

    hosts: list[Host]
    several: int = 1
    handoffs: dict[TransferId, Given] = field(default_factory=dict)
    outcomes: dict[tuple[str, str], bytes] = field(default_factory=dict)
    forgotten: bool = False
    seen: list[int] = field(default_factory=list)
    examined: dict[str, int] = field(default_factory=dict)
    """By host, the number of changes of its disk that `fsck` has looked at."""

    @property
    def a(self) -> Host:
        return self.hosts[0]

    @property
    def homes(self) -> list[Host]:
        return self.hosts[-self.several :]

    @property
    def between(self) -> list[Host]:
        """The relays."""
        return self.hosts[1 : -self.several]

    def before(self, host: Host) -> Host:
        """The host that a handoff comes from."""
        return self.hosts[-self.several - 1 if host in self.homes else self.hosts.index(host) - 1]

    def home_of(self, one: "Given") -> Host:
        """The home that has had it: no two of several ever have. Any, if none has."""
        had = [home for home in self.homes if self._has_had(home, one)]
        assert len(had) <= 1, f"I1: {[home.name for home in had]} have had it"
        return had[0] if had else self.homes[0]

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

    def answered(self, answers: list[Answer], far: Host | None = None) -> None:
        """I3: stored is said only of what is there."""
        for answer in answers:
            if answer.status in (200, 201, 202) and answer.tid in self.handoffs and not answer.final:
                assert self._has_had(far or self.hosts[1], self.handoffs[answer.tid]), "stored, but there is no receipt"

    def leased(self, answer: Answer, by: Host) -> None:
        """I4: bytes leave only after the lease is durable, and they are the ones that were taken (I7)."""
        assert answer.tid is not None
        assert answer.data == self.handoffs[answer.tid].data
        carried = names(self.before(by).root / "relay/sent" / by.name)
        assert any(name.startswith(answer.tid) for name in carried), "leased, and not in sent/"

    def _has_had(self, host: Host, one: Given) -> bool:
        """Whether a host can show that it has had custody: a receipt, or an outcome."""
        inbox = names(host.root / "relay/inbox" / self.before(host).name)
        return bool({one.published, f"{one.published}.routed"} & set(inbox)) or bool(self._outcome(host, one.tid))

    @property
    def offers(self) -> int:
        """How often, at the most, one name was put into handoff/ for agents to claim, at whichever home."""
        traces = (line for home in self.homes for line in home.faults.trace)
        moved = (line.split() for line in traces if " move relay/inbox/" in line)
        offered = Counter(words[-1] for words in moved if words[-2] == "handoff")
        return max(offered.values(), default=0)

    # ------------------------------------------------------------ looking

    def look_if_changed(self) -> None:
        changes = [host.faults.changes for host in self.hosts]
        if changes != self.seen:
            self.seen = changes
            self.look()

    def look(self) -> None:
        for one in self.handoffs.values():
            self._look_at(one)
        self._outcomes_stay()
        self._nothing_is_broken()

    def _nothing_is_broken(self) -> None:
        """What `handoffd fsck` would say at this moment of the hosts that have changed."""
        for host in self.hosts:
            if self.examined.get(host.name) == host.faults.changes:
                continue
            self.examined[host.name] = host.faults.changes
            broken = examine(host.root, host.boot_id).broken
            assert not broken, f"fsck at {host.name}: {broken}"
            assert "broken" not in host.journal.words(), f"set aside at {host.name}: {host.journal.lines}"

    def _look_at(self, one: Given) -> None:
        tokens = self._tokens(one)
        assert len(tokens) <= 1, f"I1: claimable twice: {tokens}"
        assert not (tokens and one.claims), f"I1: claimed, and claimable again: {tokens}"
        self._bytes_are_kept(one)
        self._is_at_one_place_between(one)
        self._a_relay_tells_no_lie(one)
        mine, theirs = self._outcome(self.a, one.tid), self._outcome(self.home_of(one), one.tid)
        if theirs:
            assert not tokens, f"I5: an outcome says {theirs['reason']}, and it can be claimed: {tokens}"
        for outcome in (mine, theirs):
            if outcome and outcome["delivered"] in NOT_DELIVERED:
                assert one.claims == 0, f"I5: {outcome['reason']} at {outcome['by']}, and an agent has it"
        if mine and mine["delivered"] in NOT_DELIVERED:
            assert not tokens, f"I5: {mine['reason']} at A, and it can still be claimed: {tokens}"
        self._a_shows_what_b_has(one, mine, theirs)

    def _tokens(self, one: Given) -> list[str]:
        found = [f"{host.name}/handoff" for host in self.hosts if one.published in names(host.root / "handoff")]
        for host in self.hosts:
            for peer in names(host.root / "relay/inbox"):
                inbox = names(host.root / "relay/inbox" / peer)
                # What is only forwarded is not claimable before the next host has made a token of it.
                if f"{one.published}.new" in inbox and f"{one.published}.routed" not in inbox and host in self.homes:
                    found.append(f"{host.name}/inbox/{peer}")
        for place in found:
            if place.endswith("/handoff"):
                self._is_exact(one, place)
        return found

    def _is_exact(self, one: Given, place: str) -> None:
        root = next(host.root for host in self.hosts if place.startswith(f"{host.name}/"))
        data = (root / "handoff" / one.published).read_bytes()
        assert data == one.data, "I7: what is published is not what was taken"

    def _bytes_are_kept(self, one: Given) -> None:
        """I2: A has the bytes at every moment; by one name, but for a link being moved."""
        root = self.a.root
        kept = [path for path in places_of_payload(root) if path.read_bytes() == one.data]
        assert kept, "I2: A has lost the bytes"
        assert len(kept) == 1, f"the payload is in several places: {kept}"

    def _is_at_one_place_between(self, one: Given) -> None:
        """A relay that has promised and not ended has the bytes under one name (I2), and publishes nothing."""
        for host in self.between:
            shown = [*names(host.root / "handoff"), *names(host.root / "claimed")]
            assert one.published not in shown, "a relay shows what it only passes on"
            inbox = names(host.root / "relay/inbox" / self.before(host).name)
            if f"{one.published}.routed" in inbox and not self._outcome(host, one.tid):
                found = [
                    f"inbox/{name}" for name in inbox if name in (f"{one.published}.new", f"{one.published}.pulled")
                ]
                for kind in ("outbox", "sent"):
                    for peer in names(host.root / "relay" / kind):
                        carried = names(host.root / "relay" / kind / peer)
                        found += [f"{kind}/{peer}" for name in carried if name.startswith(one.tid)]
                assert len(found) == 1, f"I2: {host.name} has it at {found}"

    def _a_relay_tells_no_lie(self, one: Given) -> None:
        """I11: it says stored only while the next host can have nothing of it (one of several homes may otherwise)."""
        for beyond in self.hosts[2:] if self.several == 1 else ():
            host = self.before(beyond)
            record = host.engine.record([one.tid])[0]
            if record is not None and record.state is State.STORED:
                assert not self._has_had(beyond, one), f"I11: {host.name} says stored, and {beyond.name} has it"

    def _a_shows_what_b_has(self, one: Given, mine: dict[str, str] | None, theirs: dict[str, str] | None) -> None:
        """I6. `published` is news, not a promise (R3): an orderly stop and a power cut take it back."""
        record = self.a.engine.record([one.tid])[0] if mine is None else None
        if record is not None and record.state in (State.PUBLISHED, State.CLAIMED):
            home = self.home_of(one)
            inbox = names(home.root / "relay/inbox" / self.before(home).name)
            assert self._has_had(home, one), f"I6: A shows {record.state}, B does not know it"
            accepted = any(name.startswith(f"{one.published}.accepted~") for name in inbox)
            assert record.state is not State.CLAIMED or one.claims or accepted, "I6: A shows a claim that never was"
        if record is not None and record.state is State.STORED:
            assert self._has_had(self.hosts[1], one), f"I6: A shows {record.state}, the next host does not know it"
        if mine is not None and theirs is not None:
            same = mine["reason"] == theirs["reason"] or {mine["reason"], theirs["reason"]} in SAME_END
            assert same, f"A says {mine['reason']}, B says {theirs['reason']}"

    def _outcomes_stay(self) -> None:
        """I6: finals never change."""
        for host in self.hosts:
            directory = host.root / "relay/outcome"
            present = {name for name in names(directory) if name.endswith(".json")}
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
        left = [name for host in self.hosts for name in leftovers(host) if not name.startswith("tmp/")]
        return not left and all(self._outcome(self.a, tid) for tid in self.handoffs)

    def reasons(self) -> list[str]:
        found = [self._outcome(self.a, tid) for tid in self.handoffs]
        return [one["reason"] if one else "open" for one in found]

    def final(self, *, held: bool = False) -> None:
        """What must be true when all has come to rest. `held`: alice's files in claimed/ are hers to keep."""
        self.look()
        for host in self.hosts:
            # A part that the disk refused to remove stays in tmp/ until the next start.
            refused = any(line.startswith("unlink relay/tmp") for line in host.faults.trace)
            left = [name for name in leftovers(host) if not (refused and name.startswith("tmp/"))]
            assert left == [], f"left over at {host.name}"
        self._views_are_gone()
        assert held or not any(names(home.root / "claimed") for home in self.homes)
        for one in self.handoffs.values():
            mine = self._outcome(self.a, one.tid)
            assert mine, "no outcome at A"
            assert (mine["reason"] == "completed") <= (one.claims == 1 and one.archived)
            self._lies_where_it_belongs(one, mine["reason"])

    def _views_are_gone(self) -> None:
        assert names(self.a.root / "claimed") == [], "a view is left"

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
