"""Whether the peer's news of our handoffs reaches us, and what to say if it does not.

It owns that judgement and asks nothing itself. The rule that must stay true: a link whose payloads go out while no
outcome can come back says so, once in the journal and for as long as it lasts in the status.
"""

from typing import Final

from handoffd.link.ties import Ties
from handoffd.link.trouble import Trouble

FAILURES: Final = 3
"""In a row before it is told: a lost connection or a change of epoch costs one, at most two."""


class Hearing:
    """Counts what went wrong with /states since it last went well. `unreadable`: the last answer or record refused."""

    def __init__(
        self,
        ties: Ties,
        lacks: str = "does not tell what became of handoffs",
        remedy: str = "see the peer's journal and log; until this ends, handoffs sent there stay without an outcome",
    ) -> None:
        """`lacks`: what the peer does not do, in words for a person; `remedy`: what to do about it."""
        self._lacks, self._remedy = lacks, remedy
        self.unreadable = ""
        self._ties = ties
        self._failures = 0
        self._failure = ""
        self._told = False

    @property
    def trouble(self) -> Trouble | None:
        """Return why outcomes do not come home, or None while they do."""
        if self._failures >= FAILURES:
            return Trouble("no_news", f"{self._ties.peer} {self._lacks}: {self._failure}", self._remedy)
        if self.unreadable:
            detail = f"{self._ties.peer} tells of a handoff in a way that cannot be read: {self.unreadable}"
            return Trouble("unreadable_news", detail, "run the same version of handoffd on both hosts")
        return None

    def failed(self, detail: str) -> None:
        """Note a poll without a usable answer."""
        self._failures += 1
        self._failure = detail
        self._turn()

    def heard(self) -> None:
        """Note a poll with a usable answer."""
        self._failures = 0
        self._turn()

    def refused(self, line: str) -> None:
        """Note a record that could not be used."""
        self.unreadable = line
        self._turn()

    def swept(self) -> None:
        """Note that every open handoff was compared and each record could be used."""
        self.unreadable = ""
        self._turn()

    def _turn(self) -> None:
        trouble = self.trouble
        if (trouble is not None) is self._told:
            return
        self._told = not self._told
        if trouble is None:
            self._ties.tell("news_resumed", peer=self._ties.peer)
        else:
            detail = f"{trouble.detail}; {trouble.remedy}"
            self._ties.tell("news_stopped", peer=self._ties.peer, reason=trouble.word, detail=detail)
