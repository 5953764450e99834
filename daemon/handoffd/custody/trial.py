"""A trial of the disk: a file is written, flushed and removed, so that "ready" is known and not hoped.

It knows no handoff. The rule that must stay true: it touches nothing but relay/tmp/, which every start empties.
"""

import errno
from typing import Final

from handoffd.custody import layout
from handoffd.custody.filesystem import NewFile
from handoffd.custody.tree import Tree

NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
"""A full disk is no dead one: handoffs wait for room, and the status says so (`disk_low`)."""


def disk_trouble(tree: Tree) -> str:
    """Return why relay/ cannot be written, for a person; empty if it can."""
    name = tree.salt()
    try:
        (failure,) = tree.fs.create([NewFile(layout.TMP, name, b"trial")])
    except OSError as error:
        failure = error
    tree.drop_part(name)
    if failure is None or failure.errno in NO_ROOM:
        return ""
    return f"relay/ cannot be written: {failure.strerror}; see the kernel's log (dmesg)"
