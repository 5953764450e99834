"""What is said on a pull link, and what it makes of the engine: values only, no behaviour (docs/custody.md section 11).

The visitor is the peer that dials in; the lender is the host it dials. The first half is what the lender's hub hands to
its engine, the second what the visitor's link asks of its own.
"""

from dataclasses import dataclass

from handoffd.custody.message import Answer
from handoffd.protocol.name import HostName, TransferId
from handoffd.protocol.record import Record

# ---------------------------------------------------------------- at the lender


@dataclass(frozen=True, slots=True)
class Welcome:
    """A visitor's second hello, proved fresh by its challenge, which names the session. Answer: True if accepted."""

    peer: HostName
    epoch: str
    session: str


@dataclass(frozen=True, slots=True)
class Telling:
    """A visitor's poll: its own levels upward. `more`: it goes on telling all it has; `epoch` is the visitor's.

    `clock_offset_ms`: how far its clock is ahead of ours, if measured.
    """

    peer: HostName
    epoch: str
    session: str
    records: tuple[Record, ...] = ()
    more: bool = False
    clock_offset_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the lender wants of the visitor. `refused`: this epoch or this session is not the visitor's.

    `failed`: what was told could not be taken in, tell it again. `next_s`: seconds after which there may be new wishes
    though nothing changed.
    """

    take: tuple[TransferId, ...] = ()
    verdict: tuple[TransferId, ...] = ()
    forget: tuple[TransferId, ...] = ()
    refused: bool = False
    failed: bool = False
    next_s: float = 60.0

    def __bool__(self) -> bool:
        """Whether there is something to be said at once."""
        return bool(self.take or self.verdict or self.forget or self.refused or self.failed)


@dataclass(frozen=True, slots=True)
class Lease:
    """A visitor's wish to be handed these; `epoch` is its own, the durable nonce of the lease."""

    peer: HostName
    epoch: str
    tids: tuple[TransferId, ...]


@dataclass(frozen=True, slots=True)
class Parcel:
    """What one T of a lease is answered. 200: `answer.data` are its bytes, `path` the hosts that handed it on."""

    answer: Answer
    path: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Leased:
    """The answer to a lease; what did not fit is left out. `refused`: the epoch is not the visitor's."""

    parcels: tuple[Parcel, ...] = ()
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Bring:
    """A visitor's final artefact, before it tells the final. Answer: 200, 404, 412, 413 or 503."""

    peer: HostName
    epoch: str
    tid: TransferId
    data: bytes


# ---------------------------------------------------------------- at the visitor


@dataclass(frozen=True, slots=True)
class Untold:
    """The link asks what to tell a peer: what changed after `since` (0: all there is), and these besides."""

    peer: HostName
    since: int
    again: tuple[TransferId, ...] = ()


@dataclass(frozen=True, slots=True)
class Tidings:
    """What to tell, the number to go on from, and whether there is more already."""

    records: tuple[Record, ...]
    number: int
    more: bool = False


@dataclass(frozen=True, slots=True)
class Received:
    """What became of leased bytes. `told`: a final that stands in no file and is told as it is; `later`: ask again."""

    tid: TransferId
    told: Record | None = None
    later: bool = False
