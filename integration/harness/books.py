"""The audit at the end of a scenario: what the agents say they did, against what the daemons and the directories say.

Knows the promises, not how they are kept. The rule that must stay true: a handoff is found by the SHA-256 of its bytes,
so one that was altered on the way counts as lost, and as one that nobody wrote.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from harness.host import Fields, Host
from harness.hosts import Hosts

CLAIMED_ENDS = {"completed", "rejected_by_agent"}
UNCLAIMED_ENDS = {"expired", "revoked"}
"""Without a power cut, a lost tree or a hostile agent there is no other end (docs/custody.md, I9)."""


@dataclass
class Books:
    """Everything written and claimed on all hosts, by transfer id, and what is wrong with it."""

    written: dict[str, tuple[Host, Host]] = field(default_factory=dict)
    claims: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    artefacts_missing: int = 0
    """Final artefacts that stayed with the receiver. Allowed where a daemon dies or the network goes at that moment:
    the sender asks for one once, and once more after a restart (docs/custody.md, a14)."""

    def blame(self, tid: str, what: str) -> None:
        """Note one thing that should not be."""
        self.faults.append(f"{tid[:12]}: {what}")


def gather(hosts: Hosts) -> Books:
    """Read the ledgers of all agents on all hosts."""
    books = Books()
    for host in hosts.hosts:
        for path in sorted(host.suite.glob("*.jsonl")):
            for line in host.ledger(path.stem):
                if line["what"] == "written":
                    books.written[line["sha256"]] = (host, hosts.peer_of(host))
                elif line["what"] == "claimed":
                    books.claims[line["sha256"]] += 1
    return books


def all_ended(hosts: Hosts) -> bool:
    """Tell whether every handoff has an outcome at its sender, and none is on its way or in anybody's hands."""
    if any(sender.outcome(tid) is None for tid, (sender, _) in gather(hosts).written.items()):
        return False
    return not any(unfinished(host) for host in hosts.hosts)


def unfinished(host: Host) -> list[str]:
    """Return every file that is still waiting, claimed or in custody on one host."""
    waiting = [f"{place}/{name}" for place in ("handoff", "claimed") for name in host.ls(place)]
    relay = host.root / "relay"
    kept = [path for place in ("outbox", "sent", "inbox") for path in (relay / place).rglob("*") if path.is_file()]
    return waiting + [str(path.relative_to(host.root)) for path in kept]


def audit(hosts: Hosts) -> Books:
    """Return the books with every fault found in them; balanced books have none."""
    books = gather(hosts)
    for tid, count in books.claims.items():
        if tid not in books.written:
            books.blame(tid, "was claimed, but nobody wrote it")
        if count > 1:
            books.blame(tid, f"was claimed {count} times")
    files = {host.name: content_of(host) for host in hosts.hosts}
    for tid, (sender, receiver) in books.written.items():
        check_end(books, tid, sender, receiver)
        check_files(books, tid, sender, files[sender.name], files[receiver.name])
    for host in hosts.hosts:
        books.faults += [f"{host.name} still has {name}" for name in unfinished(host)]
        books.faults += [f"an agent of {host.name} crashed: {line}" for line in host.agents_log()[-1:]]
    return books


def check_end(books: Books, tid: str, sender: Host, receiver: Host) -> None:
    """Blame a wrong outcome of one handoff: missing, different on its two hosts, or against the claims."""
    ours, theirs = sender.outcome(tid), receiver.outcome(tid)
    if ours is None:
        books.blame(tid, f"has no outcome on {sender.name}: lost")
        return
    books.ends[ours["reason"]] += 1
    allowed = {1} if ours["reason"] in CLAIMED_ENDS else {0}
    if ours["reason"] not in CLAIMED_ENDS | UNCLAIMED_ENDS:
        books.blame(tid, f"ended as {ours['reason']}")
    if books.claims[tid] not in allowed:
        books.blame(tid, f"ended as {ours['reason']} and was claimed {books.claims[tid]} times")
    if ours["delivered"] != "never_sent":
        compare(books, tid, ours, theirs)
    elif theirs is not None and theirs["reason"] in CLAIMED_ENDS:
        books.blame(tid, f"was never sent, yet {receiver.name} calls it {theirs['reason']}")


def compare(books: Books, tid: str, ours: Fields, theirs: Fields | None) -> None:
    """Blame two outcomes of one handoff that do not say the same."""
    if theirs is None:
        books.blame(tid, f"ended as {ours['reason']} at its sender, and its receiver knows nothing")
        return
    if {ours["reason"], theirs["reason"]} == UNCLAIMED_ENDS:
        return  # the receiver writes that it was asked to give it back, the sender why it asked
    for key in ("state", "reason", "delivered", "artefact"):
        if ours[key] != theirs[key]:
            books.blame(tid, f"{key} is {ours[key]!r} at its sender and {theirs[key]!r} at its receiver")


def content_of(host: Host) -> dict[str, Counter[str]]:
    """Return how often each content, by SHA-256, lies in a host's archive/ and rejected/."""
    places = {}
    for place in ("archive", "rejected"):
        names = host.ls(place)
        places[place] = Counter(hashlib.sha256(host.read(place, name)).hexdigest() for name in names)
    return places


def check_files(
    books: Books, tid: str, sender: Host, ours: dict[str, Counter[str]], theirs: dict[str, Counter[str]]
) -> None:
    """Blame a payload or final artefact that is not exactly once where it belongs."""
    outcome = sender.outcome(tid)
    if outcome is None:
        return
    place = "archive" if outcome["reason"] == "completed" else "rejected"
    if ours["archive"][tid] + ours["rejected"][tid] != 1 or ours[place][tid] != 1:
        books.blame(tid, f"is not exactly once in {place}/ of {sender.name}")
    if artefact := outcome["artefact"]:
        here, there = (files["archive"] + files["rejected"] for files in (ours, theirs))
        books.artefacts_missing += here[artefact["sha256"]] == 0
        if here[artefact["sha256"]] > 1 or there[artefact["sha256"]] != 1:
            books.blame(tid, "has its final artefact twice at its sender, or not exactly once at its receiver")
