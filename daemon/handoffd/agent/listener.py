"""The listener: one claim after another, each worked on once.

It knows the order of steps and leaves their doing to the mailbox, the command and the bootstrap. The rule that must
stay true: a claim is durable before its work begins, and work that a crash or a stop cut short is rejected as
`listener_interrupted`, never begun again.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from handoffd.agent.bootstrap import withdraw_bootstrap, write_bootstrap
from handoffd.agent.command import STOPPED, Command
from handoffd.agent.hold import Gone, Hold
from handoffd.agent.mailbox import Claim
from handoffd.agent.wake import POLL_S, Wake
from handoffd.protocol.payload import label

INTERRUPTED = "listener_interrupted: the listener ended before the handoff did"


@dataclass(frozen=True, slots=True)
class Work:
    """What is done with a claim: the bootstrap is written into `state`, then the command runs; either may be absent."""

    now: Callable[[], float]
    command: Command | None = None
    state: Path | None = None

    def do(self, claim: Claim, wake: Wake) -> str | None:
        """Return None when the handoff is completed, else the words of its rejection."""
        if wake.stopping:
            return STOPPED
        try:
            if self.state is not None:
                write_bootstrap(self.state, claim.fields, claim.hold.tid, self.now())
        except FileExistsError:
            return "bootstrap_unread: an earlier bootstrap of this handoff_id has not been read yet"
        except OSError as error:
            return f"bootstrap_failed: {error.filename or self.state}: {error.strerror}"
        if self.command is None:
            return None
        words = self.command.run(claim.data, _environment(claim), claim.hold.lock, wake)
        if words is not None:
            self.undo(claim.hold)
        return words

    def undo(self, hold: Hold) -> None:
        """Take back what no session has used yet."""
        handoff_id, _ = label(hold.data)
        if self.state is not None and handoff_id is not None:
            withdraw_bootstrap(self.state, handoff_id, hold.tid)


class Box(Protocol):
    """Where claims come from and end: a `Mailbox`, or a `Remote` one."""

    def interrupted(self) -> list[Hold]:
        """Return the claims that nobody works on any more."""

    def claim_next(self) -> Claim | None:
        """Claim the oldest handoff that waits."""

    def complete(self, claim: Claim) -> object:
        """End a claim well."""

    def reject(self, claim: Claim | Hold, words: str) -> object:
        """End a claim with a reason."""


class Listener:
    """Claims for one mailbox until it is stopped. The first claim it wins may be its last (`once`)."""

    def __init__(self, mailbox: Box, work: Work, wake: Wake, *, once: bool = False) -> None:
        """Nothing is claimed before `run`."""
        self._mailbox = mailbox
        self._work = work
        self._wake = wake
        self._once = once

    def run(self) -> bool | None:
        """Work until stopped, or once; tell whether the last handoff was completed, None if there was none.

        Raises FlushFailed, OSError.
        """
        completed = None
        while not self._wake.stopping:
            for hold in self._mailbox.interrupted():
                self._work.undo(hold)
                with suppress(Gone):
                    self._mailbox.reject(hold, INTERRUPTED)
            claim = self._mailbox.claim_next()
            if claim is None:
                self._wake.wait(POLL_S)
                continue
            completed = self._carry_out(claim)
            if self._once:
                break
        return completed

    def _carry_out(self, claim: Claim) -> bool:
        words = self._work.do(claim, self._wake)
        try:
            if words is None:
                self._mailbox.complete(claim)
            else:
                self._mailbox.reject(claim, words)
        except Gone:  # which the mailbox has told
            return False
        return words is None


def _environment(claim: Claim) -> dict[str, str]:
    envelope = claim.envelope
    return {
        "HANDOFF_ID": envelope.handoff_id,
        "HANDOFF_TID": envelope.tid,
        "HANDOFF_FROM": envelope.sender,
        "HANDOFF_TO": envelope.to,
        "HANDOFF_CALLER_HASH": envelope.caller_hash,
        "HANDOFF_EXPIRES_AT": envelope.expires_text,
        "HANDOFF_FILE": str(claim.shown),
    }
