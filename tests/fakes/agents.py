"""Agents of host B as they exist: they look at their directories once a round and know nothing of a daemon."""

import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.fakes.world import World

from handoffd.custody.message import Accept, Finish, Poll
from handoffd.protocol.name import AgentName, Nonce

ALICE = AgentName("alice")
Agent = Callable[[World], None]


def nobody(world: World) -> None:
    """Alice is out."""


def claim_all(world: World) -> list[str]:
    """Claim everything in handoff/ by rename; return the names."""
    root = world.b.root
    found = [name for name in world.b.names("handoff") if not name.startswith(".")]
    for name in found:
        os.rename(root / "handoff" / name, root / "claimed" / name)
        world.claimed(name)
    return found


def held(world: World) -> list[str]:
    """What alice has in claimed/, apart from what she claimed over HTTP."""
    return [name for name in world.b.names("claimed") if not name.startswith(".")]


def write(path: os.PathLike[str], data: bytes) -> None:
    """As an agent writes: a temporary name, then replace."""
    directory, name = os.path.split(path)
    part = os.path.join(directory, f".{name}.tmp")
    with open(part, "wb") as file:
        file.write(data)
    os.replace(part, path)


def archived_name(data: bytes) -> str:
    fields = json.loads(data)
    return f"1795168801-{fields['from_agent']}-{fields['to_agent']}-{fields['handoff_id']}.json"


def talks(world: World) -> None:
    """Claim; a round later archive other bytes under another name."""
    root = world.b.root
    for name in held(world):
        data = (root / "claimed" / name).read_bytes()
        final = json.dumps({**json.loads(data), "transcript": [{"role": "user", "text": "bye"}]}).encode()
        write(root / "archive" / archived_name(data), final)
        os.unlink(root / "claimed" / name)
        mark_archived(world, name)
    claim_all(world)


def mark_archived(world: World, published: str) -> None:
    next(one for one in world.witness.handoffs.values() if one.published == published).archived = True


def archives(world: World) -> None:
    """Claim; a round later move the file to archive/ as it is."""
    for name in held(world):
        os.rename(world.b.root / "claimed" / name, world.b.root / "archive" / name)
        mark_archived(world, name)
    claim_all(world)


def rejects(world: World) -> None:
    """Claim; a round later say no."""
    root = world.b.root
    for name in held(world):
        document = json.loads((root / "claimed" / name).read_bytes())
        write(root / "rejected" / name, json.dumps({**document, "rejection_reason": "busy"}).encode())
        os.unlink(root / "claimed" / name)
    claim_all(world)


def loses(world: World) -> None:
    """Claim; a round later delete the file."""
    for name in held(world):
        os.unlink(world.b.root / "claimed" / name)
        next(one for one in world.witness.handoffs.values() if one.published == name).deleted = True
    claim_all(world)


def listens(world: World) -> None:
    """As `handoffd listen`: a hidden name holds the claim, a second link shows it, one rename ends it."""
    root = world.b.root
    hidden = [name for name in world.b.names("claimed") if name.endswith(".listen")]
    for name in hidden:
        published = name[1:].partition(".json.")[0] + ".json"
        (root / "claimed" / published).unlink(missing_ok=True)
        data = (root / "claimed" / name).read_bytes()
        os.rename(root / "claimed" / name, root / "archive" / archived_name(data))
        mark_archived(world, published)
    for name in [name for name in world.b.names("handoff") if not name.startswith(".")]:
        secret = root / "claimed" / f".{name}.alice.0123456789abcdef.listen"
        os.rename(root / "handoff" / name, secret)
        world.witness.claimed(name)
        os.link(secret, root / "claimed" / name)


@dataclass
class Remote:
    """An agent without a directory: polls, accepts with a nonce, asks again until it is told."""

    reject: bool = False
    artefact: bytes | None = b'{"done": true}'
    wanted: str | None = None
    data: bytes | None = None
    done: bool = False
    nonce: Nonce = field(default=Nonce("n-1"))

    def __call__(self, world: World) -> None:
        engine = world.b.engine
        if self.wanted is None:
            answers = world.at(world.b, lambda: engine.poll([Poll(ALICE)]))
            if answers and answers[0].status == 200:
                self.wanted = answers[0].tid
        elif self.data is None:
            self._accept(world)
        elif not self.done:
            self._finish(world)

    def _accept(self, world: World) -> None:
        assert self.wanted is not None
        asked = Accept(ALICE, self.wanted, self.nonce)
        answers = world.at(world.b, lambda: world.b.engine.accept([asked]))
        if answers and answers[0].status == 200:
            self.data = answers[0].data
            one = next(one for one in world.witness.handoffs.values() if one.tid == self.wanted)
            assert self.data == one.data, "I7: other bytes than were taken"
            world.witness.claimed(one.published)
        elif answers and answers[0].status in (404, 410):
            self.done = True

    def _finish(self, world: World) -> None:
        assert self.wanted is not None
        one = next(one for one in world.witness.handoffs.values() if one.tid == self.wanted)
        one.archived = not self.reject
        asked = Finish(ALICE, self.wanted, self.reject, self.artefact, "busy" if self.reject else "")
        answers = world.at(world.b, lambda: world.b.engine.finish([asked]))
        self.done = bool(answers) and answers[0].status == 200
