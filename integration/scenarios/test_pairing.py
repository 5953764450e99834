"""Two hosts that never met are paired by one string, over a real network and by their host names."""

import shutil

from harness.engine import docker, eventually
from harness.host import Host
from harness.pair import Pair


def part(pair: Pair) -> None:
    """Let neither host know of the other, as after `handoffd init`."""
    for host in pair.hosts:
        for directory in ("peers", "peers.d"):
            for path in (host.config / directory).glob("*"):
                path.unlink()


def invite(host: Host, peer: str, *options: str) -> str:
    """Let a host invite another; return the string once it is printed. The command goes on waiting."""
    told = host.suite / "invite"
    told.unlink(missing_ok=True)
    words = " ".join(("handoffd", "invite", peer, *options))
    docker("exec", "--detach", host.container, "sh", "-c", f"{words} >/run/suite/invite 2>/run/suite/invite.err")
    eventually("the invite is printed", lambda: told.exists() and told.read_text().endswith("\n"))
    return told.read_text().strip()


def join(host: Host, text: str, *options: str) -> str:
    """Let a host join by a string in a file, which is in nobody's sight; return what it says."""
    (host.suite / "invite").write_text(text)
    said = host.execute("handoffd", "join", "--file", "/run/suite/invite", *options, check=False)
    (host.suite / "invite").unlink()
    return said


def test_one_string_pairs_two_hosts_and_handoffs_travel_both_ways(strangers: Pair) -> None:
    part(strangers)
    strangers.start_unlinked()
    bob, alice = strangers.hosts
    said = join(alice, invite(bob, "alice-vm"))
    assert "paired with bob-vm (called at https://bob-vm:8788; it calls this host at https://alice-vm:8788)" in said
    facts = [line for line in said.splitlines() if "SHA256:" in line]
    assert len(facts) == 2
    for words in ("paired with alice-vm", "called at https://alice-vm:8788", *facts):
        eventually(f"bob-vm says so too: {words}", lambda words=words: words in (bob.suite / "invite.err").read_text())
    alice.listen()
    bob.listen()
    for sender, receiver in ((bob, "alice"), (alice, "bob")):
        written = sender.hand_over_one(receiver)
        assert sender.final(written.tid)["reason"] == "completed"


def test_a_string_opens_nothing_a_second_time_or_for_another_host(strangers: Pair) -> None:
    part(strangers)
    strangers.start_unlinked()
    bob, alice = strangers.hosts
    text = invite(bob, "alice-vm")
    assert "paired with" in join(alice, text)
    kept = (bob.config / "peers" / "alice-vm.in.sha256").read_text()
    assert "paired with" not in join(alice, text)
    shutil.rmtree(alice.config / "peers.d")
    assert "paired with" not in join(alice, text)
    assert (bob.config / "peers" / "alice-vm.in.sha256").read_text() == kept
    eventually(
        "the journal of bob-vm has both",
        lambda: [line.get("reason") for line in bob.journal() if line["event"] == "invite_refused"] == ["used", "used"],
    )


def test_a_host_that_nobody_can_call_joins_and_both_say_so(strangers: Pair) -> None:
    part(strangers)
    strangers.start_unlinked()
    bob, alice = strangers.hosts
    assert "paired with bob-vm" in join(alice, invite(bob, "alice-vm"), "--no-url")
    eventually("bob-vm says so too", lambda: "it dials in" in (bob.suite / "invite.err").read_text())
    assert "url:" not in (bob.config / "peers.d" / "alice-vm.yaml").read_text()
    alice.listen()
    bob.listen()
    for sender, receiver in ((alice, "bob"), (bob, "alice")):
        written = sender.hand_over_one(receiver)
        assert sender.final(written.tid)["reason"] == "completed"
