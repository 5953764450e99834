"""Two engines on real directories and a wire between them that a test moves by hand."""

import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.fakes.faulty import Faults, FaultyFilesystem

from handoffd.custody.engine import Engine
from handoffd.custody.filesystem import LinuxFilesystem
from handoffd.custody.message import (
    Answer,
    Arrival,
    Attempt,
    Batch,
    Hello,
    Landing,
    Lookup,
    Mirror,
    Offer,
    Principal,
    Settlement,
    StatesQuery,
    Want,
)
from handoffd.custody.tree import Settings
from handoffd.protocol.name import CANARY_AGENT, AgentName, HostName, TransferId, published_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.signature import sign

SECRET = b"pair-secret"
X = "0011223344556677-0.json"
START = float(int(time.time()))
"""The kernel stamps files with its own time, and custody compares the two."""


class ManualClock:
    """A clock that moves when told."""

    def __init__(self) -> None:
        self.wall_s, self.boot_s = START, 1000.0

    def wall(self) -> float:
        return self.wall_s

    def boottime(self) -> float:
        return self.boot_s

    def advance(self, seconds: float) -> None:
        self.wall_s += seconds
        self.boot_s += seconds


@dataclass
class MemoryJournal:
    lines: list[dict[str, Any]] = field(default_factory=list)

    def write(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, **fields})

    def words(self) -> list[str]:
        return [line["event"] for line in self.lines]


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


_numbers = itertools.count()


def payload(sender: str = "bob", to: str = "alice", *, at: float = START, ttl_s: float = 60.0, **more: Any) -> bytes:
    """A signed payload as an existing agent writes it; each has another caller."""
    caller = f"{next(_numbers):016x}"
    fields: dict[str, Any] = {
        "protocol_version": 1,
        "handoff_id": f"{int(at)}-{sender}-{to}-{caller}",
        "caller_hash": caller,
        "from_agent": sender,
        "to_agent": to,
        "reason": "test",
        "initiated_at": moment(at),
        "expires_at": moment(at + ttl_s),
        "transcript": [],
        **more,
    }
    return json.dumps({**fields, "hmac": sign(fields, SECRET)}).encode()


class Host:
    """One root with its engine; `restart` is a crash or a clean start."""

    def __init__(
        self, root: Path, name: str, agents: list[str], peers: dict[str, list[str]], pulls: tuple[str, ...] = ()
    ) -> None:
        self.root, self.name = root, HostName(name)
        root.mkdir(exist_ok=True)
        self.clock, self.journal = ManualClock(), MemoryJournal()
        self.settings = Settings(
            host=self.name,
            agents=frozenset(AgentName(agent) for agent in agents),
            peers={HostName(p): frozenset(AgentName(a) for a in names) for p, names in peers.items()},
            pulls=frozenset(map(HostName, pulls)),
        )
        self.boot_id = "boot-1"
        self.faults = Faults()
        self.opener: Callable[[Host], tuple[Any, Any]] = opened_here
        self.open()

    def open(self) -> None:
        self.fs, self.engine = self.opener(self)

    def start(self) -> "Host":
        self.engine.start(self.boot_id)
        return self

    def crash(self) -> None:
        self.fs.close()
        self.open()

    def power_cut(self) -> None:
        """What a power cut is to recovery: another boot id (the layers of a disk are the simulator's matter)."""
        self.boot_id = self.boot_id + "+"
        self.crash()

    def drop(self, name: str, data: bytes) -> None:
        """Write a file as an agent does: temporary name, then replace."""
        directory = self.root / "handoff"
        (directory / f".{name}.tmp").write_bytes(data)
        os.replace(directory / f".{name}.tmp", directory / name)

    def tick(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        self.engine.tick([0.0])

    def names(self, directory: str) -> list[str]:
        return sorted(os.listdir(self.root / directory))

    def claim(self) -> str:
        """Claim the one file in handoff/ as an agent does."""
        (name,) = self.names("handoff")
        os.rename(self.root / "handoff" / name, self.root / "claimed" / name)
        return name

    def read(self, path: str) -> bytes:
        return (self.root / path).read_bytes()

    def write(self, path: str, data: bytes) -> None:
        """Write as an agent does, to any of its directories."""
        target = self.root / path
        part = target.with_name(f".{target.name}.tmp")
        part.write_bytes(data)
        os.replace(part, target)

    def restart(self) -> "Host":
        self.crash()
        return self.start()

    def outcome(self) -> dict[str, Any]:
        (only,) = self.outcomes()
        return only

    def outcomes(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in sorted((self.root / "relay/outcome").glob("*.json"))]


def opened_here(host: Host) -> tuple[FaultyFilesystem, Engine]:
    """Open a host's root with an engine in this process."""
    fs = FaultyFilesystem(LinuxFilesystem(host.root), host.faults, lambda: ahead_ns(host.clock))
    return fs, Engine(fs, host.clock, host.settings, host.journal, chance=lambda: 0.5)


def ahead_ns(clock: ManualClock) -> int:
    """Return how far a test's clock is ahead of the kernel's."""
    return int(clock.wall_s * 1e9) - time.time_ns()


class Pair:
    """Hosts a (agent bob) and b (agent alice), started, and the wire from each to the other."""

    def __init__(self, directory: Path) -> None:
        self.a = Host(directory / "a", "host-a", ["bob", "carol"], {"host-b": ["alice"]})
        self.b = Host(directory / "b", "host-b", ["alice"], {"host-a": ["bob", "carol"]})
        self.a.start()
        self.b.start()
        self.cursors: dict[str, str] = {}
        self.greet(self.a, self.b)

    def greet(self, source: Host, target: Host) -> bool:
        return source.engine.hello([Hello(target.name, target.engine.epoch)])[0]

    def principal(self, source: Host) -> Principal:
        return Principal(source.name, None, source.settings.agents | {CANARY_AGENT})

    def offers(self, source: Host, target: Host) -> list[Offer]:
        """Everything to be sent now: fresh offers and due ones."""
        fresh = [item for item in source.engine.drain_news() if isinstance(item, Offer)]
        (due,) = source.engine.offers([Want(target.name, 100, 1 << 23)])
        return [*fresh, *due]

    def post(self, source: Host, target: Host, offers: list[Offer]) -> list[Answer]:
        arrivals = [
            Arrival(self.principal(source), one.data, one.tid, target.engine.epoch, (*one.path, source.name))
            for one in offers
        ]
        return target.engine.admit(arrivals)

    def settle(self, source: Host, target: Host, offers: list[Offer], answers: list[Answer]) -> None:
        source.engine.settle([settlement(target.name, o, a) for o, a in zip(offers, answers, strict=True)])

    def push(self, source: Host | None = None, target: Host | None = None) -> list[Answer]:
        source, target = source or self.a, target or self.b
        offers = self.offers(source, target)
        answers = self.post(source, target, offers)
        self.settle(source, target, offers, answers)
        return answers

    def follow(self, source: Host | None = None, target: Host | None = None) -> None:
        """One states exchange (a full sweep), artefacts, revokes and forgets."""
        source, target = source or self.a, target or self.b
        self.revoke(source, target)
        known = dict(source.engine.debts([target.name])[0].known)
        (news,) = target.engine.states([StatesQuery(source.name, known, None)])
        source.engine.mirror([Mirror(target.name, record, 0) for record in news.records])
        source.engine.lost([Batch(target.name, news.lost)])
        debts = source.engine.debts([target.name])[0]
        for tid in debts.fetch:
            (answer,) = target.engine.lookup([Lookup(self.principal(source), tid, artefact=True)])
            source.engine.land([Landing(tid, answer.data)])
        debts = source.engine.debts([target.name])[0]
        target.engine.forget([Batch(source.name, debts.forget)])
        source.engine.forgotten([Batch(target.name, debts.forget)])

    def revoke(self, source: Host, target: Host) -> None:
        debts = source.engine.debts([target.name])[0]
        (records,) = target.engine.revoke([Batch(source.name, debts.revoke)])
        source.engine.mirror([Mirror(target.name, record, 0) for record in records if record])

    def cross(self, data: bytes | None = None, name: str = X) -> tuple[TransferId, str]:
        """Take a handoff at A and publish it at B; return T and N."""
        data = payload() if data is None else data
        self.a.drop(name, data)
        self.a.tick()
        self.push()
        tid = transfer_id(data)
        return tid, published_name(json.loads(data)["caller_hash"], tid)

    def advance(self, seconds: float) -> None:
        for host in (self.a, self.b):
            host.tick(seconds)

    def close(self) -> None:
        self.a.fs.close()
        self.b.fs.close()


def settlement(peer: HostName, offer: Offer, answer: Answer) -> Settlement:
    """The table of a10 for an answer that came whole."""
    if answer.status in (200, 201, 202):
        return Settlement(peer, offer.tid, Attempt.ADMITTED, answer.status, answer.record)
    if answer.final:
        return Settlement(peer, offer.tid, Attempt.ENDED, answer.status, answer.record, answer.reason, answer.detail)
    return Settlement(
        peer, offer.tid, Attempt.NOT_ADMITTED, answer.status, detail=answer.detail, problem=answer.problem
    )


def bytes_in(directory: Path) -> Iterator[bytes]:
    for path in sorted(directory.iterdir()):
        yield path.read_bytes()
