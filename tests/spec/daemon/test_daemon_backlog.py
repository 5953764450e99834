"""A backlog after an outage, between whole daemons: it drains in batches, whichever of the two makes the connection."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from tests.spec.daemon.rig import Host, Pair, ending, until
from tests.spec.daemon.star import Dialled

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
BACKLOG = 600
DEADLINE_S = 120.0
REQUESTS = BACKLOG // 8
"""At a hundred in a request it would be seven; far fewer than one for each is what matters."""
UNDER_WAY = 500
"""It is in the first request; four of a hundred each are under way at once, and any of these may be the first there."""
LINKS: dict[str, tuple[Callable[[Path], Pair | Dialled], str, str]] = {
    "push": (Pair, "alice", "batch"),
    "pull": (Dialled, "bob", "lease"),
}


@pytest.fixture(params=LINKS)
def link(request: pytest.FixtureRequest, place: Path) -> Iterator[tuple[Sequence[Host], str, str]]:
    """Two hosts; at which of them the requests that carry payloads come in, and what they are called."""
    make, server, operation = LINKS[request.param]
    hosts = make(place).hosts
    with ending(*hosts):
        yield hosts, server, operation


def requests(host: Host, operation: str) -> int:
    """How many requests of a kind came in since the daemon was started."""
    text = host.ask("GET", "/metrics", token=None).data.decode()
    counts = re.findall(rf'^handoffd_http_seconds_count\{{operation="{operation}"\}} (\S+)', text, re.MULTILINE)
    return int(float(counts[0])) if counts else 0


def test_a_backlog_drains_in_batches_and_what_came_last_and_is_urgent_is_among_the_first(
    link: tuple[Sequence[Host], str, str],
) -> None:
    (bob, alice), server, operation = link
    for host in (bob, alice):
        host.start()
    for host in (bob, alice):
        host.ready()
    alice.stop()
    tids = [bob.hand_over("alice", ttl_s=3600.0) for _ in range(BACKLOG)]
    urgent = bob.hand_over("alice", ttl_s=1200.0)
    until("bob's host has taken them", lambda: not bob.names("handoff"), DEADLINE_S)
    alice.start().ready()
    until("all are published", lambda: len(alice.names("handoff")) == BACKLOG + 1, DEADLINE_S)
    at = bob if server == "bob" else alice
    assert 1 <= requests(at, operation) <= REQUESTS
    assert requests(at, "start") <= REQUESTS
    until("the journal tells of all", lambda: len(alice.journal("published")) == BACKLOG + 1, DEADLINE_S)
    order = [line["tid"] for line in alice.journal("published")]
    assert sorted(order) == sorted([*tids, urgent])
    assert order.index(urgent) < UNDER_WAY
