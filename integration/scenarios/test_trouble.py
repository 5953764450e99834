"""The troubles of this suite are real: a cut network cuts, a frozen host stands still, a wrong clock is wrong."""

from datetime import UTC, datetime

from harness.engine import eventually
from harness.host import PEER_PORT, Host
from harness.pair import Pair

REACH = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).getpeername()[0])"


def reaches(host: Host, where: str) -> str:
    """Return the address under which a host reaches another one; empty when it does not."""
    return host.execute("python3", "-c", REACH, where, str(PEER_PORT), check=False)


def serve_something(host: Host) -> None:
    host.begin("python3", "-m", "http.server", str(PEER_PORT), "--bind", "0.0.0.0")


def test_an_unplugged_host_cannot_be_reached_until_it_is_plugged_in_again(strangers: Pair) -> None:
    serve_something(strangers.alice)
    address = eventually("bob-vm reaches alice-vm", lambda: reaches(strangers.bob, "alice-vm"))
    with strangers.alice.unplugged():
        assert not reaches(strangers.bob, address)
    eventually("bob-vm reaches alice-vm again", lambda: reaches(strangers.bob, "alice-vm"))


def test_a_paused_host_does_nothing_until_it_goes_on(strangers: Pair) -> None:
    alice = strangers.alice
    alice.begin(*alice.initiator("alice", "--from", "gordon", "--count", "1000", "--pause", "0.01"))
    eventually("gordon writes", lambda: len(alice.ledger(what="written")) > 3)
    with alice.paused():
        before = len(alice.ledger(what="written"))
        strangers.bob.hand_over("bob", "--from", "gordon", "--count", "20", "--pause", "0.01")
        assert len(alice.ledger(what="written")) == before
    eventually("gordon goes on", lambda: len(alice.ledger(what="written")) > before)


def test_a_paused_host_can_be_unplugged_and_keeps_running_afterwards(strangers: Pair) -> None:
    serve_something(strangers.alice)
    address = eventually("bob-vm reaches alice-vm", lambda: reaches(strangers.bob, "alice-vm"))
    with strangers.alice.paused():
        strangers.alice.unplug()
    assert not reaches(strangers.bob, address)
    strangers.alice.plug_in()
    eventually("bob-vm reaches alice-vm again", lambda: reaches(strangers.bob, "alice-vm"))


def test_a_wrong_clock_is_wrong_by_what_was_asked_for(strangers: Pair) -> None:
    for skew_s in (90, -90):
        strangers.alice.set_clock(skew_s)
        assert_off_by(strangers.alice, skew_s)
    strangers.alice.set_clock(0)
    assert_off_by(strangers.alice, 0)


def assert_off_by(host: Host, skew_s: int) -> None:
    before_s = datetime.now(UTC).timestamp()
    told_s = float(host.execute("python3", "-c", "import time; print(time.time())"))
    assert before_s - 1 < told_s - skew_s < datetime.now(UTC).timestamp() + 1


def test_whatever_is_off_at_the_end_of_a_scenario_is_on_at_the_start_of_the_next(containers: Pair) -> None:
    containers.fresh()
    containers.alice.unplug()
    containers.bob.power_off()
    containers.fresh()
    serve_something(containers.bob)
    eventually("alice-vm reaches bob-vm", lambda: reaches(containers.alice, "bob-vm"))
