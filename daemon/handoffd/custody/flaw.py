"""What may be wrong with a root, as data: names that exclude each other, and what each finding means (sections 3, 13).

`handoffd fsck`, the engine's own assertions, tests and docs/fsck.md read these tables. They hold no remedy by machine:
what is broken is shown and left alone. The rule that must stay true: whatever a crash or a power cut may leave is
`unfinished`, never `broken`, for the next start clears it up.
"""

from dataclasses import dataclass
from enum import StrEnum

from handoffd.custody.place import Place


class Grade(StrEnum):
    """How bad a finding is."""

    BROKEN = "broken"
    """No crash, no power cut and no rule leaves this: a defect, a damaged disk or somebody's hand."""
    UNFINISHED = "unfinished"
    """Work that was cut short, or is being done: the daemon's next start, or its next second, finishes it."""
    FOREIGN = "foreign"
    """Not ours; left alone."""


class What(StrEnum):
    """The kinds of findings; FLAWS says what they mean."""

    TWO_TOKENS = "two_tokens"
    TWO_PLACES = "two_places"
    TWO_ROLES = "two_roles"
    TWO_VARIANTS = "two_variants"
    ROUTED_PUBLISHED = "routed_published"
    ENDED_CLAIMABLE = "ended_claimable"
    FALSE_BAD_NEWS = "false_bad_news"
    STRAY = "stray"
    NO_RECEIPT = "no_receipt"
    CHANGED_BYTES = "changed_bytes"
    BAD_OUTCOME = "bad_outcome"
    BAD_NOTE = "bad_note"
    NO_PEER_NOTE = "no_peer_note"
    NOT_A_FILE = "not_a_file"
    NO_DIRECTORY = "no_directory"
    UNACKNOWLEDGED = "unacknowledged"
    LEFTOVER = "leftover"
    IDLE_WISH = "idle_wish"
    UNFINISHED_WRITE = "unfinished_write"
    FOREIGN_NAME = "foreign_name"


@dataclass(frozen=True, slots=True)
class Flaw:
    """One kind of finding. `after_power_cut`: its grade before the start that follows a power cut."""

    grade: Grade
    rule: str
    means: str
    remedy: str
    after_power_cut: Grade


_KEEP = "stop the daemon, keep a copy of the root, and report it: this must not happen"
_HAND = "ask who copied or moved a file by hand; keep both files, and settle it with the other host"
_DISK = "look at the disk and at who wrote there; the other host has bytes or record of the same T"
_WAIT = "nothing; the daemon clears it up"


def _flaw(grade: Grade, rule: str, means: str, remedy: str, after_power_cut: Grade | None = None) -> Flaw:
    return Flaw(grade, rule, means, remedy, after_power_cut or grade)


_B, _U, _F = Grade.BROKEN, Grade.UNFINISHED, Grade.FOREIGN

FLAWS: dict[What, Flaw] = {
    What.TWO_TOKENS: _flaw(_B, "I1", "two names of it can be claimed, or it is claimed and claimable", _HAND, _U),
    What.ENDED_CLAIMABLE: _flaw(_B, "R4", "it has ended, and an agent could still claim it", _HAND, _U),
    What.ROUTED_PUBLISHED: _flaw(_B, "section 11", "what is only passed on here lies in handoff/", _HAND),
    What.STRAY: _flaw(_B, "section 13", "a published name without a receipt: nobody would hear of a claim", _HAND, _U),
    What.TWO_PLACES: _flaw(_B, "R6", "it lies in two places of which one excludes the other", _KEEP, _U),
    What.TWO_ROLES: _flaw(_B, "section 11.3", "this host receives it and sends the same bytes itself", _KEEP),
    What.TWO_VARIANTS: _flaw(_B, "I12", "two payloads of one signed identity were offered to agents", _KEEP),
    What.FALSE_BAD_NEWS: _flaw(_B, "I5", "its outcome says that no agent has it, and one has", _KEEP),
    What.NO_RECEIPT: _flaw(_B, "b4", "a claim or a withdrawn file without the receipt it came by", _DISK),
    What.CHANGED_BYTES: _flaw(_B, "I7", "its bytes do not hash to the T in its name", _DISK),
    What.BAD_OUTCOME: _flaw(_B, "R5", "the final record cannot be read, or is another handoff's", _DISK),
    What.BAD_NOTE: _flaw(_B, "section 3", "a note of the daemon's own cannot be read", _DISK),
    What.NO_PEER_NOTE: _flaw(_B, "I4", "something was sent to a peer whose epoch is not noted", _KEEP),
    What.NOT_A_FILE: _flaw(_B, "a2", "a link, a directory or a device bears a name of the daemon's", _DISK),
    What.NO_DIRECTORY: _flaw(
        _B, "section 3", "a directory is missing, or is not one of its own", "make it, or start the daemon"
    ),
    What.UNACKNOWLEDGED: _flaw(_U, "b4", "received in part; its sender was never told that it is here", _WAIT),
    What.LEFTOVER: _flaw(_U, "R5", "it has ended; the last moves of its files are not made yet", _WAIT),
    What.IDLE_WISH: _flaw(_U, "section 7", "a wish to have back what has ended", _WAIT),
    What.UNFINISHED_WRITE: _flaw(_U, "R2", "a file that was being written", _WAIT),
    What.FOREIGN_NAME: _flaw(
        _F, "section 3", "not a name of the daemon's", "look at it, and remove it if nobody needs it"
    ),
}


@dataclass(frozen=True, slots=True)
class Clash:
    """Names of one handoff that exclude each other: `one` beside any of `others`."""

    what: What
    one: Place
    others: frozenset[Place]


def _clash(what: What, one: Place, *others: Place) -> Clash:
    return Clash(what, one, frozenset(others))


CLASHES: tuple[Clash, ...] = (
    _clash(What.ROUTED_PUBLISHED, Place.ROUTED, Place.PUBLISHED, Place.CLAIMED, Place.ACCEPTED),
    _clash(What.ENDED_CLAIMABLE, Place.OUTCOME, Place.PUBLISHED),
    _clash(What.TWO_TOKENS, Place.PUBLISHED, Place.ARRIVED, Place.PULLED, Place.ACCEPTED, Place.CLAIMED),
    _clash(What.TWO_TOKENS, Place.ARRIVED, Place.PULLED, Place.ACCEPTED, Place.CLAIMED),
    _clash(What.TWO_TOKENS, Place.PULLED, Place.ACCEPTED, Place.CLAIMED),
    _clash(What.TWO_PLACES, Place.RECEIPT, Place.ROUTED),
    _clash(What.TWO_PLACES, Place.OUTBOX, Place.SENT, Place.ARRIVED, Place.PULLED),
    _clash(What.TWO_PLACES, Place.SENT, Place.ARRIVED, Place.PULLED),
    _clash(What.TWO_ROLES, Place.RECEIPT, Place.OUTBOX, Place.SENT),
)
