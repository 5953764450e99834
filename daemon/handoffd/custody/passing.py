"""What was only passed on and has ended: payload and artefact beside its record, until the record is forgotten.

It owns `outcome/T.payload` and `outcome/T.artefact` (docs/custody.md section 11.7). It decides no end. The rule that
must stay true: neither is ever in a directory of agents, and the artefact is the bytes that the record names.
"""

from contextlib import suppress

from handoffd.custody import layout
from handoffd.custody.filesystem import NewFile, NotRegular
from handoffd.custody.ledger import Sending
from handoffd.custody.tree import Tree
from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.record import Artefact, Record


def is_passed_on(sending: Sending, record: Record) -> bool:
    """Tell whether this host only passed it on: no directory of agents has to do with it."""
    return sending.behind is not None or record.onward is not None


def keep_artefact(tree: Tree, tid: TransferId, data: bytes) -> bool:
    """Keep final bytes beside the record until they are forgotten; False: the disk does not take them."""
    fs, name, salt = tree.fs, layout.passed_artefact(tid), tree.salt()
    (failure,) = fs.create([NewFile(layout.TMP, salt, data)])
    if failure is not None:
        return False
    try:
        fs.move(layout.TMP, salt, layout.OUTCOME, name)
    except FileExistsError:
        fs.exchange(layout.TMP, salt, layout.OUTCOME, name)  # brought again, maybe another one by now
        tree.drop_part(salt)
    except OSError:
        tree.drop_part(salt)
        return False
    return True


def kept_artefact(tree: Tree, tid: TransferId, artefact: Artefact | None) -> bytes | None:
    """Return the final bytes kept beside the record; None if there are none, or others than it names."""
    try:
        data, _ = tree.fs.read(layout.OUTCOME, layout.passed_artefact(tid))
    except (FileNotFoundError, NotRegular):
        return None
    return data if artefact is not None and transfer_id(data) == artefact.sha256 else None


def put_beside(tree: Tree, sending: Sending) -> None:
    """Move the payload beside its record and remove its other names; may be repeated. Raises OSError."""
    fs = tree.fs
    try:
        fs.move(sending.place, sending.name, layout.OUTCOME, layout.passed_payload(sending.tid))
    except FileNotFoundError:
        pass  # moved before a crash
    except FileExistsError:
        fs.unlink(sending.place, sending.name)
    if sending.behind is not None:
        fs.unlink(layout.inbox(sending.behind.peer), sending.behind.receipt_name)
    if sending.withdrawn:
        fs.unlink(layout.WISH, sending.tid)


def forget_copies(tree: Tree, tid: str) -> None:
    """Remove what is kept of an ended one: the peer it came from has recorded the end."""
    for name in (layout.passed_payload(tid), layout.passed_artefact(tid)):
        with suppress(OSError):  # the sweep of old outcomes finds it again
            tree.fs.unlink(layout.OUTCOME, name)
