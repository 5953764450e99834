"""One agent's mailbox on a hub, for a host without the shared directory: the same steps as `mailbox`, over HTTP.

It knows the hub's calls, and a directory of its own for what a crash must not forget. The rule that must stay true: a
claim is written down, durably, before it is asked for, so that work which a crash cut short is rejected and never
begun again.
"""

import contextlib
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

from handoffd.agent.directory import flush, write_new
from handoffd.agent.hold import Hold, lock_file
from handoffd.agent.hub import POLL_S, Hub, Offered, Refused, Unreachable
from handoffd.agent.mailbox import Claim, Ended
from handoffd.agent.proof import proven
from handoffd.agent.wake import Wake
from handoffd.protocol.admission import Inadmissible
from handoffd.protocol.name import AgentName, FileName, TransferId
from handoffd.protocol.payload import REJECTION_WORDS_LIMIT, route
from handoffd.protocol.reason import State, is_final

PATIENCE_S = 300.0
"""For claim and end: a hub that is being restarted or moved is back by then; a restart of ours asks again."""
LAST_PATIENCE_S = 5.0
"""The same while this listener is being stopped."""
SILENCE_S = 1.0
"""After a poll that was not answered, before the next."""
_NAME = re.compile(r"([0-9a-f]{64})~([0-9a-f]{32})\.json\Z")


class Remote:
    """The agent's side of one hub. `state` holds a file for each claim that has not ended."""

    def __init__(
        self,
        hub: Hub,
        agent: AgentName,
        known: Mapping[str, bytes],
        state: Path,
        wake: Wake,
        *,
        told: Callable[[Ended], None],
        warn: Callable[[str], None],
    ) -> None:
        """`known`: pair secrets by sender; `warn` hears of a hub that is not reached, and that it is again."""
        self._hub, self.agent, self._known = hub, agent, known
        self._state, self._wake = state, wake
        self._told, self._warn = told, warn
        self._silent = False
        state.mkdir(0o700, parents=True, exist_ok=True)
        flush(state.parent, state)
        self._left = [path for path in sorted(state.iterdir()) if _NAME.match(path.name)]

    def interrupted(self) -> list[Hold]:
        """Take over the claims left here that nobody works on any more; reject them, never run them.

        A note may be older than its claim, and its claim be ended: what is not ours to reject is forgotten here.
        """
        left, self._left = self._left, []
        return [hold for path in left if (hold := self._taken_over(path)) is not None]

    def _taken_over(self, path: Path) -> Hold | None:
        lock = lock_file(path)
        if lock is None:
            if path.exists():
                self._left.append(path)
            return None
        hold = _hold(path, lock, path.read_bytes())
        try:
            state = self._state_of(hold)
        except Unreachable as error:
            self._warn(f"{hold.tid[:12]} may be claimed and was not ended, and the hub does not say: {error}")
            hold.release()
            self._left.append(path)
            return None
        if state is None:
            _forget(hold)
        elif state == State.COMPLETED:
            self._close(hold, "")
        else:
            return hold
        return None

    def claim_next(self) -> Claim | None:
        """Claim the oldest handoff that waits for this agent, waiting for one up to POLL_S; None if there was none."""
        try:
            seen = self._hub.poll(POLL_S, agent=self.agent)
            claim = None if seen is None else self._claimed(seen)
        except Unreachable as error:
            self._note_silence(str(error))
            return None
        except Refused as refused:
            if refused.status not in (404, 409, 410):
                raise
            return None  # somebody was first, or its time has passed
        self._note_voice()
        return claim

    def complete(self, claim: Claim) -> None:
        """End it well."""
        self._end(claim.hold, None)

    def reject(self, claim: Claim | Hold, words: str) -> None:
        """End it with a reason; at most 500 characters of it are kept."""
        hold = claim.hold if isinstance(claim, Claim) else claim
        self._end(hold, words[:REJECTION_WORDS_LIMIT] or "rejected")

    def _claimed(self, seen: Offered) -> Claim | None:
        nonce = secrets.token_hex(16)
        path = self._state / f"{seen.tid}~{nonce}.json"
        # Before the hub is asked: an answer that is lost must not leave a claim that nobody knows of.
        write_new(path, seen.data)
        flush(self._state)
        lock = lock_file(path)
        if lock is None:
            return None
        hold = _hold(path, lock, seen.data)
        try:
            self._hub.accept(seen.tid, nonce, self._patience_s())
        except Refused:
            _forget(hold)
            raise
        except Unreachable:
            hold.release()
            self._left.append(path)  # it may be ours by now: for `interrupted`
            raise
        return self._examined(hold)

    def _examined(self, hold: Hold) -> Claim | None:
        found = route(hold.data)
        try:
            envelope = proven(hold.data, found.sender if found else "", self.agent, self._known)
        except Inadmissible as refusal:
            self.reject(hold, refusal.detail)
            return None
        return Claim(hold, envelope, hold.path)

    def _state_of(self, hold: Hold) -> State | None:
        """Return how far it is, None if the hub has not given it to us: it still waits there, or another listener won.

        Raises Unreachable.
        """
        try:
            state = State(self._hub.get(hold.tid, self._patience_s())["state"])
            if state == State.CLAIMED:
                self._hub.accept(hold.tid, _nonce(hold.path), self._patience_s())  # again: the nonce knows its winner
        except Refused as refused:
            if refused.status not in (404, 409, 410):
                raise
            return State.CLAIMED if refused.status == 404 else None  # of 404 its end says the same, and is told
        return state if state == State.CLAIMED or is_final(state) else None

    def _end(self, hold: Hold, words: str | None) -> None:
        """End it at the hub: with words it is rejected."""
        try:
            if words is None:
                self._hub.complete(hold.tid, None, self._patience_s())
            else:
                self._hub.reject(hold.tid, words, self._patience_s())
        except Unreachable as error:
            # Its file stays: the next start of a listener ends it, as interrupted.
            self._warn(f"{hold.tid[:12]} has ended here and the hub does not know yet: {error}")
            hold.release()
            return
        except Refused as refused:
            if refused.status not in (404, 409):
                raise
            words = words or f"the hub had ended it already: {refused.words}"
        self._close(hold, words or "")

    def _close(self, hold: Hold, words: str) -> None:
        found = route(hold.data)
        _forget(hold)
        self._told(Ended(found.handoff_id if found else None, found.sender if found else None, words, hold.path))

    def _patience_s(self) -> float:
        return LAST_PATIENCE_S if self._wake.stopping else PATIENCE_S

    def _note_silence(self, words: str) -> None:
        if self._wake.stopping:
            return
        if not self._silent:
            self._warn(f"{words}; trying again and again")
        self._silent = True
        self._wake.wait(SILENCE_S)

    def _note_voice(self) -> None:
        if self._silent:
            self._warn(f"{self._hub.name} answers again")
        self._silent = False


def _hold(path: Path, lock: int, data: bytes) -> Hold:
    found = _NAME.match(path.name)
    assert found is not None
    return Hold(FileName(path.name), path, lock, data, TransferId(found[1]))


def _nonce(path: Path) -> str:
    found = _NAME.match(path.name)
    assert found is not None
    return found[2]


def _forget(hold: Hold) -> None:
    with contextlib.suppress(FileNotFoundError):
        hold.path.unlink()
    flush(hold.path.parent)
    hold.release()
