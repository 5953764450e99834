"""A listener that dies before any one of its steps: the next one finds one handoff, in one place, run at most once."""

import os
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from tests.unit.agent.conftest import World

from handoffd.agent import Claim, Mailbox, directory, hold, mailbox

STEPS = [
    (hold, "move"),
    (hold, "write_new"),
    (mailbox, "write_new"),
    (directory, "_sync"),
    (os, "link"),
    (Path, "unlink"),
    (Path, "replace"),
]
CRASHED = 9
Ending = Callable[[Mailbox, Claim], object]


def lengthened(alice: Mailbox, claim: Claim) -> None:
    alice.complete(claim, claim.data + b"\n")


def completed(alice: Mailbox, claim: Claim) -> None:
    alice.complete(claim)


def rejected(alice: Mailbox, claim: Claim) -> None:
    alice.reject(claim, "busy")


def dies_before(step: int, act: Callable[[], object]) -> bool:
    """Do it in a process of its own that vanishes before its step number `step`; tell whether it came so far."""
    child = os.fork()
    if child == 0:
        numbers = count(1)
        for owner, name in STEPS:
            setattr(owner, name, _counted(getattr(owner, name), numbers, step))
        act()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, CRASHED)
    return code == CRASHED


def _counted(real: Callable[..., Any], numbers: "count[int]", step: int) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        if next(numbers) == step:
            os._exit(CRASHED)
        return real(*arguments, **options)

    return call


def listen(world: World, ran: Path, ending: Ending) -> None:
    """What a listener does from its start until nothing is left."""
    alice = world.mailbox("alice")
    for left in alice.interrupted():
        alice.reject(left, "listener_interrupted")
    while (claim := alice.claim_next()) is not None:
        with ran.open("a") as note:
            note.write(f"{claim.envelope.tid}\n")
        ending(alice, claim)


def visible(path: Path) -> list[str]:
    return [name for name in os.listdir(path) if name.endswith(".json") and not name.startswith(".")]


@pytest.mark.parametrize("ending", [completed, rejected, lengthened])
def test_whenever_it_dies_there_is_one_end_and_at_most_one_run(tmp_path: Path, ending: Ending) -> None:
    for step in count(1):
        world = World(tmp_path / str(step))
        world.root.mkdir()
        world.send()
        ran = world.root / "ran"
        ran.touch()
        died = dies_before(step, lambda world=world, ran=ran: listen(world, ran, ending))  # type: ignore[misc]
        listen(world, ran, ending)
        ended = visible(world.root / "archive") + visible(world.root / "rejected")
        assert len(ended) == 1, f"died before step {step}"
        assert all(Path(f"{path}.reason").exists() for path in (world.root / "rejected").glob("[!.]*.json"))
        assert len(ran.read_text().splitlines()) <= 1
        assert visible(world.root / "handoff") == visible(world.root / "claimed") == []
        if not died:
            break
    assert step > 8
