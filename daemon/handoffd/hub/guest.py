"""Guests of the status page: one-time codes and the sessions they open.

It owns both, in memory alone: a restart ends them all. The rules that must stay true: a code opens one session, once;
and of codes and tokens only the SHA-256 is kept, compared in constant time.
"""

import secrets
from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest
from typing import Final

CODE_S: Final = 300.0
"""A link is opened at once, or made again."""
SESSION_S: Final = 12 * 3_600.0
"""A working day; who wants to look for longer has a viewer's token."""
CODES, SESSIONS = 8, 64
"""The oldest gives way: memory stays bounded, whatever a script does with `handoffd page`."""


class Guests:
    """Codes and sessions. `now_s` is any steady time."""

    def __init__(self) -> None:
        self._codes: dict[str, float] = {}
        self._sessions: dict[str, float] = {}

    def invite(self, now_s: float) -> str:
        """Return a new code of 256 bits, good for CODE_S and for one `enter`."""
        return _remember(self._codes, CODES, now_s + CODE_S)

    def enter(self, code: str, now_s: float) -> str | None:
        """Use up a code; return the token of the session it opens, or None if it is none, used or too old."""
        known = _known(_sha256(code), self._codes)
        if known is None or self._codes.pop(known) < now_s:
            return None
        return _remember(self._sessions, SESSIONS, now_s + SESSION_S)

    def knows(self, digest: str, now_s: float) -> bool:
        """Tell whether a token with this SHA-256 has a session that has not ended."""
        known = _known(digest, self._sessions)
        return known is not None and self._sessions[known] >= now_s


def _remember(kept: dict[str, float], most: int, until_s: float) -> str:
    while len(kept) >= most:
        del kept[next(iter(kept))]
    secret = secrets.token_urlsafe(32)
    kept[_sha256(secret)] = until_s
    return secret


def _sha256(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _known(digest: str, kept: Iterable[str]) -> str | None:
    found = None
    for one in kept:
        if compare_digest(one, digest):
            found = one
    return found
