"""The conversation of a pairing: what is said in which order, each step proved with the invite's secret.

It owns the proofs and knows neither terms nor network. The rules that must stay true: the secret is never part of a
message; a proof covers everything that was said before it, so no step of another conversation fits; and the two sides'
proofs are made with different keys, so that none can be sent back.
"""

import json
from enum import StrEnum
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Any, Final

MESSAGE_LIMIT: Final = 16_000
"""Characters of one message: a certificate has about 700."""
_PURPOSE: Final = "handoffd pairing 1"


class Step(StrEnum):
    """What is said, in this order: the joining host says the first and the third."""

    JOIN = "join"
    OFFER = "offer"
    CONFIRM = "confirm"
    DONE = "done"


class WrongProof(Exception):
    """A message was not made with this invite's secret, or does not follow what was said before."""

    def __str__(self) -> str:
        """Return the words."""
        return "its proof is wrong"


class Conversation:
    """One side's memory of what was said."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret
        self._said = sha256()

    def say(self, step: Step, fields: dict[str, Any]) -> dict[str, str]:
        """Return a message as it is sent, and remember it."""
        message = json.dumps(fields)
        proof = self._proof(step, message)
        self._remember(step, message)
        return {"step": step.value, "message": message, "proof": proof}

    def hear(self, step: Step, sent: dict[str, Any]) -> dict[str, Any]:
        """Return what a message says, and remember it. Raises WrongProof; then nothing is remembered."""
        message, proof = sent.get("message"), sent.get("proof")
        if sent.get("step") != step or not isinstance(message, str) or not isinstance(proof, str):
            raise WrongProof
        if len(message) > MESSAGE_LIMIT or not _equal(self._proof(step, message), proof):
            raise WrongProof
        fields = _read(message)
        if not isinstance(fields, dict):
            raise WrongProof
        self._remember(step, message)
        return fields

    def _proof(self, step: Step, message: str) -> str:
        key = digest(self._secret, f"{_PURPOSE} {step}".encode(), "sha256")
        return digest(key, self._said.digest() + message.encode(), "sha256").hex()

    def _remember(self, step: Step, message: str) -> None:
        self._said.update(f"{step} {len(message)}\n{message}\n".encode())


def _read(message: str) -> object:
    try:
        return json.loads(message)
    except (ValueError, RecursionError):
        raise WrongProof from None


def _equal(ours: str, theirs: str) -> bool:
    return compare_digest(ours.encode(), theirs.encode("utf-8", "surrogatepass"))
