"""Wake hooks: what they are told, what ends them, what is written down, and what a restart makes of it."""

import contextlib
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.leap import Leap

from handoffd.app import hook as hook_module
from handoffd.app.hook import AT_ONCE, Hooks
from handoffd.app.hook_call import Hook
from handoffd.app.hook_mark import SWEEP_EVERY, Marks, key_of
from handoffd.custody.ledger import Facts
from handoffd.custody.message import Waiting
from handoffd.protocol.name import TransferId

T = "5" * 64
N = f"0011223344556677-r{T}.json"
FACTS = Facts(TransferId(T), "1795168800-bob-alice-0011223344556677", None, "bob", "alice")
DEADLINE_S = 30.0


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Rig:
    """A root, its hooks, and the journal's lines."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.lines: list[dict[str, Any]] = []
        for place in ("handoff", "claimed", "relay"):
            (root / place).mkdir()
        self.all: list[Hooks] = []

    def note(self, event: str, **fields: object) -> None:
        self.lines.append({"event": event, **fields})

    def hooks(self, hook: Hook) -> Hooks:
        self.all.append(Hooks(self.root, {"alice": hook}, self.note))
        return self.all[-1]

    def publish(self, name: str = N) -> Waiting:
        (self.root / "handoff" / name).write_bytes(b"the caller's card number")
        return Waiting("alice", name, FACTS)

    def marks(self) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(os.listdir(self.root / "relay/hooked"))
        return []

    def told(self, count: int = 1) -> dict[str, Any]:
        until(lambda: len(self.lines) >= count)
        return self.lines[-1]


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    for hooks in rig.all:
        hooks.close()


def command(code: str, *arguments: str) -> Hook:
    return Hook((sys.executable, "-c", code, *arguments), None, DEADLINE_S)


# ---------------------------------------------------------------- a command


def test_a_command_gets_ids_and_a_path_and_nothing_of_the_payload(rig: Rig, tmp_path: Path) -> None:
    code = "import json, os, sys; json.dump([sys.stdin.read(), dict(os.environ), os.getcwd()], open(sys.argv[1], 'w'))"
    rig.hooks(command(code, str(tmp_path / "told"))).offer(rig.publish())
    line = rig.told()
    assert (line["event"], line["tid"], line["to"], line["file"]) == ("hooked", T, "alice", N)
    assert line["detail"].endswith(" ms")
    text, environment, place = json.loads((tmp_path / "told").read_text())
    expected = {
        "handoff_id": FACTS.handoff_id,
        "tid": T,
        "from": "bob",
        "to": "alice",
        "file": str(rig.root / "handoff" / N),
    }
    assert json.loads(text) == expected
    assert {key: environment[f"HANDOFF_{key.upper()}"] for key in expected if key != "handoff_id"} == {
        key: value for key, value in expected.items() if key != "handoff_id"
    }
    assert environment["HANDOFF_ID"] == FACTS.handoff_id
    assert place == str(rig.root)
    assert "card number" not in json.dumps([text, environment])


def test_the_service_managers_words_are_for_the_daemon_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    code = "import os, sys; sys.exit(any(name.startswith(('NOTIFY', 'WATCHDOG')) for name in os.environ))"
    rig.hooks(command(code)).offer(rig.publish())
    assert rig.told()["event"] == "hooked"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('no audio device')", "exit 1: no audio device"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9 (Killed)"),
    ],
)
def test_a_failure_is_written_down_and_not_tried_again(rig: Rig, code: str, words: str) -> None:
    hooks = rig.hooks(command(code))
    hooks.offer(item := rig.publish())
    line = rig.told()
    assert (line["event"], line["detail"]) == ("hook_failed", words)
    until(lambda: not hooks._under_way)
    hooks.offer(item)
    rig.hooks(command(code)).offer(item)
    hooks.close()
    assert len(rig.lines) == 1
    assert rig.marks() == [N]


def test_a_program_that_is_gone_is_a_failure(rig: Rig) -> None:
    rig.hooks(Hook(("/nowhere/wake",), None, 1.0)).offer(rig.publish())
    assert rig.told()["detail"] == "cannot start /nowhere/wake: No such file or directory"


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf])
open(sys.argv[1] + ".part", "w").write(f"{os.getpid()} {child.pid}")
os.rename(sys.argv[1] + ".part", sys.argv[1])
print("ready", file=sys.stderr, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.fixture
def short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoffd.app.hook_call.TERM_GRACE_S", 0.05)


@pytest.mark.usefixtures("short_grace")
def test_past_its_time_the_whole_group_is_killed(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoffd.offspring.time", Leap(tmp_path / "pids"))
    rig.hooks(command(STUBBORN, str(tmp_path / "pids"))).offer(rig.publish())
    assert rig.told()["detail"].startswith(f"timed out after {DEADLINE_S:g} s")
    assert rig.marks() == [N]
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(map(is_alive, pids)))


@pytest.mark.usefixtures("short_grace")
def test_a_stop_ends_it_unmarked_and_the_next_start_runs_it_again(rig: Rig, tmp_path: Path) -> None:
    hooks = rig.hooks(command(STUBBORN, str(tmp_path / "pids")))
    hooks.offer(item := rig.publish())
    until((tmp_path / "pids").exists)
    hooks.close()
    assert rig.lines[-1]["detail"] == hook_module.CUT
    assert rig.marks() == []
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    until(lambda: not any(map(is_alive, pids)))
    rig.hooks(command("pass")).offer(item)
    assert rig.told(2)["event"] == "hooked"


def test_a_chatty_command_is_not_held_up_by_what_it_says(rig: Rig) -> None:
    rig.hooks(command("import sys; sys.stderr.write('x' * 3_000_000 + ' the end'); sys.exit(3)")).offer(rig.publish())
    detail = rig.told()["detail"]
    assert detail.endswith("x the end")
    assert len(detail) < 300


def test_what_it_leaves_running_does_not_hold_it_up(rig: Rig) -> None:
    """It may start the agent itself, which keeps standard error open."""
    code = "import subprocess, sys; print(subprocess.Popen(['sleep', '600']).pid, file=sys.stderr); sys.exit(7)"
    rig.hooks(command(code)).offer(rig.publish())
    head, _, pid = rig.told()["detail"].partition(": ")
    assert head == "exit 7"
    os.kill(int(pid), 9)


# ---------------------------------------------------------------- a URL


class Server:
    """Answers each POST with `status`, after `before`."""

    def __init__(self, status: int = 204, before: Callable[[BaseHTTPRequestHandler], None] = lambda request: None):
        self.bodies: list[Any] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.bodies.append((self.path, json.loads(body)))
                before(self)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    self.send_header("Location", "http://127.0.0.1:1/")
                    self.end_headers()

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/wake?who=alice"

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


def test_a_url_is_posted_the_same_ids(rig: Rig) -> None:
    with Server() as server:
        rig.hooks(Hook(None, server.url, DEADLINE_S)).offer(rig.publish())
        assert rig.told()["event"] == "hooked"
    ((path, body),) = server.bodies
    assert path == "/wake?who=alice"
    assert (body["tid"], body["to"]) == (T, "alice")


@pytest.mark.parametrize("status", [302, 404, 500])
def test_any_other_answer_is_a_failure_and_no_redirect_is_followed(rig: Rig, status: int) -> None:
    with Server(status) as server:
        rig.hooks(Hook(None, server.url, DEADLINE_S)).offer(rig.publish())
        line = rig.told()
    assert (line["event"], line["detail"]) == ("hook_failed", f"{server.url}: HTTP {status}")


def drip(request: BaseHTTPRequestHandler) -> None:
    """Say one byte now and then, so that no single read ever times out."""
    with contextlib.suppress(OSError):
        for _ in range(600):
            request.connection.send(b"H")
            time.sleep(0.1)


def test_an_answer_that_drips_in_is_given_up_in_time(rig: Rig) -> None:
    with Server(before=drip) as server:
        rig.hooks(Hook(None, server.url, 0.2)).offer(rig.publish())
        assert rig.told()["detail"] == "timed out after 0.2 s"


def test_a_stop_ends_a_call_too(rig: Rig) -> None:
    with Server(before=drip) as server:
        hooks = rig.hooks(Hook(None, server.url, DEADLINE_S))
        hooks.offer(rig.publish())
        until(lambda: server.bodies)
        hooks.close()
        assert rig.lines[-1]["detail"] == hook_module.CUT
    assert rig.marks() == []


def test_nobody_there_is_a_failure(rig: Rig) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/"
        rig.hooks(Hook(None, url, DEADLINE_S)).offer(rig.publish())
        assert "ConnectionRefusedError" in rig.told()["detail"]


# ---------------------------------------------------------------- queue and marks


def test_offering_never_waits_and_only_some_run_at_once(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "running").mkdir()
    code = (
        "import os, sys, time\n"
        "open(f'{sys.argv[1]}/running/{os.getpid()}', 'w').close()\n"
        "while not os.path.exists(f'{sys.argv[1]}/go'): time.sleep(0.01)\n"
    )
    hooks = rig.hooks(command(code, str(tmp_path)))
    items = [rig.publish(f"{number:016x}-r{T}.json") for number in range(3 * AT_ONCE)]
    for item in items:
        hooks.offer(item)
    until(lambda: len(os.listdir(tmp_path / "running")) == AT_ONCE)
    assert rig.lines == []
    (tmp_path / "go").touch()
    rig.told(len(items))
    assert len(os.listdir(tmp_path / "running")) == len(items)


def test_what_is_claimed_by_then_needs_no_mark(rig: Rig) -> None:
    code = "import os, sys; os.rename(os.environ['HANDOFF_FILE'], 'claimed/x')"
    rig.hooks(command(code)).offer(rig.publish())
    assert rig.told()["event"] == "hooked"
    assert rig.marks() == []


def test_one_claimed_before_its_turn_is_hooked_all_the_same(rig: Rig) -> None:
    item = rig.publish()
    (rig.root / "handoff" / N).unlink()
    rig.hooks(command("pass")).offer(item)
    assert rig.told()["event"] == "hooked"


def test_an_agent_without_a_hook_costs_no_thread(rig: Rig) -> None:
    hooks = rig.hooks(command("pass"))
    hooks.offer(Waiting("carol", N, FACTS))
    assert hooks._pool is None


def test_a_reload_counts_for_what_comes_after_it(rig: Rig) -> None:
    hooks = rig.hooks(command("raise SystemExit(1)"))
    hooks.configure({"alice": command("pass")})
    hooks.offer(rig.publish())
    assert rig.told()["event"] == "hooked"


def test_a_mark_that_cannot_be_made_is_told(rig: Rig) -> None:
    (rig.root / "relay/hooked").touch()
    rig.hooks(command("pass")).offer(rig.publish())
    until(lambda: any("not marked, a restart runs it once more: " in line["detail"] for line in rig.lines))


def test_a_fault_in_one_leaves_the_others_alone(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    hooks = rig.hooks(command("pass"))
    hooks.offer(Waiting("alice", "a\0b", FACTS))
    hooks.offer(rig.publish())
    until(lambda: {line["event"] for line in rig.lines} == {"hooked", "hook_failed"})
    assert "a wake hook met a fault" in caplog.text


def test_marks_go_with_what_they_mark(rig: Rig) -> None:
    marks = Marks(rig.root)
    for number in range(SWEEP_EVERY):
        name = f"{number}.json"
        rig.publish(name)
        marks.mark(key_of(name, 17))
        if number:
            (rig.root / "handoff" / name).unlink()
    assert rig.marks() == ["0.json~17", f"{SWEEP_EVERY - 1}.json~17"]  # the last one was there when it was swept
    assert marks.is_marked("0.json~17")
    assert not marks.is_marked(key_of("0.json", 18))
