"""What hub, link and app say to the custody engine, and what it answers: values only, no behaviour.

Every engine method takes a list of one of these and returns a list of the same length and order, so that what
queued up during the last flush can share the next one (docs/custody.md section 16).
"""

from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass, field
from enum import Enum, auto

from handoffd.custody.ledger import Facts
from handoffd.protocol.name import AgentName, HostName, Nonce, TransferId
from handoffd.protocol.reason import Problem, Reason, State
from handoffd.protocol.record import Record

# ---------------------------------------------------------------- the hub asks


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a bearer token speaks for: an agent of this host, or a peer's daemon.

    `peer` is `<peer>` in paths (`alice-vm`, or `@bob` for an agent); `sends` are the agents it may send from.
    """

    peer: str
    agent: AgentName | None
    sends: Set[AgentName]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A payload that was posted: section 6, b1 to b7. `claimed_tid` is the Idempotency-Key if there was one."""

    principal: Principal
    data: bytes
    claimed_tid: str | None = None
    epoch: str | None = None
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """What to tell the caller. 2xx: `record`, and `data` where bytes were asked for; else a problem or a reason.

    `final` goes with a reason: this host holds an outcome for T (section 5, a10).
    """

    status: int
    tid: TransferId | None = None
    record: Record | None = None
    problem: Problem | None = None
    reason: Reason | None = None
    detail: str = ""
    final: bool = False
    data: bytes | None = None
    artefact_name: str | None = None
    safe_to_retry: bool = True


@dataclass(frozen=True, slots=True)
class Poll:
    """An agent asks for the oldest pending payload of its own. Answer: 200 with `data` and `record`, or 204."""

    agent: AgentName


@dataclass(frozen=True, slots=True)
class Accept:
    """An agent claims over HTTP. `ident` is T or a handoff_id. Answer: 200 with `data`, 404, 409, 410."""

    agent: AgentName
    ident: str
    nonce: Nonce | None


@dataclass(frozen=True, slots=True)
class Finish:
    """The winner of an accept completes (`reject` False) or rejects; `artefact` are other final bytes, if any."""

    agent: AgentName
    ident: str
    reject: bool
    artefact: bytes | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Lookup:
    """A party asks for the record (`artefact` False) or for the final artefact's bytes."""

    principal: Principal
    ident: str
    artefact: bool = False


@dataclass(frozen=True, slots=True)
class StatesQuery:
    """A sending peer asks what is higher than it knows: section 5, a11."""

    peer: HostName
    known: Mapping[TransferId, State]
    since: str | None


@dataclass(frozen=True, slots=True)
class StatesNews:
    """Records that are higher than asked, and the cursor to go on from.

    `reset`: the cursor asked for is unknown, page through your own list. `lost`: of `known`, what is not known here.
    """

    records: tuple[Record, ...]
    cursor: str
    reset: bool = False
    lost: tuple[TransferId, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """A peer's revoke or forget of several T. Answer: one Record or None for each T, in order."""

    peer: HostName
    tids: tuple[TransferId, ...]


# ---------------------------------------------------------------- the link asks and tells


@dataclass(frozen=True, slots=True)
class Offer:
    """An open attempt: exact bytes to be sent once, then settled exactly once. `expires_at` in POSIX seconds."""

    peer: HostName
    tid: TransferId
    data: bytes
    expires_at: float
    tries: int = 0
    path: tuple[str, ...] = ()
    """The hosts that handed it on before this one."""


class Attempt(Enum):
    """How an attempt ended (section 5, a10)."""

    NOT_SENT = auto()
    """No byte left this host."""
    NOT_ADMITTED = auto()
    """A complete refusal written by the peer: JSON with T and our note of its epoch."""
    ADMITTED = auto()
    """200, 201, 202 with T and our note of its epoch; `record` is the peer's."""
    ENDED = auto()
    """409, 410, 422 with `final: true`; `record` or `reason` is the peer's."""
    UNKNOWN = auto()
    """Anything else; the attempt stays open."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one Offer. `status`: the HTTP status, `posted_s`: when the request began, where there was one.

    `clock_offset_ms`: how far the peer's clock is ahead of ours, if measured.
    """

    peer: HostName
    tid: TransferId
    attempt: Attempt
    status: int = 0
    record: Record | None = None
    reason: Reason | None = None
    detail: str = ""
    posted_s: float | None = None
    clock_offset_ms: int | None = None
    problem: Problem | None = None
    """What the peer's refusal calls itself."""


@dataclass(frozen=True, slots=True)
class Want:
    """The link can carry more: up to so many due payloads for this peer, oldest deadline first."""

    peer: HostName
    items: int
    limit_bytes: int


@dataclass(frozen=True, slots=True)
class Hello:
    """A fresh answer to /hello: section 8. The engine answers True when payloads may go out under this epoch."""

    peer: HostName
    epoch: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """The peer's record of one of our transfers. Answer: the Record if its artefact should be fetched, else None."""

    peer: HostName
    record: Record
    clock_offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Landing:
    """The artefact's bytes came (or None: not to be had): a15."""

    tid: TransferId
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Debts:
    """What the link owes a peer now. `known`: for the full sweep of states. `next_s`: when to ask again."""

    revoke: tuple[TransferId, ...] = ()
    forget: tuple[TransferId, ...] = ()
    fetch: tuple[TransferId, ...] = ()
    known: Mapping[TransferId, State] = field(default_factory=dict)
    next_s: float = 5.0


# ---------------------------------------------------------------- the operator asks


@dataclass(frozen=True, slots=True)
class Launch:
    """Send this canary to a peer: section 18. `data`: the signed bytes, made by whoever asks."""

    peer: HostName
    data: bytes


@dataclass(frozen=True, slots=True)
class Journey:
    """How far a canary has come. `posted_s`: POSIX seconds when the request with it began, None if that is not known.

    `record` is this host's; a final one tells when the peer stored, claimed and completed it, by the peer's clock.
    """

    record: Record
    posted_s: float | None


# ---------------------------------------------------------------- the engine tells, unasked


@dataclass(frozen=True, slots=True)
class Coming:
    """A payload of so many bytes is being taken for this peer: its Offer follows within moments, or never."""

    peer: HostName
    tid: TransferId
    size: int


@dataclass(frozen=True, slots=True)
class Owed:
    """The link to this peer has something to do: payloads due, a revoke, a forget."""

    peer: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A transfer that came from this peer has a higher state: wake its states polls."""

    peer: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something became claimable for this agent: wake its polls, and run its hook.

    `name` is the file in handoff/; `written_ns`, the file's own time, tells an agent's names apart, which come again.
    """

    agent: str
    name: str
    facts: Facts
    written_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Called:
    """A peer's canary is stored here: the daemon is to `answer` it."""

    tid: TransferId


News = Offer | Coming | Owed | Changed | Waiting | Called
Seen = Mapping[str, Collection[str]]
"""Names that changed, by directory (`handoff`, `claimed`, ...); an empty collection: look at all of it."""
