"""Names that may become part of a path, and the only way from untrusted text to one of them.

Every parser takes what came from outside (a payload, a header, a directory listing) and returns the typed
name or raises `BadName`; nothing else in the daemon builds a path from text. The same parsers read our own
directories back, so a name we would not write is never acted on either.
"""

import re
from typing import NewType

AgentName = NewType("AgentName", str)
HostName = NewType("HostName", str)
FileName = NewType("FileName", str)
TransferId = NewType("TransferId", str)
HandoffId = NewType("HandoffId", str)
Nonce = NewType("Nonce", str)

CANARY_AGENT = AgentName("handoffd-canary")
"""Reserved: no configured agent may bear it; it lives at every daemon (custody.md section 18)."""
CANARY_PEER = f"@{CANARY_AGENT}"
"""`<peer>` of canaries that this host sends itself: whoever waits for their end listens under it."""

_AGENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_HOST = re.compile(r"[a-z0-9][a-z0-9.-]{0,62}\Z")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,122}\.json\Z")
_TRANSFER = re.compile(r"[0-9a-f]{64}\Z")
_HANDOFF = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}\Z")
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_CALLER = re.compile(r"[0-9a-f]{16}\Z")
_PUBLISHED = re.compile(r"([0-9a-f]{16})-r([0-9a-f]{64})\.json\Z")


class BadName(ValueError):
    """The text is not a legal name of its kind; the message says which kind and what is legal."""


def _matcher(pattern: re.Pattern[str], text: object, kind: str) -> str:
    if isinstance(text, str) and pattern.match(text):
        return text
    shown = repr(text)[:80]
    raise BadName(f"{shown} is not a legal {kind}; it must match {pattern.pattern[:-2]}")


def agent_name(text: object) -> AgentName:
    """Return text as an agent's name. Raises BadName."""
    return AgentName(_matcher(_AGENT, text, "agent name"))


def host_name(text: object) -> HostName:
    """Return text as a host's name (a peer's, or our own). Raises BadName."""
    return HostName(_matcher(_HOST, text, "host name"))


def peer_name(text: str) -> str:
    """Return text as `<peer>` in paths: a host, or `@agent` for an agent that speaks HTTP. Raises BadName."""
    return "@" + agent_name(text[1:]) if text.startswith("@") else host_name(text)


def is_peer_name(text: str) -> bool:
    """Tell whether text can stand for `<peer>` in paths."""
    name = text.removeprefix("@")
    return (_AGENT if name != text else _HOST).match(name) is not None


def file_name(text: object) -> FileName:
    """Return text as the name of an agent's file (custody.md section 2, X). Raises BadName."""
    return FileName(_matcher(_FILE, text, "handoff file name"))


def transfer_id(text: object) -> TransferId:
    """Return text as a transfer id, 64 lower-case hex digits. Raises BadName."""
    return TransferId(_matcher(_TRANSFER, text, "transfer id"))


def handoff_id(text: object) -> HandoffId:
    """Return text as a handoff_id, the label file names are made of. Raises BadName."""
    return HandoffId(_matcher(_HANDOFF, text, "handoff_id"))


def nonce(text: object) -> Nonce:
    """Return text as an accept nonce, 1 to 64 of `[A-Za-z0-9_-]`. Raises BadName."""
    return Nonce(_matcher(_NONCE, text, "nonce"))


def is_file_name(text: str) -> bool:
    """Tell whether an agent's file may bear this name and be carried."""
    return _FILE.match(text) is not None


def is_transfer_id(text: str) -> bool:
    """Tell whether text has the form of a transfer id."""
    return _TRANSFER.match(text) is not None


def is_caller_hash(text: object) -> bool:
    """Tell whether text is 16 lower-case hex digits."""
    return isinstance(text, str) and _CALLER.match(text) is not None


def published_name(caller_hash: str, tid: TransferId) -> FileName:
    """Return N, the published name: no agent's counter can generate it (custody.md section 2)."""
    return FileName(f"{caller_hash}-r{tid}.json")


def tid_of_published(name: str) -> TransferId | None:
    """Return T if the name has the form of a published name, else None."""
    found = _PUBLISHED.match(name)
    return TransferId(found[2]) if found else None


def suffixed(name: str, tid: TransferId) -> FileName:
    """Return the name to use when `name` is taken: `stem.r{T12}.json`, cut so that it stays legal."""
    stem = name.removesuffix(".json")[:100]
    return FileName(f"{stem}.r{tid[:12]}.json")


def outbox_name(tid: TransferId, name: FileName) -> str:
    """Return `T~X`, the name of a file in our custody."""
    return f"{tid}~{name}"


def parse_outbox(text: str) -> tuple[TransferId, FileName]:
    """Split `T~X`. Raises BadName."""
    tid, _, rest = text.partition("~")
    return transfer_id(tid), file_name(rest)


TAKING = "taking."


def taking_name(salt: str, name: FileName) -> str:
    """Return `taking.<nonce>~X`: just taken, not yet read."""
    return f"{TAKING}{salt}~{name}"


def parse_taking(text: str) -> FileName | None:
    """Return X of `taking.<nonce>~X`, or None if the name is not of this form."""
    head, _, rest = text.partition("~")
    return FileName(rest) if head.startswith(TAKING) and is_file_name(rest) else None


ROUTED = ".routed"


def routed_name(name: str) -> str:
    """Return `N.routed`, the receipt of what this host only forwards."""
    return name + ROUTED


def accepted_name(name: FileName, agent: AgentName, salt: Nonce) -> str:
    """Return `N.accepted~<agent>~<nonce>`: claimed over HTTP, and by whom."""
    return f"{name}.accepted~{agent}~{salt}"


def parse_accepted(text: str) -> tuple[FileName, AgentName, Nonce] | None:
    """Split `N.accepted~<agent>~<nonce>`, or None if the name is not of this form."""
    name, mark, rest = text.partition(".accepted~")
    agent, tilde, salt = rest.partition("~")
    if not (mark and tilde and _PUBLISHED.match(name) and _AGENT.match(agent) and _NONCE.match(salt)):
        return None
    return FileName(name), AgentName(agent), Nonce(salt)
