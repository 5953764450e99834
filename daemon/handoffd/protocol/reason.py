"""States, reasons and problems: the closed lists of custody.md section 9, as data that code, tests and docs read.

It does not know when a transition happens, only which words exist, how they are ordered and what follows from
each. The rule that must stay true: states only rise, finals exclude each other.
"""

from enum import StrEnum


class State(StrEnum):
    """What is known of a handoff; the order is RANK."""

    QUEUED = "queued"
    STORED = "stored"
    LEASED = "leased"
    PUBLISHED = "published"
    CLAIMED = "claimed"
    COMPLETED = "completed"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REVOKED = "revoked"
    REFUSED = "refused"
    UNCERTAIN = "uncertain"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a handoff ended; a closed list."""

    COMPLETED = "completed"
    REJECTED_BY_AGENT = "rejected_by_agent"
    EXPIRED = "expired"
    REVOKED = "revoked"
    MALFORMED = "malformed"
    TOO_LARGE = "too_large"
    UNROUTABLE = "unroutable"
    VARIANT = "variant"
    DUPLICATE = "duplicate"
    REFUSED_POLICY = "refused_policy"
    CONTENT_CHANGED = "content_changed"
    UNCERTAIN_POWER_LOSS = "uncertain_power_loss"
    VANISHED_AT_TARGET = "vanished_at_target"
    PEER_LOST_STATE = "peer_lost_state"
    OUTCOME_UNKNOWN = "outcome_unknown"


class Delivered(StrEnum):
    """What an outcome says about the bytes having reached an agent."""

    NEVER_SENT = "never_sent"
    NOT_DELIVERED = "not_delivered"
    CLAIMED = "claimed"
    UNKNOWN = "unknown"


class Problem(StrEnum):
    """Why an HTTP request was not served; the second closed list."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NOT_HERE = "not_here"
    ALREADY_CLAIMED = "already_claimed"
    NOT_CLAIMED_BY_YOU = "not_claimed_by_you"
    EPOCH_CHANGED = "epoch_changed"
    LOOP = "loop"
    RATE_LIMITED = "rate_limited"
    INVITE_VOID = "invite_void"
    UNAVAILABLE = "unavailable"


_FINAL_RANK = 5
RANK: dict[State, int] = {
    State.QUEUED: 0,
    State.STORED: 1,
    State.LEASED: 2,
    State.PUBLISHED: 3,
    State.CLAIMED: 4,
    **dict.fromkeys(
        (
            State.COMPLETED,
            State.REJECTED,
            State.EXPIRED,
            State.REVOKED,
            State.REFUSED,
            State.UNCERTAIN,
            State.UNKNOWN,
        ),
        _FINAL_RANK,
    ),
}

STATE_OF: dict[Reason, State] = {
    Reason.COMPLETED: State.COMPLETED,
    Reason.REJECTED_BY_AGENT: State.REJECTED,
    Reason.EXPIRED: State.EXPIRED,
    Reason.REVOKED: State.REVOKED,
    Reason.MALFORMED: State.REFUSED,
    Reason.TOO_LARGE: State.REFUSED,
    Reason.UNROUTABLE: State.REFUSED,
    Reason.VARIANT: State.REFUSED,
    Reason.DUPLICATE: State.REFUSED,
    Reason.REFUSED_POLICY: State.REFUSED,
    Reason.CONTENT_CHANGED: State.REFUSED,
    Reason.UNCERTAIN_POWER_LOSS: State.UNCERTAIN,
    Reason.VANISHED_AT_TARGET: State.UNKNOWN,
    Reason.PEER_LOST_STATE: State.UNKNOWN,
    Reason.OUTCOME_UNKNOWN: State.UNKNOWN,
}

HTTP_STATUS: dict[Reason, int] = {
    Reason.COMPLETED: 200,
    Reason.REJECTED_BY_AGENT: 200,
    Reason.EXPIRED: 410,
    Reason.REVOKED: 410,
    Reason.MALFORMED: 422,
    Reason.TOO_LARGE: 413,
    Reason.UNROUTABLE: 422,
    Reason.VARIANT: 409,
    Reason.DUPLICATE: 409,
    Reason.REFUSED_POLICY: 422,
    Reason.CONTENT_CHANGED: 422,
    Reason.UNCERTAIN_POWER_LOSS: 410,
    Reason.VANISHED_AT_TARGET: 410,
    Reason.PEER_LOST_STATE: 410,
    Reason.OUTCOME_UNKNOWN: 410,
}
"""The status a repeated POST of an ended T is answered with (custody.md sections 5 and 6)."""

PROBLEM_STATUS: dict[Problem, int] = {
    Problem.BAD_REQUEST: 400,
    Problem.UNAUTHORIZED: 401,
    Problem.FORBIDDEN: 403,
    Problem.NOT_FOUND: 404,
    Problem.NOT_HERE: 421,
    Problem.ALREADY_CLAIMED: 409,
    Problem.NOT_CLAIMED_BY_YOU: 409,
    Problem.EPOCH_CHANGED: 412,
    Problem.LOOP: 421,
    Problem.RATE_LIMITED: 429,
    Problem.INVITE_VOID: 410,
    Problem.UNAVAILABLE: 503,
}

NOT_DELIVERED = frozenset({Delivered.NEVER_SENT, Delivered.NOT_DELIVERED})
"""What says that no agent has had it, nor can get it."""

ARCHIVED = frozenset({Reason.COMPLETED})
"""Reasons whose payload ends in archive/; every other one ends in rejected/."""


def is_final(state: State) -> bool:
    """Tell whether nothing can follow this state."""
    return RANK[state] == _FINAL_RANK


def rises(old: State, new: State) -> bool:
    """Tell whether new may replace old: strictly higher, and old not final (custody.md section 9)."""
    return RANK[new] > RANK[old]


def delivered_after(reason: Reason, *, claim_seen: bool, sent: bool) -> Delivered:
    """Return what an outcome may say of delivery (custody.md section 9).

    `claim_seen`: an agent was durably seen to have it. `sent`: a byte of it may have left this host, or it was
    admitted here.
    """
    if claim_seen or reason in (Reason.COMPLETED, Reason.REJECTED_BY_AGENT):
        return Delivered.CLAIMED
    if STATE_OF[reason] in (State.UNCERTAIN, State.UNKNOWN) or (reason is Reason.CONTENT_CHANGED and sent):
        return Delivered.UNKNOWN
    return Delivered.NOT_DELIVERED if sent else Delivered.NEVER_SENT
