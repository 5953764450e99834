"""Roots made by hand: the directories and files a daemon would have left, put there by a test."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handoffd.custody.entry import Entry
from handoffd.custody.reading import Reading
from handoffd.journal import Journal
from handoffd.protocol.moment import format_moment
from handoffd.protocol.name import published_name
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Delivered, Reason, State
from handoffd.protocol.record import Record, encode

CALLER = "b275013166a65f69"
X = f"{CALLER}-0.json"
HANDOFF_ID = f"1795168800-bob-alice-{CALLER}"
START_S = 1_795_168_800.0  # 2026-11-20T10:00:00Z
EXPIRES_S = START_S + 60.0
SECRET_WORDS = "the caller's card number"
DIRECTORIES = (
    "handoff",
    "claimed",
    "archive",
    "rejected",
    "relay/outbox/alice-vm",
    "relay/sent/alice-vm",
    "relay/inbox/bob-vm",
    "relay/outcome",
)


def payload(handoff_id: str = HANDOFF_ID, expires_s: float = EXPIRES_S, **more: object) -> bytes:
    """Return a payload from bob to alice; it need not be signed, nobody here verifies."""
    fields = {
        "protocol_version": 1,
        "handoff_id": handoff_id,
        "caller_hash": CALLER,
        "from_agent": "bob",
        "to_agent": "alice",
        "reason": "scheduling_capability",
        "initiated_at": format_moment(START_S),
        "expires_at": format_moment(expires_s),
        "hmac": "m1KsJfzR5Hc8VQNgfPbj8uJ7KPPowdNZqezwOAk4WZc=",
        "transcript": [{"role": "user", "text": SECRET_WORDS}],
    }
    return json.dumps({**fields, **more}).encode()


DATA = payload()
T = transfer_id(DATA)
N = published_name(CALLER, T)
QUEUED, SENT, RECEIPT = f"relay/outbox/alice-vm/{T}~{X}", f"relay/sent/alice-vm/{T}~{X}", f"relay/inbox/bob-vm/{N}"


@dataclass
class SetClock:
    """A clock that stands where a test put it."""

    now: float = START_S

    def wall(self) -> float:
        return self.now


@dataclass
class Ground:
    """A root on disk, and its journal as written by `host`."""

    root: Path
    host: str = "bob-vm"
    clock: SetClock = field(default_factory=SetClock)

    @classmethod
    def make(cls, root: Path) -> "Ground":
        for directory in DIRECTORIES:
            (root / directory).mkdir(parents=True)
        return cls(root)

    @property
    def journal_path(self) -> Path:
        return self.root / "relay/events.jsonl"

    @property
    def reading(self) -> Reading:
        return Reading(self.root)

    def put(self, path: str, data: bytes = DATA, *, written_s: float | None = None) -> None:
        (self.root / path).parent.mkdir(exist_ok=True)
        (self.root / path).write_bytes(data)
        if written_s is not None:
            os.utime(self.root / path, (written_s, written_s))

    def link(self, path: str, to: str) -> None:
        os.link(self.root / path, self.root / to)

    def end(self, reason: Reason, state: State, data: bytes = DATA, **more: Any) -> Record:
        """Write the outcome as the sender's daemon has it from alice-vm."""
        names = {"handoff_id": HANDOFF_ID, "sender": "bob", "to": "alice", "file": X}
        record = Record(
            tid=transfer_id(data),
            state=state,
            reason=reason,
            at=format_moment(START_S + 2),
            expires_at=format_moment(EXPIRES_S),
            **{"delivered": Delivered.CLAIMED, "by": "alice-vm", "peer": "alice-vm", **names, **more},
        )
        self.put(f"relay/outcome/{record.tid}.json", encode(record))
        return record

    def refuse(self, data: bytes = DATA) -> None:
        """Write what is left of a handoff that was never taken."""
        facts = {"detail": "nobody knows to_agent 'carol'", "to": "carol", "delivered": Delivered.NEVER_SENT}
        record = self.end(Reason.UNROUTABLE, State.REFUSED, data, **facts, by=self.host, peer=None)
        (self.root / f"relay/outcome/{record.tid}.json").rename(self.root / f"rejected/{X}.reason")
        self.put(f"rejected/{X}", data)

    def note(self, event: str, after_ms: float, **fields: object) -> None:
        """Write one line of the journal, `after_ms` after the start."""
        names = {"tid": T, "handoff_id": HANDOFF_ID, "sender": "bob", "to": "alice", **fields}
        self.clock.now = START_S + after_ms / 1000
        journal = Journal(self.journal_path, self.host, 1 << 20, 3, self.clock)
        journal.write(event, **names)
        journal.flush()

    def only(self) -> Entry:
        """Return the one handoff there is."""
        (standing,) = self.reading.standings()
        entry = self.reading.entry(standing)
        assert entry is not None
        return entry
