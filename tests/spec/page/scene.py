"""Three hosts with handoffs in every state that a page shows, seen from bob-vm: for tests and for pictures.

It knows the rig of the daemon tests. gordon-vm is paired and then stopped, so that a link is down.
"""

import contextlib
import io
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from tests.spec.daemon.rig import EXPIRY_DEADLINE_S, Host, Pair, command_line, ending, until

DOUBT_AFTER_S = 31.0
"""Past its expiry by so much, what a silent peer has stored is in doubt (docs/custody.md section 7)."""
WORDS = "the caller hung up before anybody said hello"


class Scene:
    """bob-vm and alice-vm linked, gordon-vm gone."""

    def __init__(self, directory: Path) -> None:
        self.pair = Pair(directory)
        self.bob, self.alice = self.pair.hosts
        self.gordon = Host(directory / "c", "gordon-vm", "gordon")
        self.gordon.init(self.bob)
        _add_peer(self.bob, self.gordon)
        for host, peer in ((self.bob, self.gordon), (self.gordon, self.bob)):
            for file in (host.directory / f"for-{peer.name}").iterdir():
                shutil.copy(file, peer.directory / "peers")

    @property
    def hosts(self) -> tuple[Host, ...]:
        return self.bob, self.alice, self.gordon

    def start(self) -> "Scene":
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.ready()
        for host, peer in ((self.bob, self.alice), (self.bob, self.gordon), (self.alice, self.bob)):
            host.told("link_up", peer=peer.name)
        return self

    def link(self) -> str:
        """Return a new link to bob-vm's page."""
        found: str = self.bob.tell("page")["near"][0]
        return found

    def play(self, patience_s: float = 0.0) -> "Scene":
        """Let handoffs go all the ways they can go; some end, some stay open.

        With patience agents take their time, so that a picture shows that it passes; no test needs it.
        """
        ttl_s = 2.0
        doubted_s = time.time() + ttl_s + DOUBT_AFTER_S
        self.doubtful = self.bob.hand_over("gordon", ttl_s=ttl_s)
        self.bob.told("stored", tid=self.doubtful)
        self.gordon.kill()
        for _ in range(7):
            self.pair.deliver()
        self.rejected = self.reject(WORDS)
        self.expired = self.bob.hand_over("alice", ttl_s=1.0)
        self.returned = self.alice.hand_over("bob")
        name = self.bob.claim(self.returned)
        self.bob.told("claimed", tid=self.returned)
        self.bob.archive(name)
        self.talk = self.bob.hand_over("alice", ttl_s=900.0)
        self.bob.told("published", tid=self.talk)
        time.sleep(patience_s / 10)
        name = self.alice.claim(self.talk)
        self.waiting = self.alice.hand_over("bob", ttl_s=900.0)
        self.bob.published(self.waiting)
        self.bob.told("claimed", tid=self.talk)
        for tid in (self.rejected, self.expired, self.returned):
            self.bob.ended(tid)
        self.bob.told("link_down", peer=self.gordon.name)
        self.queued = self.bob.hand_over("gordon", ttl_s=900.0)
        time.sleep(patience_s)
        self.alice.archive(name, appended="goodbye")
        self.bob.ended(self.talk)
        self.held = self.bob.hand_over("alice", ttl_s=900.0)
        self.alice.claim(self.held)
        self.bob.told("claimed", tid=self.held)
        until("gordon's is in doubt", lambda: time.time() > doubted_s, EXPIRY_DEADLINE_S)
        return self

    def reject(self, words: str) -> str:
        """Hand one over that alice rejects with these words."""
        tid = self.bob.hand_over("alice")
        name = self.alice.claim(tid)
        rejected = self.alice.root / "rejected"
        (rejected / f"{name}.reason").write_text(words)
        os.rename(self.alice.root / "claimed" / name, rejected / name)
        self.bob.ended(tid)
        return tid


def _add_peer(host: Host, peer: Host) -> None:
    words = ["--peer", peer.name, "--peer-url", f"https://127.0.0.1:{peer.tls_port}", "--peer-agent", peer.agent]
    with contextlib.redirect_stdout(io.StringIO()):
        assert command_line(["init", "--dir", str(host.directory), *words]) == 0


@contextlib.contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """Run the scene's daemons until the end of the block."""
    made = Scene(directory)
    with ending(*made.hosts):
        yield made.start()
