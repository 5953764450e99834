"""Writing a line of the journal from the command line: what an operator did himself, beside the daemon.

It owns which host's name stands in the line. The rule that must stay true: the file is the daemon's to rotate, so a
command only ever appends; and nobody but its user writes in relay/, or the daemon could not read what is there.
"""

import errno
import os
import platform
import sys

from handoffd.cli.root import Root
from handoffd.clock import SystemClock
from handoffd.journal import Journal
from handoffd.view.chronicle import Chronicle


def host_of(ground: Root) -> str:
    """Return this host's name: of the configuration, else as the journal has it, else the machine's."""
    if ground.host is not None:
        return ground.host
    newest = next(Chronicle(ground.journal).backwards(), None)
    return str(newest.get("host")) if newest and newest.get("host") else platform.node().lower()


def journal_of(ground: Root) -> Journal:
    """Return the journal to write to; `flush` it. Raises PermissionError for another user than the daemon's."""
    relay = ground.journal.parent
    if os.stat(relay).st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, "what you write there the daemon could not read", str(relay))
    return Journal(ground.journal, host_of(ground), sys.maxsize, 1, SystemClock())
