"""A root, a clock that tests turn, and two mailboxes that share a secret."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from handoffd.agent import AgentName, Draft, Ended, Mailbox, Written
from handoffd.agent.wake import Wake

TEN = 1_795_168_800.0
SECRET = b"pair-secret"
DEADLINE_S = 10.0


@dataclass
class Clock:
    """POSIX seconds, turned by hand."""

    now: float = TEN

    def __call__(self) -> float:
        return self.now


@dataclass
class World:
    """One root, and what its agents do in it."""

    root: Path
    clock: Clock = field(default_factory=Clock)
    ended: list[Ended] = field(default_factory=list)

    def mailbox(self, agent: str, secret: bytes = SECRET) -> Mailbox:
        return Mailbox(self.root, AgentName(agent), {"*": secret}, now=self.clock, told=self.ended.append)

    def send(self, to: str = "alice", sender: str = "bob", secret: bytes = SECRET, **draft: object) -> Written:
        return self.mailbox(sender, secret).write_handoff(Draft(to=to, **({"reason": "why"} | draft)))  # type: ignore[arg-type]

    def names(self, place: str) -> list[str]:
        """Every name in one of the four directories, hidden ones too."""
        return sorted(os.listdir(self.root / place))


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def wake() -> Iterator[Wake]:
    made = Wake()
    yield made
    made.close()


def eventually(holds: Callable[[], object]) -> None:
    """Wait until `holds` is true; fail after DEADLINE_S."""
    until = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < until, "never came true"
        threading.Event().wait(0.005)
