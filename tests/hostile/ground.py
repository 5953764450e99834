"""A pair to be besieged: without the limits on requests a second, which would answer nearly all of them with 429."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.spec.daemon.rig import Pair, ending

from handoffd.clock import boot_id
from handoffd.custody.examine import examine

LIMITS = "\nlimits: {agent_requests_per_s: 10000, agent_burst: 10000}\n"


@contextmanager
def besieged(directory: Path) -> Iterator[Pair]:
    """Run a pair; at the end its daemons must not have stumbled, and nothing may be broken below their roots."""
    pair = Pair(directory)
    pair.bob.add(LIMITS)
    with ending(*pair.hosts):
        yield pair.start()
    for host in pair.hosts:
        assert examine(host.root, boot_id()).broken == []
