"""A handoff that was written before, found again in the four directories so that it can be sent once more.

It knows files, labels and signatures; what is written anew, `draft` composes. The rule that must stay true: nothing is
signed anew that was not signed with the same secret before, so a file that somebody rewrote is never sent on.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from handoffd.agent.directory import Directories, open_regular, read_all
from handoffd.agent.draft import Draft
from handoffd.protocol.admission import REQUIRED, admit
from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import Envelope, label, transfer_id
from handoffd.protocol.signature import verify
from handoffd.protocol.timing import MAX_TTL_LIMIT_S, PAYLOAD_LIMIT_BYTES, ROUTE_LIMIT_BYTES

LINK_FIELD = "resend_of"
"""The field of the new payload, signed like the rest: `{"handoff_id": …, "tid": …}` of the old one."""
SHORTEST_PREFIX = 8
"""Digits of T that a person must give, as everywhere."""
_CERTAIN = frozenset({"never_sent", "not_delivered"})


class NotFound(Exception):
    """No file here bears this name; the message says where was looked."""


class NotSigned(Exception):
    """Every file of this name was rewritten or signed with another secret."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """An earlier handoff: its exact bytes and the file they were found in."""

    path: Path
    envelope: Envelope
    fields: Mapping[str, Any]

    @property
    def tid(self) -> TransferId:
        """T of the old one."""
        return self.envelope.tid

    @property
    def ttl_s(self) -> float:
        """The lifetime it had, in seconds."""
        return self.envelope.expires_at - self.envelope.initiated_at

    def is_certainly_unclaimed(self) -> bool:
        """Tell whether the record beside it proves that no agent has had it."""
        try:
            record = json.loads(self.path.with_name(self.path.name + ".reason").read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(record, dict) and record.get("tid") == self.tid and record.get("delivered") in _CERTAIN

    def draft(self, ttl_s: float, reason: str | None) -> Draft:
        """Return what is to be written anew: all it said, and where it comes from."""
        carried = {key: value for key, value in self.fields.items() if key not in _WRITTEN_ANEW}
        link = {"handoff_id": self.fields["handoff_id"], "tid": self.tid}
        return Draft(
            to=self.fields["to_agent"],
            reason=self.fields["reason"] if reason is None else reason,
            transcript=self.fields["transcript"],
            summary=self.fields.get("context_summary"),
            caller_hash=self.fields["caller_hash"],
            ttl_s=ttl_s,
            extra={**carried, LINK_FIELD: link},
        )


class Several(Exception):
    """More than one handoff bears this name; `found` are all of them, newest first."""

    def __init__(self, found: Sequence[Earlier]) -> None:
        super().__init__(f"{len(found)} handoffs bear this name")
        self.found = tuple(found)


_WRITTEN_ANEW = frozenset({*REQUIRED, "context_summary", "hmac", LINK_FIELD})


def find_earlier(places: Directories, ident: str, secret: bytes) -> Earlier:
    """Return the handoff of this T, prefix of T, handoff_id or path.

    Raises NotFound, NotSigned, Several, Inadmissible.
    """
    named: dict[TransferId, Earlier] = {}
    altered: list[Path] = []
    for path in _by_age(_candidates(places, ident)):
        data = _content(path)
        if not _is_meant(path, data, ident):
            continue
        if verify(data, secret):
            earlier = _earlier(path, data)
            named[earlier.tid] = earlier
        else:
            altered.append(path)
    if len(named) > 1:
        raise Several(list(named.values())[::-1])
    if named:
        return next(iter(named.values()))
    if altered:
        raise NotSigned(f"{altered[-1]} was signed with another secret, or rewritten since it was signed")
    raise NotFound(f"{ident}: no such handoff in handoff/, claimed/, archive/ or rejected/ of {places.root}")


def _earlier(path: Path, data: bytes) -> Earlier:
    fields = json.loads(data)
    pair = (str(fields.get("from_agent")), str(fields.get("to_agent")))
    envelope = admit(data, agents=pair, max_ttl_s=MAX_TTL_LIMIT_S, limit_bytes=PAYLOAD_LIMIT_BYTES)
    return Earlier(path, envelope, fields)


def _candidates(places: Directories, ident: str) -> Iterator[Path]:
    if os.sep in ident:
        yield Path(ident)
        return
    for directory in (places.handoff, places.claimed, places.archive, places.rejected):
        yield from (directory / name for name in os.listdir(directory) if not name.endswith((".reason", ".tmp")))


def _by_age(paths: Iterator[Path]) -> list[Path]:
    dated: list[tuple[int, Path]] = []
    for path in paths:
        try:
            dated.append((path.lstat().st_mtime_ns, path))
        except FileNotFoundError:
            continue
    return [path for _, path in sorted(dated)]


def _content(path: Path) -> bytes:
    fd = open_regular(path)
    if fd is None:
        return b""
    try:
        return read_all(fd, ROUTE_LIMIT_BYTES)
    finally:
        os.close(fd)


def _is_meant(path: Path, data: bytes, ident: str) -> bool:
    if os.sep in ident:
        return bool(data)
    # A search of the bytes before they are parsed: an archive holds thousands.
    if ident.encode(errors="replace") in data and label(data)[0] == ident:
        return True
    return len(ident) >= SHORTEST_PREFIX and transfer_id(data).startswith(ident)
