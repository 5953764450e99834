"""How a daemon is caught in the middle of a transfer, and killed there.

It owns the order of signals. Stopping the receiver first leaves the sender's request whole in the kernel's hands, as
long as wanted, and that can be seen from outside. The rule that must stay true: a kill happens only when the transfer
was seen to be under way; luck decides at most how many tries that takes.
"""

import signal
from dataclasses import dataclass

from handoffd.demo.errand import Errand, hand_over
from handoffd.demo.host import Host
from handoffd.demo.process import Actor, Order
from handoffd.demo.stage import NotSeen, Stage

LONG_CALL = [{"role": "user", "text": f"And another thing, number {number}. " * 4} for number in range(80)]
"""12 KB, which no other request between two daemons comes near."""
CATCH_LIMIT_S = 2.0
TRIES = 4


@dataclass(frozen=True, slots=True)
class Caught:
    """A transfer in the socket of a receiver that stands still; `waiting` is who shall claim it."""

    errand: Errand
    waiting: Order
    unread: int


def catch_transfer(stage: Stage, writer: Actor, claimer: Actor, caller: str) -> Caught:
    """Hand over to a host whose daemon stands still, until the whole request lies unread there. Raises NotSeen."""
    there = next(host for host in stage.hosts if host.name == claimer.host)
    for number in range(TRIES):
        waiting = claimer.order("take")
        hold(stage, there)
        # Another caller each time: agents file two calls of one caller within a second under one name.
        errand = hand_over(stage, writer, f"{caller} {number}" if number else caller, LONG_CALL)
        unread = _unread(errand)
        if unread:
            stage.note(there, "demo", f"finds {unread:,} bytes in the daemon's socket: sent, and not read")
            return Caught(errand, waiting, unread)
        # No connection was idle, so the sender wants a new one, which a daemon that stands still does not grant.
        stage.note(there, "demo", "finds nothing in the daemon's socket, so it lets this call pass and tries again")
        go_on(stage, there)
        taken = stage.answer(waiting)
        stage.ask(claimer, "file_away", file=taken["file"], text="That was quick.")
        errand.ends()
    raise NotSeen(f"a transfer in the socket of {there.name}'s daemon, in {TRIES} tries")


def hold(stage: Stage, host: Host) -> None:
    """Stop a daemon, all its threads, where they are."""
    host.signal(signal.SIGSTOP)
    stage.until(f"{host.name}'s daemon to stand still", host.is_stopped)
    stage.note(host, "demo", "holds the daemon still (SIGSTOP)")


def go_on(stage: Stage, host: Host) -> None:
    """Let a stopped daemon go on."""
    stage.note(host, "demo", "lets the daemon go on (SIGCONT)")
    host.signal(signal.SIGCONT)


def kill(stage: Stage, host: Host) -> None:
    """Kill a daemon, and see that it is dead."""
    stage.note(host, "demo", "kills the daemon (SIGKILL)")
    host.signal(signal.SIGKILL)
    stage.until(f"{host.name}'s daemon to be dead", host.has_ended)


def restart(stage: Stage, host: Host) -> None:
    """Start a daemon again, and wait until it serves. Raises NotSeen."""
    stage.note(host, "demo", "starts the daemon again")
    host.start()
    stage.serving(host)


def _unread(errand: Errand) -> int:
    def found() -> int:
        unread = errand.there.unread_bytes()
        return unread if unread > errand.sent["bytes"] else 0

    try:
        return errand.stage.until("the transfer in the socket", found, CATCH_LIMIT_S)
    except NotSeen:
        return 0
