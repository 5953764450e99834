"""One agent's mailbox in a shared root: write, claim, complete, reject.

It knows the directory contract (overview.md section 3) and nothing of daemons: the same calls work with and without
one. The rules that must stay true: every step is durable before the next begins, a claim is worked on at most once,
and nothing is claimed past its expiry.
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from handoffd.agent import hold as holds
from handoffd.agent.directory import Directories, first_free, flush, names_for, write_new
from handoffd.agent.draft import Draft, compose
from handoffd.agent.hold import Gone, Hold
from handoffd.agent.proof import proven, secret_for
from handoffd.agent.waiting import Waiting
from handoffd.protocol.admission import Inadmissible
from handoffd.protocol.name import AgentName
from handoffd.protocol.payload import REJECTION_WORDS_LIMIT, Envelope, label, route


@dataclass(frozen=True, slots=True)
class Written:
    """A handoff that is durably in `handoff/`."""

    path: Path
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Claim:
    """A handoff that is ours, admitted and signed by its sender; end it with complete or reject."""

    hold: Hold
    envelope: Envelope
    shown: Path
    """Where people see it: `claimed/X`, or the hidden name if no link could be made."""

    @property
    def data(self) -> bytes:
        """The exact bytes that were verified."""
        return self.hold.data

    @property
    def fields(self) -> Mapping[str, Any]:
        """The payload's fields."""
        found: Mapping[str, Any] = json.loads(self.hold.data)
        return found


@dataclass(frozen=True, slots=True)
class Ended:
    """How a claim ended: `words` are empty when it was completed, else why it was rejected."""

    handoff_id: str | None
    sender: str | None
    words: str
    path: Path


class Mailbox:
    """The agent's side of one shared root. `secrets` are the pair secrets by the other agent's name, or ANYONE."""

    def __init__(
        self,
        root: Path,
        agent: AgentName,
        secrets: Mapping[str, bytes],
        *,
        now: Callable[[], float] = time.time,
        told: Callable[[Ended], None] = lambda ended: None,
    ) -> None:
        """Make missing directories and look for claims that a dead listener left. `told` hears of every end."""
        self.places = Directories(root)
        self.places.make()
        self.agent = agent
        self._secrets = secrets
        self._now = now
        self._told = told
        self._waiting = Waiting(self.places, agent)
        self._left = holds.holds_left(self.places, agent)

    def write_handoff(self, draft: Draft) -> Written:
        """Sign and write a handoff, durably, under a name nobody has. Raises Inadmissible, ValueError, FlushFailed."""
        secret = secret_for(self._secrets, draft.to)
        if secret is None:
            raise ValueError(f"no secret is known for {draft.to}")
        data, envelope = compose(draft, self.agent, secret, self._now())
        paths = (self.places.handoff / f"{envelope.caller_hash}-{seq}.json" for seq in self._sequence(envelope))
        path = first_free(paths, lambda path: write_new(path, data))
        flush(self.places.handoff)
        return Written(path, envelope)

    def claim_next(self) -> Claim | None:
        """Claim the oldest handoff that waits for this agent, durably, or return None.

        What is malformed or not signed by its sender is claimed too, and rejected at once.
        """
        for name in self._waiting.names(self._now()):
            hold = holds.take(self.places, name, self.agent)
            claim = None if hold is None else self._examined(hold)
            if claim is not None:
                return claim
        return None

    def complete(self, claim: Claim, final: bytes | None = None) -> Path:
        """Move the handoff to `archive/`; `final` are its last bytes, such as the payload with more transcript.

        Raises ValueError if `final` does not carry the handoff's own handoff_id and hmac, Gone.
        """
        envelope, hold = claim.envelope, claim.hold
        if final is not None:
            if label(final) != (envelope.handoff_id, envelope.hmac):
                raise ValueError("the final bytes must keep handoff_id and hmac, or nobody can tell whose they are")
            hold = holds.rewrite(self.places, hold, final)
        name = f"{int(self._now())}-{envelope.sender}-{envelope.to}-{envelope.handoff_id}.json"
        targets = names_for(self.places.archive, name, hold.tid)
        path = self._end(hold, targets, lambda path: holds.end(self.places, hold, path))
        self._told(Ended(envelope.handoff_id, envelope.sender, "", path))
        return path

    def reject(self, claim: Claim | Hold, words: str) -> Path:
        """Move the handoff to `rejected/`, its reason beside it; at most 500 characters of it are kept. Raises Gone."""
        hold = claim.hold if isinstance(claim, Claim) else claim
        kept = words[:REJECTION_WORDS_LIMIT]
        targets = names_for(self.places.rejected, hold.name, hold.tid)
        path = self._end(hold, targets, lambda path: self._reject_as(path, hold, kept))
        self._tell(hold, kept, path)
        return path

    def interrupted(self) -> list[Hold]:
        """Take over the claims found at the start that nobody works on any more; reject them, never run them."""
        recovered, busy = [], []
        for path in self._left:
            try:
                recovered.append(holds.recover(path))
            except BlockingIOError:
                busy.append(path)  # another listener of this agent, or a command that outlived its listener
        self._left = busy
        return [hold for hold in recovered if hold is not None]

    def _sequence(self, envelope: Envelope) -> "count[int]":
        # Agents count only what is in handoff/; looking at claimed/ too spares the next claimer a taken name.
        pattern = re.compile(rf"{envelope.caller_hash}-([0-9]{{1,9}})\.json\Z")
        names = [path.name for place in (self.places.handoff, self.places.claimed) for path in place.iterdir()]
        used = (int(found[1]) for found in map(pattern.match, names) if found)
        return count(max(used, default=-1) + 1)

    def _examined(self, hold: Hold) -> Claim | None:
        found = route(hold.data)
        if found is None or found.to != self.agent:
            holds.put_back(self.places, hold)  # a writer exchanged the file while we took it
            return None
        try:
            envelope = proven(hold.data, found.sender, self.agent, self._secrets)
        except Inadmissible as refusal:
            with suppress(Gone):  # which is told
                self.reject(hold, refusal.detail)
            return None
        return Claim(hold, envelope, holds.shown_at(self.places, hold) or hold.path)

    def _end(self, hold: Hold, targets: Iterable[Path], act: Callable[[Path], None]) -> Path:
        try:
            return first_free(targets, act)
        except Gone as gone:
            self._tell(hold, str(gone.strerror), hold.path)
            raise

    def _tell(self, hold: Hold, words: str, path: Path) -> None:
        found = route(hold.data)
        self._told(Ended(found.handoff_id, found.sender, words, path) if found else Ended(None, None, words, path))

    def _reject_as(self, path: Path, hold: Hold, words: str) -> None:
        reason = path.with_name(path.name + ".reason")
        # The reason first: whoever sees the rejected file must find it explained.
        write_new(reason, words.encode(errors="replace") + b"\n")
        flush(path.parent)
        try:
            holds.end(self.places, hold, path)
        except OSError as error:
            if isinstance(error, FileExistsError) or not path.exists():
                reason.unlink(missing_ok=True)  # it would explain another file of this name
            raise
