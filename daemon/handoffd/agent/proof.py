"""Whether a payload is what its sender signed: admitted by the contract's rules, then verified with the pair's secret.

It knows no file and no hub. The rule that must stay true: nothing is worked on that did not pass here.
"""

from collections.abc import Mapping

from handoffd.agent.secret import ANYONE
from handoffd.protocol.admission import Inadmissible, admit
from handoffd.protocol.payload import Envelope
from handoffd.protocol.signature import verify
from handoffd.protocol.timing import MAX_TTL_LIMIT_S, PAYLOAD_LIMIT_BYTES


def secret_for(secrets: Mapping[str, bytes], other: str) -> bytes | None:
    """Return the pair secret shared with an agent, None if there is none."""
    return secrets.get(other, secrets.get(ANYONE))


def proven(data: bytes, sender: str, agent: str, secrets: Mapping[str, bytes]) -> Envelope:
    """Return the envelope of a payload from `sender` to `agent`. Raises Inadmissible, its words fit for a rejection."""
    pair = (sender, agent)
    try:
        envelope = admit(data, agents=pair, max_ttl_s=MAX_TTL_LIMIT_S, limit_bytes=PAYLOAD_LIMIT_BYTES)
    except Inadmissible as refusal:
        raise Inadmissible(f"malformed: {refusal.detail}") from None
    secret = secret_for(secrets, sender)
    if secret is None:
        raise Inadmissible(f"bad_hmac: no secret is known for {sender}")
    if not verify(data, secret):
        raise Inadmissible(f"bad_hmac: not signed with the secret shared with {sender}")
    return envelope
