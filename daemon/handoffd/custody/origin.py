"""Origin: an agent of this host, or doctor, posts over HTTP what is addressed to another host.

It owns the one step that makes such a payload ours: from the unfinished write straight into outbox/, as if the agent
had written handoff/X and a take had just been finished (docs/custody.md section 5, a7). There is no receipt and no
receiver's half: the agent is the writer, not a host. The rule that must stay true: the agent is answered only after
outbox/ is flushed, and nothing leaves for the peer before that.
"""

from collections.abc import Sequence
from contextlib import suppress

from handoffd.custody import layout
from handoffd.custody.forward import launch
from handoffd.custody.ledger import Sending, facts_of
from handoffd.custody.message import Offer
from handoffd.custody.tree import Tree
from handoffd.protocol.name import HostName, outbox_name
from handoffd.protocol.payload import Envelope
from handoffd.protocol.record import Record

Written = tuple[Envelope, str, str]
"""An admitted payload, the name of its flushed file in tmp/, and the `<peer>` it is for."""


class Origin:
    """Takes custody of what local agents post for other hosts."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def take(self, written: Sequence[Written]) -> list[Sending | None]:
        """Make a group ours: all renames, each outbox/ once, then the entries; None where the rename failed."""
        taken = [self._move(*one) for one in written]
        self._tree.fs.sync_directories(dict.fromkeys(one.place for one in taken if one is not None))
        for one in taken:
            if one is not None:
                self._tree.ledger.add_sending(one)
                self._tree.note_edge("started", one.facts, role="sender", peer=one.peer, file=one.file)
        return taken

    def _move(self, envelope: Envelope, name: str, peer: str) -> Sending | None:
        # X is N: no agent's counter makes it, so nothing in archive/ or rejected/ is in its way at the end.
        since_ns = int(self._tree.clock.wall() * 1e9)
        sending = Sending(facts_of(envelope), peer, envelope.published_name, layout.outbox(peer), since_ns)
        try:
            self._tree.fs.move(layout.TMP, name, sending.place, outbox_name(sending.tid, sending.file))
        except OSError as error:
            with suppress(OSError):  # tmp/ is emptied at the next start
                self._tree.fs.unlink(layout.TMP, name)
            # It lies there from a try that failed halfway: T is the hash of the bytes, so it is the same.
            return sending if isinstance(error, FileExistsError) else None
        return sending

    def offer(self, sending: Sending, data: bytes) -> None:
        """Let it go."""
        launch(self._tree, [(sending, Offer(HostName(sending.peer), sending.tid, data, sending.facts.expires_at))])

    def record(self, sending: Sending) -> Record:
        """Return what the agent is told."""
        if sending.outcome is not None:
            return sending.outcome
        return self._tree.current(sending, sending.file)
