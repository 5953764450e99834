"""Judgement: whose a file in handoff/ is, by its bytes, the configuration and the time (docs/custody.md, a2).

It decides and does nothing. The rule that must stay true: route first; only what goes to a peer is held to the limits
and to strict admission, and a file of two local agents is never touched for its contents.
"""

from dataclasses import dataclass, replace

from handoffd.custody.ledger import Facts, facts_seen
from handoffd.custody.tree import Settings
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.payload import Envelope, glance, transfer_id
from handoffd.protocol.reason import Reason
from handoffd.protocol.timing import is_beyond

BEYOND = "expires_at lies further ahead of this host's clock than max_ttl allows; it stays until the clock is right"


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whose a file is.

    `peer`: the `<peer>` it goes to, None: it stays here. `reason`: it ends now; `envelope`: it may go out.
    """

    peer: str | None
    word: str
    expires_at: float | None = None
    envelope: Envelope | None = None
    reason: Reason | None = None
    detail: str = ""
    facts: Facts | None = None


def judge(data: bytes, settings: Settings, now: float) -> Judgement:
    """Tell whose these bytes are: route first, then the limits, then strict admission."""
    try:
        envelope = admit(
            data,
            agents=settings.known_agents,
            max_ttl_s=settings.max_ttl_s,
            limit_bytes=settings.max_payload_bytes,
        )
    except Inadmissible as error:
        return _judge_broken(data, settings, error.detail)
    # What is admitted routes as it says; parsing it once more to route it first would find the same.
    stays = _whose(envelope.sender, envelope.to, envelope.expires_at, settings)
    return stays or _judge_whole(envelope, settings, now)


def _whose(sender: str, to: str, expires_at: float | None, settings: Settings) -> Judgement | None:
    """Return the verdict on a file that stays here, None for one that goes to a peer."""
    if to in settings.agents:
        return Judgement(None, "local", expires_at)
    if sender not in settings.agents:
        return Judgement(None, "foreign", expires_at, detail=f"from_agent {sender[:63]!r} is not local")
    if to not in settings.homes:
        detail = f"nobody knows to_agent {to[:63]!r}; add it under a peer's agents"
        return Judgement(None, "unroutable", expires_at, detail=detail)
    return None


def _judge_whole(envelope: Envelope, settings: Settings, now: float) -> Judgement:
    peer, expires_at = settings.homes[envelope.to], envelope.expires_at
    if now > expires_at:
        return Judgement(peer, "expired", expires_at, envelope, Reason.EXPIRED, "expired before it left")
    if is_beyond(expires_at, now, settings.max_ttl_s):
        return Judgement(None, "beyond", expires_at, detail=BEYOND)
    return Judgement(peer, "remote", expires_at, envelope)


def _judge_broken(data: bytes, settings: Settings, detail: str) -> Judgement:
    way, handoff_id, hmac = glance(data)
    facts = facts_seen(transfer_id(data), way, handoff_id, hmac)
    if way is None:
        return Judgement(None, "odd", detail="no readable to_agent and from_agent", facts=facts)
    expires_at = way.expires_at
    verdict = _whose(way.sender, way.to, expires_at, settings)
    if verdict is not None:
        return replace(verdict, facts=facts)
    peer = settings.homes[way.to]
    if len(data) > settings.max_payload_bytes:
        detail = f"{len(data)} bytes, the limit is {settings.max_payload_bytes}"
        return Judgement(peer, "too_large", expires_at, reason=Reason.TOO_LARGE, detail=detail, facts=facts)
    return Judgement(peer, "broken", expires_at, reason=Reason.MALFORMED, detail=detail, facts=facts)
