"""Open invites: a letter box between a stranger who knocks and the command on this host that made the invite.

It owns how long an invite lives and how many wrong tries it survives; it knows neither the secret nor what is said, so
proofs are made and checked by that command alone. Everything here runs on the event loop. The rules that must stay
true: an invite ends once, and is no use afterwards; every knock that comes to nothing is told to the journal and to the
commands that wait; strangers cannot make this grow.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from handoffd.hub.limit import Bucket
from handoffd.hub.notifier import Caller, settle
from handoffd.hub.refusal import Refused, rate_limited
from handoffd.protocol.reason import Problem

WRONG_TRIES: Final = 5
"""After so many an invite is dead. With 128 bits nobody guesses; whoever tries shall be noticed and stopped."""
MOST_OPEN: Final = 16
ANSWER_S: Final = 30.0
"""A knock waits so long for the command, which meanwhile may try the stranger's addresses and write files."""
NEXT_S: Final = 25.0
SILENT_S: Final = 15.0
"""A command asks again at once; one that neither asks nor answers for so long was killed between two questions."""
_ENDED_KEPT: Final = 64
_KNOCKS: Final = (2.0, 10)
"""Knocks a second, and at once, of all strangers together: pairing takes two."""
_TALES: Final = (1 / 60, 10)
"""Knocks at no invite that are told to the journal, a second and at once: a stranger must not fill it."""

WORDS: Final = {
    "used": "it was used already",
    "expired": "it has expired",
    "withdrawn": "it was withdrawn: the command that made it has ended",
    "wrong_tries": f"it is dead after {WRONG_TRIES} wrong tries",
    "failed": "it ended in a failure on the inviting host, which was told there",
}
"""Why an invite ended; a closed list."""

Tell = Callable[..., None]


@dataclass(slots=True)
class _Invite:
    peer: str
    until_s: float
    wrong: int = 0
    knock: "tuple[str, dict[str, Any], asyncio.Future[dict[str, Any]]] | None" = None
    taken: bool = False
    notes: deque[str] = field(default_factory=lambda: deque(maxlen=WRONG_TRIES))
    waiter: "asyncio.Future[None] | None" = None
    silence: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        if self.waiter is not None:
            settle(self.waiter)


class Invites:
    """The invites of this host. `tell` writes a line of the journal."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._open: dict[str, _Invite] = {}
        self._ended: OrderedDict[str, tuple[str, str]] = OrderedDict()
        self._knocks: Bucket | None = None
        self._tales: Bucket | None = None

    # ------------------------------------------------------------ for the command that made it

    def open(self, ident: str, peer: str, lifetime_s: float) -> None:
        """Begin to take knocks. Raises Refused."""
        self._expire()
        if len(self._open) >= MOST_OPEN:
            raise Refused(Problem.BAD_REQUEST, f"{MOST_OPEN} invites are open already; let some end first.")
        if ident in self._open or ident in self._ended:
            raise Refused(Problem.BAD_REQUEST, "There is an invite of this name already.")
        self._open[ident] = _Invite(peer, _now() + lifetime_s)
        self._listen_for(ident)
        self._tell("invited", peer=peer, detail=f"invite {ident}, good for {lifetime_s:g} s")

    async def next(self, ident: str, caller: Caller, wait_s: float) -> dict[str, Any]:
        """Return what came for this invite: `knock` with `origin`, `notes`, or how it `ended`; nothing after `wait_s`.

        A caller that leaves while it waits, or asks no more, has ended: the invite is withdrawn.
        """
        self._heard(ident)
        try:
            return await self._next(ident, caller, wait_s)
        finally:
            self._listen_for(ident)

    async def _next(self, ident: str, caller: Caller, wait_s: float) -> dict[str, Any]:
        until_s = _now() + min(wait_s, NEXT_S)
        while True:
            self._expire()
            if ident in self._ended:
                return {"ended": self._ended[ident][0]}
            invite = self._found(ident)
            if invite.knock is not None and not invite.taken:
                invite.taken = True
                return {"origin": invite.knock[0], "knock": invite.knock[1]}
            if invite.notes:
                notes = list(invite.notes)
                invite.notes.clear()
                return {"notes": notes}
            if _now() >= until_s:
                return {}
            await self._wait(invite, caller, min(until_s, invite.until_s))
            if caller.gone:
                self.end(ident, "withdrawn")

    async def _wait(self, invite: _Invite, caller: Caller, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        waiter = invite.waiter = caller.waiter = loop.create_future()
        timer = loop.call_at(until_s, settle, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            invite.waiter = caller.waiter = None

    def _heard(self, ident: str) -> None:
        invite = self._open.get(ident)
        if invite is not None and invite.silence is not None:
            invite.silence.cancel()

    def _listen_for(self, ident: str) -> None:
        """From now on the command has to be heard of; while it makes up an answer, whoever knocks waits for it."""
        self._heard(ident)
        invite = self._open.get(ident)
        if invite is not None and not invite.taken:
            invite.silence = asyncio.get_running_loop().call_later(SILENT_S, self.end, ident, "withdrawn")

    def reply(self, ident: str, answer: dict[str, Any]) -> None:
        """Answer the knock that was handed out: with `refused` and words in it, with `wrong` too, or as it is sent.

        Raises Refused.
        """
        invite = self._found(ident)
        if invite.knock is None or not invite.taken:
            raise Refused(Problem.NOT_FOUND, "Nobody waits for an answer any more.")
        origin, _, future = invite.knock
        invite.knock, invite.taken = None, False
        self._listen_for(ident)
        if not future.done():
            future.set_result(answer)
        if "refused" in answer:
            self._tell("invite_refused", peer=invite.peer, detail=f"invite {ident}, from {origin}: {answer['refused']}")
        if answer.get("wrong"):
            self._count_wrong(ident, invite)

    def end(self, ident: str, word: str, detail: str = "") -> None:
        """Take no knocks any more; one that waits is refused. Again does nothing."""
        self._heard(ident)
        invite = self._open.pop(ident, None)
        if invite is None:
            return
        self._ended[ident] = (word, invite.peer)
        while len(self._ended) > _ENDED_KEPT:
            self._ended.popitem(last=False)
        if invite.knock is not None and not invite.knock[2].done():
            invite.knock[2].set_result({"refused": f"The invite cannot be used: {WORDS[word]}."})
        invite.wake()
        if word != "used":
            self._tell("invite_ended", peer=invite.peer, reason=word, detail=detail or f"invite {ident}: {WORDS[word]}")

    # ------------------------------------------------------------ for strangers

    async def knock(self, ident: str, sent: dict[str, Any], origin: str) -> dict[str, Any]:
        """Hand a stranger's words to the command and return its answer. Raises Refused."""
        self._limit_knocks()
        self._expire()
        invite = self._open.get(ident)
        if invite is None:
            raise self._turn_away(ident, origin)
        if invite.knock is not None:
            raise rate_limited(1.0, "Somebody else is being answered for this invite.")
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        invite.knock, invite.taken = (origin, sent, future), False
        invite.wake()
        try:
            async with asyncio.timeout(ANSWER_S):
                answer = await future
        except TimeoutError:
            if self._open.get(ident) is invite:
                self.end(ident, "withdrawn")
            raise Refused(Problem.UNAVAILABLE, "`handoffd invite` on this host did not answer.") from None
        if "refused" in answer:
            raise Refused(Problem.INVITE_VOID, str(answer["refused"]))
        return answer

    def mistyped(self, origin: str) -> Refused:
        """Note that somebody has an invite of this host that was altered on its way; return what to say."""
        self._limit_knocks()
        self._expire()
        self._wrong("a mistyped invite", origin)
        return Refused(Problem.INVITE_VOID, "The invite was mistyped; the inviting host was told.")

    def _turn_away(self, ident: str, origin: str) -> Refused:
        word, peer = self._ended.get(ident, ("", ""))
        if word:
            detail = f"invite {ident}, from {origin}: {WORDS[word]}"
            self._tale("invite_refused", peer=peer, reason=word, detail=detail)
            self._note(f"{origin} tried an older invite: {WORDS[word]}")
            return Refused(Problem.INVITE_VOID, f"The invite cannot be used: {WORDS[word]}. Make a new one.")
        self._wrong("an unknown invite", origin)
        return Refused(
            Problem.INVITE_VOID,
            "The invite is not known here: it was used, has expired or was withdrawn, or the daemon was restarted "
            "since. Make a new one.",
        )

    def _wrong(self, what: str, origin: str) -> None:
        """Tell of a try that names no open invite. None dies of it, or any stranger could end them all."""
        self._tale("invite_refused", reason="unknown", detail=f"{origin} came with {what}")
        self._note(f"{origin} came with {what}")

    def _count_wrong(self, ident: str, invite: _Invite) -> None:
        invite.wrong += 1
        if invite.wrong >= WRONG_TRIES:
            self.end(ident, "wrong_tries")

    def _note(self, words: str) -> None:
        for invite in self._open.values():
            invite.notes.append(words)
            invite.wake()

    # ------------------------------------------------------------ common

    def _found(self, ident: str) -> _Invite:
        invite = self._open.get(ident)
        if invite is None:
            raise Refused(Problem.NOT_FOUND, "No such invite is open.")
        return invite

    def _expire(self) -> None:
        now_s = _now()
        for ident in [ident for ident, invite in self._open.items() if invite.until_s <= now_s and not invite.taken]:
            self.end(ident, "expired")

    def _limit_knocks(self) -> None:
        self._knocks = self._knocks or Bucket(*_KNOCKS, now_s=_now())
        wait_s = self._knocks.take(_now())
        if wait_s:
            raise rate_limited(wait_s, "Too many tries at invites; this is open to everybody, so all of them wait.")

    def _tale(self, event: str, **fields: object) -> None:
        self._tales = self._tales or Bucket(*_TALES, now_s=_now())
        if not self._tales.take(_now()):
            self._tell(event, **fields)


def _now() -> float:
    return asyncio.get_running_loop().time()
