"""The signature between two agents: HMAC-SHA256 over canonical JSON (protocol version 1).

It belongs to the agents' side. A daemon holds no secret and never imports this module: it can carry a handoff, not
forge one. The rule that must stay true: what is signed is exactly what Python's `json.dumps` makes of all fields but
`hmac`, keys sorted, no spaces, non-ASCII escaped; every existing agent computes the same.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping

_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


def canonical(fields: Mapping[str, object]) -> bytes:
    """Return the signed bytes of a payload's fields; `hmac` itself is left out.

    Raises TypeError for values that JSON has no form for.
    """
    signed = {key: value for key, value in fields.items() if key != "hmac"}
    return _CANONICAL.encode(signed).encode("ascii")


def sign(fields: Mapping[str, object], secret: bytes) -> str:
    """Return the `hmac` field for these fields: 44 characters of base64."""
    digest = hmac.digest(secret, canonical(fields), hashlib.sha256)
    return base64.b64encode(digest).decode("ascii")


def verify(data: bytes, secret: bytes) -> bool:
    """Tell whether the payload's own hmac is right, in constant time; False for anything unreadable."""
    try:
        fields = json.loads(data)
        if not isinstance(fields, dict):
            return False
        expected = sign(fields, secret).encode()
    except (ValueError, RecursionError):
        return False
    claimed = fields.get("hmac")
    return isinstance(claimed, str) and hmac.compare_digest(claimed.encode(errors="replace"), expected)
