"""Refusals: what a request is told when it is not served, as problem details (RFC 9457).

It owns the sentence and the status of each reason and knows no request. The rule that must stay true: a refusal
raised here was decided before custody was asked, so it may say for certain that nothing was done.
"""

from collections.abc import Mapping

from handoffd.protocol.reason import PROBLEM_STATUS, Problem, Reason

SENTENCE: dict[Problem | Reason, str] = {
    Problem.BAD_REQUEST: "The request cannot be understood.",
    Problem.UNAUTHORIZED: "A valid bearer token is needed: send `Authorization: Bearer <token>`.",
    Problem.FORBIDDEN: "This token may not do that.",
    Problem.NOT_FOUND: "Nothing of that name is known to you here.",
    Problem.NOT_HERE: "The agent it is addressed to is neither at home here nor routed.",
    Problem.ALREADY_CLAIMED: "Another claimer was first.",
    Problem.NOT_CLAIMED_BY_YOU: "Only the agent that claimed it may end it.",
    Problem.EPOCH_CHANGED: "This host's tree has another epoch; ask /api/v1/hello for it.",
    Problem.LOOP: "The payload has been here before; the routes form a circle.",
    Problem.RATE_LIMITED: "Too much at once; try again after the time in Retry-After.",
    Problem.INVITE_VOID: "The invite cannot be used; the detail says why. Make a new one.",
    Problem.UNAVAILABLE: "The daemon cannot serve this now; try again.",
    Reason.COMPLETED: "It was completed.",
    Reason.REJECTED_BY_AGENT: "The agent rejected it.",
    Reason.EXPIRED: "Its expires_at has passed.",
    Reason.REVOKED: "Its sender took it back.",
    Reason.MALFORMED: "The payload breaks a rule of admission.",
    Reason.TOO_LARGE: "The body is larger than this call takes.",
    Reason.UNROUTABLE: "No route leads to the agent it is addressed to.",
    Reason.VARIANT: "Another payload with the same signed identity is known.",
    Reason.DUPLICATE: "The same payload is known already.",
    Reason.REFUSED_POLICY: "This host does not admit it.",
    Reason.CONTENT_CHANGED: "The bytes on disk are no longer those that were taken.",
    Reason.UNCERTAIN_POWER_LOSS: "A power cut left it uncertain whether an agent had it.",
    Reason.VANISHED_AT_TARGET: "Its file disappeared at the target.",
    Reason.PEER_LOST_STATE: "The peer lost its tree while it had this handoff.",
    Reason.OUTCOME_UNKNOWN: "Its outcome could not be learnt.",
}

TOO_LARGE_STATUS = 413
METHOD_STATUS = 405


class Refused(Exception):
    """A request that is not served; nothing was asked of custody. `closes`: the connection ends with the answer.

    `status` is the reason's own (protocol/reason.py) unless given. `fields` join the problem's JSON.
    """

    def __init__(
        self,
        reason: Problem | Reason,
        detail: str = "",
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        fields: Mapping[str, object] | None = None,
        closes: bool = False,
    ) -> None:
        super().__init__(detail or SENTENCE[reason])
        self.reason = reason
        self.detail = str(self)
        self.status = status or (PROBLEM_STATUS[reason] if isinstance(reason, Problem) else TOO_LARGE_STATUS)
        self.headers = headers or {}
        self.fields = fields or {}
        self.closes = closes


def bad_request(detail: str) -> Refused:
    """Return the refusal of a request that cannot be understood; `detail` names the place."""
    return Refused(Problem.BAD_REQUEST, detail)


def unauthorized_any_more() -> Refused:
    """Return the refusal of a request whose token was taken away after it had passed the door."""
    return Refused(Problem.UNAUTHORIZED, "This token is accepted no more.", closes=True)


def too_large(limit_bytes: int) -> Refused:
    """Return the refusal of a body over the limit. The rest of it is not read."""
    return Refused(Reason.TOO_LARGE, f"The body is larger than the {limit_bytes} bytes this call takes.", closes=True)


def rate_limited(wait_s: float, detail: str) -> Refused:
    """Return the refusal of a request too many; `wait_s` is rounded up to whole seconds, at least one."""
    return Refused(Problem.RATE_LIMITED, detail, headers={"Retry-After": str(max(1, -int(-wait_s // 1)))})
