"""Status, metrics and log of whole daemons: what they tell in health, in trouble, and when nobody is there to ask."""

import json
import os
import re
import signal
from collections.abc import Callable
from typing import Any

from tests.spec.daemon.rig import Host, Pair, until


def told(host: Host, code: int, when: Callable[[Any], object] = lambda status: True) -> Any:
    """Return the status as JSON, once the command ends with this code and it is as wanted."""

    def look() -> Any:
        done = host.command("status", "--json")
        status = json.loads(done.stdout) if done.returncode == code else None
        return status if status and when(status) else None

    return until(f"status of {host.name} ends with {code}", look)


def words(status: Any) -> list[str]:
    return [one["word"] for one in status["warnings"]]


def series(host: Host) -> dict[str, float]:
    """Return every series of /metrics by its name and labels."""
    page = host.ask("GET", "/metrics", token=None).data.decode()
    pairs = (line.rpartition(" ") for line in page.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_a_delivered_handoff_is_counted_and_timed_at_both_ends(pair: Pair) -> None:
    pair.deliver()
    bob, alice = (told(host, 0, lambda status: status["ended"] and not status["handoffs"]) for host in pair.hosts)
    assert (bob["daemon"], bob["ready"], bob["handoffs"], bob["in_doubt"]) == ("running", True, [], [])
    assert (bob["ended"], alice["ended"]) == ({"completed": 1}, {"completed": 1})
    assert bob["latency"]["take_to_home"]["count"] == 1
    assert 0 < bob["latency"]["take_to_stored"]["p50_s"] <= bob["latency"]["take_to_home"]["p99_s"]
    assert alice["latency"]["stored_to_published"]["count"] == 1
    (peer,) = bob["peers"]
    assert (peer["peer"], peer["state"], peer["homes"]) == ("alice-vm", "up", ["alice", "carol"])
    assert peer["last_success"] is not None
    assert abs(peer["clock_offset_ms"]) < 5_000  # one machine, one clock
    shown = series(pair.bob)
    assert shown['handoffd_step_seconds_count{step="take_to_home"}'] == 1
    assert shown['handoffd_link_up{peer="alice-vm"}'] == 1
    assert shown['handoffd_flush_seconds_count{what="directories"}'] > 0
    assert shown["handoffd_disk_free_bytes"] > 0
    ends = {name: value for name, value in shown.items() if name.startswith("handoffd_endings_total") and value}
    assert len(ends) == 1
    assert all("completed" in name and "sender" in name for name in ends)


def test_a_dead_peer_a_restart_and_its_return(pair: Pair) -> None:
    pair.alice.kill()
    tid = pair.bob.hand_over("alice")
    pair.bob.told("started", tid=tid)
    down = told(pair.bob, 1, lambda status: "unreachable" in words(status))
    (queued,) = down["handoffs"]
    assert (queued["role"], queued["state"], queued["count"], queued["oldest_tid"]) == ("sender", "queued", 1, tid)
    assert down["peers"][0]["backlog"]["count"] == 1
    assert series(pair.bob)['handoffd_backlog{peer="alice-vm"}'] == 1

    pair.bob.kill()
    stopped = told(pair.bob, 69)
    assert (stopped["daemon"], words(stopped)[0], stopped["peers"][0]["state"]) == ("stopped", "stopped", "unseen")
    (kept,) = stopped["handoffs"]
    assert (kept["state"], kept["oldest_tid"]) == ("queued", tid)
    assert kept["oldest_s"] >= queued["oldest_s"]

    pair.start()
    told(pair.bob, 0, lambda status: status["peers"][0]["backlog"]["count"] == 0)
    pair.alice.published(tid)
    told(pair.alice, 0, lambda status: [one["state"] for one in status["handoffs"]] == ["published"])
    (there,) = told(pair.alice, 0)["handoffs"]
    assert (there["role"], there["state"], there["oldest_tid"]) == ("receiver", "published", tid)


def test_a_refused_token_comes_first_with_its_remedy(stopped_pair: Pair) -> None:
    (stopped_pair.alice.directory / "peers" / "bob-vm.in.sha256").write_text("0" * 64 + "\n")
    for host in stopped_pair.hosts:
        host.start().ready()
    stopped_pair.bob.told("link_down", reason="wrong_token")
    done = stopped_pair.bob.command("status")
    assert done.returncode == 1
    assert re.match(r"warning: alice-vm: wrong_token: .*; exchange the tokens again", done.stdout)


def test_a_daemon_that_hangs_is_silent_not_stopped(lone: Host) -> None:
    lone.start().ready()
    lone.freeze()
    status = told(lone, 69)
    lone.signal(signal.SIGCONT)
    assert (status["daemon"], words(status)) == ("silent", ["silent"])
    assert told(lone, 0)["daemon"] == "running"


def test_on_the_journals_stream_every_line_has_a_priority(lone: Host) -> None:
    with lone.log_file.open("ab") as log:
        found = os.fstat(log.fileno())
    lone.start(env={"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}).ready()
    lone.edit("agents: [bob]", "agents: [")
    lone.signal(signal.SIGHUP)
    lone.told("config_refused")
    assert lone.stop() == 0
    lines = lone.log().splitlines()
    assert all(re.match(r"<[2-7]>", line) for line in lines)
    assert "<4>config_refused" in "\n".join(lines)
    assert [line for line in lines if line.startswith("<3>reload refused: ")]
    assert "<6>bob-vm stopped in order" in lines
