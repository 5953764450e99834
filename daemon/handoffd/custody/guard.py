"""The invariants that are looked at again in the middle of work, where a step rests on them (section 14, "Watched").

It owns the looks and what follows a broken one: that handoff is set aside. It repairs nothing. The rules that must
stay true: a handoff that is set aside is touched by no step of this process, what of it could be claimed is put out of
the agents' reach, and nothing is told of it; somebody who knows why has to say what it is.
"""

from handoffd.custody import layout
from handoffd.custody.filesystem import NotRegular
from handoffd.custody.ledger import Receipt
from handoffd.custody.tree import Tree
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import NOT_DELIVERED
from handoffd.protocol.record import Record


class Guard:
    """Says whether a step may be taken. Each method sets the handoff aside where it may not."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree

    def may_publish(self, receipt: Receipt) -> bool:
        """I1, I7: a token that waited on the disk is still the payload, and no agent has had it. Raises OSError."""
        fs, name = self._tree.fs, f"{receipt.name}.new"
        try:
            data, _ = fs.read(layout.inbox(receipt.peer), name)
        except FileNotFoundError:
            return True  # nothing can be published: the move says so
        except NotRegular:
            return self._received(receipt, "I7", f"{name} is not a file of ours")
        if transfer_id(data) != receipt.tid:
            return self._received(receipt, "I7", f"the bytes of {name} do not hash to T")
        if fs.stat(layout.CLAIMED, receipt.name) is not None:
            return self._received(receipt, "I1", "it waits to be published, and lies in claimed/")
        return True

    def may_end(self, receipt: Receipt, record: Record) -> bool:
        """R4, I5: what no agent has had can be claimed no more, and what one has had is not told as not delivered."""
        if "claimed" in receipt.edges:
            if record.delivered not in NOT_DELIVERED:
                return True
            return self._received(receipt, "I5", f"{record.state.value}, and an agent has claimed it")
        if not receipt.routed and self._tree.fs.stat(layout.HANDOFF, receipt.name) is not None:
            return self._received(receipt, "R4", f"{record.state.value}, and it lies in handoff/")
        return True

    def _received(self, receipt: Receipt, rule: str, detail: str) -> bool:
        self._tree.note_broken(receipt.facts, receipt.role, receipt.peer, rule, detail)
        self._tree.ledger.set_aside(receipt)
        self._tree.quarantine(layout.HANDOFF, receipt.name, "set aside: nobody may claim it", receipt.facts)
        return False
