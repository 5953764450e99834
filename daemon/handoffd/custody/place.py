"""Every legal name under a root and every legal set of names of one handoff, as data (custody.md sections 3 and 13).

Views, tests and docs/directories.md read these tables. They hold no rule for a crash or an expiry: what follows is
the engine's to decide. The rule that must stay true: a name that is in no table is nobody's, and is left alone.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from handoffd.protocol.reason import State


class Role(StrEnum):
    """What this host is to a handoff."""

    SENDER = "sender"
    RECEIVER = "receiver"
    RELAY = "relay"
    LOCAL = "local"


class Place(StrEnum):
    """A kind of name; PLACES says where it is found and what it means."""

    UNTAKEN = "untaken"
    TAKING = "taking"
    OUTBOX = "outbox"
    SENT = "sent"
    VIEW = "view"
    ARRIVED = "arrived"
    RECEIPT = "receipt"
    ROUTED = "routed"
    PUBLISHED = "published"
    ACCEPTED = "accepted"
    CLAIMED = "claimed"
    ELSEWHERE = "elsewhere"
    PULLED = "pulled"
    OUTCOME = "outcome"
    PASSED_PAYLOAD = "payload"
    PASSED_ARTEFACT = "artefact"


PLACES: dict[Place, tuple[str, str]] = {
    Place.UNTAKEN: ("handoff/X", "an agent's file, not in custody: for an agent of this host, or not taken yet"),
    Place.TAKING: ("relay/outbox/<peer>/taking.<nonce>~X", "just taken, not yet read"),
    Place.OUTBOX: ("relay/outbox/<peer>/T~X", "in custody; the peer has not said that it has it"),
    Place.SENT: ("relay/sent/<peer>/T~X", "the peer has it; kept until the final outcome"),
    Place.VIEW: ("claimed/X", "a copy for the sender's eyes: claimed at the peer (`stem.r{T12}.json` if X is taken)"),
    Place.ARRIVED: ("relay/inbox/<peer>/N.new", "received, not yet published"),
    Place.RECEIPT: ("relay/inbox/<peer>/N", "this host has had custody of T; a hard link to the file agents see"),
    Place.ROUTED: (
        "relay/inbox/<peer>/N.routed",
        "this host has had custody of T and only forwards it; it is never published here",
    ),
    Place.PUBLISHED: ("handoff/N", "claimable"),
    Place.ACCEPTED: ("relay/inbox/<peer>/N.accepted~<agent>~<nonce>", "claimed over HTTP, and by whom"),
    Place.CLAIMED: ("claimed/N", "claimed by rename (beside `N.accepted~…`: a copy, and no evidence)"),
    Place.ELSEWHERE: ("(the receipt's link count is 2)", "an agent holds the file under some other name"),
    Place.PULLED: ("relay/inbox/<peer>/N.pulled", "taken back from handoff/ before anybody claimed it"),
    Place.OUTCOME: ("relay/outcome/T.json", "final, whatever our role was; tombstones too"),
    Place.PASSED_PAYLOAD: ("relay/outcome/T.payload", "relay: a payload that has ended, until forgotten"),
    Place.PASSED_ARTEFACT: ("relay/outcome/T.artefact", "relay: a final artefact passing through, until forgotten"),
}


@dataclass(frozen=True, slots=True)
class Legal:
    """A legal set of names of one handoff. `word` is its state, or what to call it where no state applies."""

    needs: frozenset[Place]
    role: Role | None
    state: State | None
    word: str
    means: str
    at_start: str
    after_power_cut: str = "same"


def _legal(needs: Collection[Place], role: Role | None, known: State | str, *words: str) -> Legal:
    state = known if isinstance(known, State) else None
    return Legal(frozenset(needs), role, state, str(known), *words)


_UNCERTAIN = "outcome `uncertain_power_loss`"

LEGAL: tuple[Legal, ...] = (
    _legal(
        [Place.OUTCOME],
        None,
        "ended",
        "final; the outcome holds state and reason, any other name of T is a leftover",
        "remove leftovers or finish their moves, forget",
    ),
    _legal([Place.ROUTED, Place.SENT], Role.RELAY, State.LEASED, "the next host may have the bytes", "ask it"),
    _legal(
        [Place.ROUTED, Place.OUTBOX],
        Role.RELAY,
        State.STORED,
        "waits for the next host",
        "offer; to one that is pushed to it may have gone: send again, past expires_at: revoke",
    ),
    _legal(
        [Place.ROUTED, Place.PULLED],
        Role.RELAY,
        State.STORED,
        "withdrawn before it was forwarded; no outcome yet",
        "outcome `expired` or `revoked`",
    ),
    _legal([Place.ROUTED, Place.ARRIVED], Role.RELAY, State.STORED, "in custody, not yet forwarded", "forward"),
    _legal(
        [Place.ROUTED],
        Role.RELAY,
        State.STORED,
        "somebody removed the file it stands for",
        "look three times, then `vanished_at_target`",
        "link it as `N.new` again, forward",
    ),
    _legal([Place.RECEIPT, Place.ACCEPTED], Role.RECEIVER, State.CLAIMED, "claimed over HTTP", "observe, report"),
    _legal([Place.RECEIPT, Place.CLAIMED], Role.RECEIVER, State.CLAIMED, "claimed by rename", "observe, report"),
    _legal(
        [Place.RECEIPT, Place.PUBLISHED],
        Role.RECEIVER,
        State.PUBLISHED,
        "an agent can see it",
        "observe",
        f"pull, then {_UNCERTAIN}",
    ),
    _legal(
        [Place.RECEIPT, Place.PULLED],
        Role.RECEIVER,
        State.STORED,
        "withdrawn before anybody claimed it; no outcome yet",
        "outcome `expired` or `revoked`",
        _UNCERTAIN,
    ),
    _legal(
        [Place.RECEIPT, Place.ARRIVED],
        Role.RECEIVER,
        State.STORED,
        "in custody, not yet published",
        "publish",
        f"{_UNCERTAIN}, file to rejected/",
    ),
    _legal(
        [Place.RECEIPT, Place.ELSEWHERE],
        Role.RECEIVER,
        State.CLAIMED,
        "an agent holds it under some other name",
        "observe, report",
    ),
    _legal(
        [Place.RECEIPT],
        Role.RECEIVER,
        State.PUBLISHED,
        "was published; its file is nowhere to be seen",
        "look three times, then `vanished_at_target`",
        _UNCERTAIN,
    ),
    _legal([Place.ARRIVED], Role.RECEIVER, "arriving", "never acknowledged to its sender", "delete"),
    _legal([Place.PUBLISHED], Role.RECEIVER, "stray", "a published name without a receipt", "quarantine"),
    _legal([Place.SENT, Place.VIEW], Role.SENDER, State.CLAIMED, "an agent of the peer has it", "ask for states"),
    _legal([Place.SENT], Role.SENDER, State.STORED, "the peer has it, at the least stored", "ask for states"),
    _legal(
        [Place.OUTBOX],
        Role.SENDER,
        State.QUEUED,
        "in custody; after a restart it counts as maybe sent",
        "send again; past expires_at: revoke",
    ),
    _legal([Place.TAKING], Role.SENDER, State.QUEUED, "a take was interrupted", "go on with the take"),
    _legal([Place.UNTAKEN], Role.LOCAL, "untaken", "not in custody", "take, or leave alone"),
)
"""Furthest place first (R6): the first row whose names are all there says what is known."""


LENT = _legal(
    [Place.SENT],
    Role.SENDER,
    State.LEASED,
    "the peer dials in, and may have the bytes",
    "offer again unless told",
)
"""What sent/ alone says of a peer whose note tells that it pulls (docs/custody.md section 11.3)."""


def legal_for(places: Collection[Place]) -> Legal | None:
    """Return the row these names of one handoff make, or None if they are legal in no combination."""
    return next((row for row in LEGAL if row.needs <= set(places)), None)
