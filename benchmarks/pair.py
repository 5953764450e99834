"""The ways between bob's host and alice's: both can be called, alice's only dials in, or both dial a hub."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.carrier import Carrier
from benchmarks.host import Host, add_token, calls, configure, daemon, is_called_by, make_host
from benchmarks.process import first_line, module, running

BOB, ALICE, HUB = "bob-vm", "alice-vm", "hub"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two running daemons, what carries between them, and the secret bob speaks HTTP with."""

    sender: Host
    agent_token: str
    carrier: Carrier


@contextlib.contextmanager
def pair(directory: Path, *, delay_ms: int = 0, watch: str = "auto") -> Iterator[Pair]:
    """Run two daemons that call each other, with `delay_ms` added each way. Raises DidNotStart."""
    bob, alice = two_hosts(directory)
    token = add_token(bob, "bob")
    with contextlib.ExitStack() as stack:
        ports = {host.name: host.tls_port for host in (bob, alice)}
        if delay_ms:
            for name, port in ports.items():
                proxy = stack.enter_context(running(module("proxy", str(port), str(delay_ms))))
                ports[name] = int(first_line(proxy))
        introduce(bob, alice, ports=ports, watch=watch, talkative=bob.agents)
        yield Pair(bob, token, _carrier(stack, bob, alice))


@contextlib.contextmanager
def dialled(directory: Path) -> Iterator[Carrier]:
    """Run bob's daemon, which can be called, and alice's, which only dials in. Raises DidNotStart."""
    bob, alice = two_hosts(directory)
    introduce_dialler(bob, alice)
    with contextlib.ExitStack() as stack:
        yield _carrier(stack, bob, alice)


@contextlib.contextmanager
def star(directory: Path) -> Iterator[Carrier]:
    """Run a hub without agents between bob's daemon and alice's, which only dial out. Raises DidNotStart."""
    bob, alice = two_hosts(directory)
    hub = make_host(directory / HUB, HUB)
    for spoke in (bob, alice):
        configure(spoke, {HUB: {"agents": ["*"], "relay": True, **calls(spoke, hub)}})
    configure(hub, {spoke.name: {"agents": list(spoke.agents), **is_called_by(spoke)} for spoke in (bob, alice)})
    with contextlib.ExitStack() as stack:
        stack.enter_context(daemon(hub))
        yield _carrier(stack, bob, alice)


def two_hosts(directory: Path) -> tuple[Host, Host]:
    """Return bob's host and alice's, not configured yet."""
    return make_host(directory / BOB, BOB, "bob"), make_host(directory / ALICE, ALICE, "alice")


def introduce(
    bob: Host,
    alice: Host,
    *,
    ports: Mapping[str, int] | None = None,
    watch: str = "auto",
    talkative: Iterable[str] = (),
) -> None:
    """Configure two hosts that call each other; `ports` by name where they are not reached at their own."""
    at = ports or {}
    of_alice = {"agents": ["alice"], **calls(bob, alice, at.get(ALICE)), **is_called_by(alice)}
    of_bob = {"agents": ["bob"], **calls(alice, bob, at.get(BOB)), **is_called_by(bob)}
    configure(bob, {ALICE: of_alice}, watch=watch, talkative=talkative)
    configure(alice, {BOB: of_bob}, watch=watch)


def introduce_dialler(bob: Host, alice: Host) -> None:
    """Configure two hosts of which only alice's calls."""
    configure(alice, {BOB: {"agents": ["bob"], **calls(alice, bob)}})
    configure(bob, {ALICE: {"agents": ["alice"], **is_called_by(alice)}})


def _carrier(stack: contextlib.ExitStack, bob: Host, alice: Host) -> Carrier:
    pids = {host.name: stack.enter_context(daemon(host)) for host in (bob, alice)}
    return Carrier(bob.root, alice.root, pids, tells_outcomes=True)
