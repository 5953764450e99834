"""One handoff that an agent of the simulator wrote: what was done with it, and what a power cut would leave of it.

It owns what has happened to the handoff as its agents know it, and says nothing of right and wrong.
"""

from collections.abc import Container
from dataclasses import dataclass, field

from tests.simulator.disk import Folder
from tests.simulator.host import SimHost

from handoffd.custody.layout import ARCHIVE, HANDOFF, INBOX, OUTCOME, outbox, sent
from handoffd.protocol.name import TransferId, routed_name


@dataclass(slots=True)
class Given:
    """One handoff that an agent wrote. `excused`: something happened to it that may make its end uncertain."""

    file: str
    data: bytes
    tid: TransferId
    published: str
    hidden: str
    outcome: str
    source: SimHost
    target: SimHost
    way: list[SimHost]
    """The hosts it comes to; the last one is its target, others pass it on."""
    caller: str
    expires_at: float
    life: int
    """The process of its source that was alive when it was written."""
    twin: "Given | None" = None
    """Another payload with the same S."""
    published_once: bool = False
    """A daemon has put it where its agent claims it."""
    over_http: bool = False
    """An agent has claimed it over HTTP."""
    has_left: bool = False
    """Its source has sent it."""
    copies: list[str] = field(default_factory=list)
    """Names under which its writer has handed the same bytes over once more."""
    shown: tuple[int, int] = (0, 0)
    """The process of its source that showed its state last, and the rank of that."""
    claims: int = 0
    accepted: bool = False
    """Its target had noted an agent's claim over HTTP, before it lost its memory; the agent may not have heard."""
    put_back: bool = False
    """An agent had claimed it by its name, and has put it back into handoff/ (section 17)."""
    rewritten: bool = False
    """An agent has rewritten it in place: a power cut that undoes its claim shows other bytes (section 17)."""
    left_as: tuple[str, str] = (ARCHIVE, "")
    """The directory and the name under which an agent has ended it."""
    said: set[bool] = field(default_factory=set)
    """Whether an agent has rejected it over HTTP; both, if it has said one thing and then another."""
    archived: bool = False
    excused: bool = False
    orphaned: bool = False
    """Its source lost its memory: what becomes of it is nobody's promise, but for claims."""
    lost: bool = False
    """A host it comes to lost its memory: what that host says of it now is no news of the agents."""
    forgot: set[str] = field(default_factory=set)
    """Hosts that lost their memory of it. Two such losses are beyond what is promised, of claims too (section 17)."""
    kept_at: int = -1
    """The source's directories had changed so often when the bytes were last found in one place."""

    def files(self) -> tuple[str, ...]:
        """Return the names that its writer has given it."""
        return (self.file, *self.copies)

    def inbox(self) -> Folder:
        """Return the directory of its target that it comes to."""
        before = (self.source, *self.way)[-2]
        return self.target.disk.folders[f"{INBOX}/{before.name}"]

    def is_in_custody(self) -> bool:
        """Tell whether no power cut gives it back to its writer (a7)."""
        peer, folders = self.way[0].name, self.source.disk.folders
        names = [f"{self.tid}~{file}" for file in self.files()]
        kept = folders[outbox(peer)].kept.keys() | folders[sent(peer)].kept.keys()
        return not kept.isdisjoint(names) or self.outcome in folders[OUTCOME].kept

    def is_accepted(self) -> bool:
        """Tell whether a claim over HTTP is durable."""
        return any(name.startswith(f"{self.published}.accepted~") for name in self.inbox().kept)

    def has_receipt_in(self, inbox: Container[str]) -> bool:
        """Tell whether these names of an inbox know it, as its home or as a relay."""
        return self.published in inbox or routed_name(self.published) in inbox

    def comes_back(self) -> bool:
        """Tell whether a power cut would show it where it can be claimed."""
        return self.published in self.target.disk.folders[HANDOFF].kept or self.hidden in self.inbox().kept

    def is_unflushed(self) -> bool:
        """Tell whether a power cut may take the file by which its agent ended it."""
        if self.over_http:
            return False  # the daemon keeps it elsewhere until it is durable
        directory, left = self.left_as
        return any(name == left for change in self.target.disk.folders[directory].pending for name, _ in change.put)
