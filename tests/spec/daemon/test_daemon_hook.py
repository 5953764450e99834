"""Wake hooks of a running daemon: `on_publish` (docs/operations.md)."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.spec.daemon.rig import Host, Pair, payload, until

pytestmark = pytest.mark.slow

WAKE = """\
#!{python}
import fcntl, json, os, sys, time
told = json.load(sys.stdin)
with open({calls!r}, "a") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print(json.dumps({{**told, "pid": os.getpid()}}), file=file, flush=True)
while os.path.exists({hold!r}):
    time.sleep(0.01)
"""


class Hooked:
    """A host whose agents all have a hook, which writes down each call and runs as long as a file is there."""

    def __init__(self, host: Host, *agents: str, timeout_s: float = 300.0) -> None:
        self.host = host
        self.calls_file, self.hold = host.directory / "calls", host.directory / "hold"
        program = host.directory / "wake"
        program.write_text(WAKE.format(python=sys.executable, calls=str(self.calls_file), hold=str(self.hold)))
        program.chmod(0o755)
        hooks = ", ".join(f"{agent}: {{command: [{program}], timeout_s: {timeout_s}}}" for agent in agents)
        host.add(f"\non_publish: {{{hooks}}}\n")

    def calls(self) -> list[dict[str, Any]]:
        """Those that are written down whole."""
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().rpartition("\n")[0].splitlines()]

    def called(self, count: int = 1) -> dict[str, Any]:
        until(f"{count} calls", lambda: len(self.calls()) >= count)
        return self.calls()[count - 1]


@pytest.fixture
def hooked(stopped_pair: Pair) -> Hooked:
    return Hooked(stopped_pair.alice, "alice", "carol")


def test_each_published_handoff_wakes_its_agent_once(stopped_pair: Pair, hooked: Hooked) -> None:
    stopped_pair.start()
    tids = {stopped_pair.bob.hand_over("alice") for _ in range(5)}
    for tid in tids:
        stopped_pair.alice.archive(stopped_pair.alice.claim(tid))
        assert stopped_pair.bob.ended(tid)["reason"] == "completed"
    hooked.called(5)
    assert {call["tid"] for call in hooked.calls()} == tids
    line = stopped_pair.alice.told("hooked")
    assert line["to"] == "alice"
    assert len(hooked.calls()) == 5


def test_a_handoff_between_two_agents_of_the_host_wakes_too(stopped_pair: Pair, hooked: Hooked) -> None:
    alice = stopped_pair.alice
    alice.start().ready()
    data = payload("alice", "carol")
    alice.write(data)
    call = hooked.called()
    assert (call["handoff_id"], call["to"]) == (json.loads(data)["handoff_id"], "carol")
    assert Path(call["file"]).read_bytes() == data


def test_a_hook_that_hangs_holds_nothing_up(stopped_pair: Pair, hooked: Hooked) -> None:
    hooked.hold.touch()
    stopped_pair.start()
    for _ in range(12):
        stopped_pair.deliver()
        assert len(hooked.calls()) <= 4
    assert stopped_pair.alice.journal("hooked") == []
    hooked.hold.unlink()
    until("all have run", lambda: len(stopped_pair.alice.journal("hooked")) == 12)


def test_what_was_written_while_the_daemon_was_down_wakes_once_at_its_start(stopped_pair: Pair, hooked: Hooked) -> None:
    alice = stopped_pair.alice
    alice.start().ready()
    alice.write(payload("alice", "carol"))
    alice.told("hooked")
    assert alice.stop() == 0
    alice.write(payload("alice", "carol"))
    for count in (2, 2):
        alice.start().ready()
        until("it has run", lambda count=count: len(alice.journal("hooked")) == count)
        assert alice.stop() == 0
    assert len(hooked.calls()) == 2


def test_what_was_published_and_hooked_is_not_hooked_again_after_a_stop_or_a_kill(
    stopped_pair: Pair, hooked: Hooked
) -> None:
    alice = stopped_pair.alice
    tid = stopped_pair.start().bob.hand_over("alice")
    alice.told("hooked", tid=tid)
    alice.stop()
    alice.start().ready()
    alice.published(tid)
    alice.kill()
    alice.start().ready()
    other = stopped_pair.linked().bob.hand_over("alice")
    alice.told("hooked", tid=other)
    assert [call["tid"] for call in hooked.calls()] == [tid, other]


def test_killed_between_run_and_mark_it_runs_once_more(stopped_pair: Pair, hooked: Hooked) -> None:
    alice = stopped_pair.alice
    hooked.hold.touch()
    tid = stopped_pair.start().bob.hand_over("alice")
    pid = hooked.called()["pid"]
    alice.kill()
    os.kill(pid, signal.SIGKILL)
    hooked.hold.unlink()
    alice.start().ready()
    assert hooked.called(2)["tid"] == tid
    alice.told("hooked", tid=tid)
    alice.stop()
    alice.start().ready()
    assert len(hooked.calls()) == 2


def test_what_was_claimed_before_the_start_wakes_nobody(stopped_pair: Pair, hooked: Hooked) -> None:
    alice = stopped_pair.alice
    hooked.hold.touch()
    tid = stopped_pair.start().bob.hand_over("alice")
    pid = hooked.called()["pid"]
    alice.kill()
    os.kill(pid, signal.SIGKILL)
    hooked.hold.unlink()
    name = alice.claim(tid)
    other = payload("alice", "carol")
    alice.write(other)
    alice.start().ready()
    assert hooked.called(2)["to"] == "carol"
    alice.archive(name)
    assert stopped_pair.bob.ended(tid)["reason"] == "completed"
    assert len(hooked.calls()) == 2


def test_a_stop_does_not_wait_for_a_hook(stopped_pair: Pair, hooked: Hooked) -> None:
    alice = stopped_pair.alice
    hooked.hold.touch()
    tid = stopped_pair.start().bob.hand_over("alice")
    pid = hooked.called()["pid"]
    assert alice.stop() == 0
    until("the command has ended", lambda: not Path(f"/proc/{pid}").exists())
    assert alice.journal("hook_failed", tid=tid)[-1]["detail"].startswith("the daemon was stopped meanwhile")
    assert "daemon_stopped" in [line["event"] for line in alice.journal()]


def test_a_reload_brings_a_hook_and_takes_it_away(stopped_pair: Pair) -> None:
    alice = stopped_pair.start().alice
    hooked = Hooked(alice, "alice")

    def reload() -> None:
        before = len(alice.journal("config_reloaded"))
        alice.signal(signal.SIGHUP)
        until("it was reloaded", lambda: len(alice.journal("config_reloaded")) > before)

    reload()
    tid = stopped_pair.bob.hand_over("alice")
    alice.told("hooked", tid=tid)
    alice.edit("on_publish: {alice:", "on_publish: {carol:")
    reload()
    stopped_pair.deliver()
    assert len(hooked.calls()) == 1
