"""One host of the suite: its shared directory, its daemon, its agents, and what can happen to it.

Reads the directories through the bind mount and acts through `docker exec`. It knows the layout of `relay/` only to
look at it: scenarios never write there.
"""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.engine import DEADLINE_S, docker, eventually

ROOT = "/srv/voice-shared"
SUITE = "/run/suite"
NETWORK = "handoffd-suite_{}"
PEER_PORT = 8788

Fields = dict[str, Any]


@dataclass(frozen=True)
class Written:
    """One handoff that an initiator wrote; `tid`, the SHA-256 of its bytes, is what it is known by on both hosts."""

    file: str
    tid: str
    handoff_id: str
    expires_at: str


class Host:
    """A container with one daemon, held or running, and the agents that were started in it."""

    def __init__(
        self,
        name: str,
        agent: str,
        directory: Path,
        owner: tuple[int, int],
        *,
        inside: str = ROOT,
        network: str = "between",
    ) -> None:
        """`inside`: where the root is mounted; `network`: the one that is unplugged."""
        self.name, self.agent, self.directory, self.owner = name, agent, directory, owner
        self.inside, self.network = inside, NETWORK.format(network)
        self.root, self.suite, self.config = directory / "root", directory / "suite", directory / "config"
        self.container = ""

    # ---------------------------------------------------------------- looking

    def ls(self, place: str) -> list[str]:
        """Return the visible names in a directory below the root, sorted; none when there is no such directory."""
        try:
            return sorted(name for name in os.listdir(self.root / place) if not name.startswith("."))
        except FileNotFoundError:
            return []

    def read(self, place: str, name: str) -> bytes:
        """Return the bytes of one file."""
        return (self.root / place / name).read_bytes()

    def digest(self, place: str, name: str) -> str:
        """Return the SHA-256 of one file."""
        return hashlib.sha256(self.read(place, name)).hexdigest()

    def outcome(self, tid: str) -> Fields | None:
        """Return this host's outcome of one transfer, or None while it has none."""
        try:
            fields: Fields = json.loads(self.read("relay/outcome", f"{tid}.json"))
        except FileNotFoundError:
            return None
        return fields

    def final(self, tid: str, within_s: float = DEADLINE_S) -> Fields:
        """Wait for this host's outcome of one transfer and return it."""
        outcome = eventually(f"an outcome of {tid[:12]} on {self.name}", lambda: self.outcome(tid), within_s)
        assert outcome is not None
        return outcome

    def ledger(self, name: str | None = None, what: str | None = None) -> list[Fields]:
        """Return the lines one agent wrote to its log, or only those of one kind."""
        try:
            text = (self.suite / f"{name or self.agent}.jsonl").read_text()
        except FileNotFoundError:
            return []
        lines = text[: text.rfind("\n") + 1].splitlines()  # an agent may be in the middle of the last one
        parsed = [json.loads(line) for line in lines]
        return [line for line in parsed if what in (None, line["what"])]

    def agents_log(self) -> list[str]:
        """Return what this host's agents wrote to standard error: nothing, unless one crashed."""
        path = self.suite / "agents.log"
        return path.read_text().splitlines() if path.exists() else []

    def journal(self) -> list[Fields]:
        """Return the events of this host's daemon."""
        try:
            content = (self.root / "relay" / "events.jsonl").read_bytes()
        except FileNotFoundError:
            return []
        return list(whole_lines(content))

    def exits(self) -> list[int]:
        """Return the exit statuses of every daemon that ended here; 137 is SIGKILL."""
        path = self.suite / "exits"
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    # ---------------------------------------------------------------- agents

    def execute(self, *command: str, check: bool = True) -> str:
        """Run a command on this host, by this host's clock, and return its output."""
        return docker("exec", self.container, "on-this-host", *command, check=check)

    def begin(self, *command: str) -> None:
        """Start a command on this host and leave it running; what it says on standard error goes to agents.log."""
        line = f'exec on-this-host "$@" >>{SUITE}/agents.out 2>>{SUITE}/agents.log'
        docker("exec", "--detach", self.container, "sh", "-c", line, "sh", *command)

    def initiator(self, to: str, *options: str, caller: str = "Anna", lifetime_s: float = 600.0) -> tuple[str, ...]:
        """Return the command line of an agent that hands callers over."""
        return (
            *("/opt/agents/initiator.py", "--root", self.inside, "--from", self.agent, "--to", to, "--caller", caller),
            *("--secret-file", f"{SUITE}/pair.key", "--ledger", f"{SUITE}/{self.agent}.jsonl"),
            *("--lifetime", str(lifetime_s), *options),
        )

    def hand_over(self, to: str, *options: str, caller: str = "Anna", lifetime_s: float = 600.0) -> list[Written]:
        """Let this host's agent write handoffs now; return them in order."""
        output = self.execute(*self.initiator(to, *options, caller=caller, lifetime_s=lifetime_s))
        lines = [json.loads(line) for line in output.splitlines()]
        return [Written(line["file"], line["sha256"], line["handoff_id"], line["expires_at"]) for line in lines]

    def hand_over_one(self, to: str, *options: str, caller: str = "Anna", lifetime_s: float = 600.0) -> Written:
        """Let this host's agent write one handoff now."""
        (written,) = self.hand_over(to, *options, caller=caller, lifetime_s=lifetime_s)
        return written

    def listen(self, *options: str, name: str | None = None) -> None:
        """Start a listener for this host's agent and wait until it listens; `name` is that of its ledger."""
        ledger = name or self.agent
        command = ("/opt/agents/listener.py", "--root", self.inside, "--agent", self.agent)
        secrets = ("--secret-file", f"{SUITE}/pair.key", "--ledger", f"{SUITE}/{ledger}.jsonl")
        self._begin_listening(ledger, *command, *secrets, *options)

    def listen_over_http(self, *options: str, name: str) -> None:
        """Start a listener that has no shared directory and asks the hub of this host."""
        command = ("/opt/agents/http_listener.py", "--hub", "http://127.0.0.1:8787", "--agent", self.agent)
        files = ("--token-file", f"{SUITE}/{self.agent}.token", "--ledger", f"{SUITE}/{name}.jsonl")
        self._begin_listening(name, *command, *files, *options)

    def _begin_listening(self, ledger: str, *command: str) -> None:
        before = len(self.ledger(ledger, "listening"))
        self.begin(*command)
        eventually(f"{ledger} listens on {self.name}", lambda: len(self.ledger(ledger, "listening")) > before)

    def compose_payload(self, to: str, *options: str) -> bytes:
        """Return the signed text of one handoff that was written beside the shared directory, not into it."""
        self.execute("mkdir", "-p", f"{SUITE}/aside/handoff")
        command = self.initiator(to, *options, "--root", f"{SUITE}/aside", "--ledger", f"{SUITE}/aside/ledger")
        written = json.loads(self.execute(*command))
        path = self.suite / "aside" / "handoff" / written["file"]
        content: bytes = path.read_bytes()
        path.unlink()
        return content

    def post(self, payload: bytes) -> Fields:
        """Let this host's agent post a payload to its own hub; return `status` and `body` of the answer."""
        (self.suite / "payload").write_bytes(payload)
        hub = ("--hub", "http://127.0.0.1:8787", "--token-file", f"{SUITE}/{self.agent}.token")
        answer: Fields = json.loads(
            self.execute("/opt/agents/http_initiator.py", *hub, "--payload", f"{SUITE}/payload")
        )
        return answer

    def drop(self, name: str, content: bytes) -> str:
        """Write any bytes into `handoff/` as an agent would, and return their SHA-256."""
        temporary = self.root / "handoff" / f".{name}.tmp"
        temporary.write_bytes(content)
        os.chown(temporary, *self.owner)
        os.replace(temporary, self.root / "handoff" / name)
        return hashlib.sha256(content).hexdigest()

    # ---------------------------------------------------------------- the daemon

    def daemon_pid(self) -> int | None:
        """Return the process id of the running daemon, as seen inside the container."""
        text = (self.suite / "daemon.pid").read_text().strip()
        return int(text) if text else None

    def signal_daemon(self, number: signal.Signals) -> None:
        """Send a signal to the daemon; nothing happens when there is none."""
        if pid := self.daemon_pid():
            docker("exec", self.container, "kill", f"-{number.value}", str(pid), check=False)

    def kill_daemon(self) -> None:
        """End the daemon with SIGKILL and wait until it is started again and ready."""
        ends = len(self.exits())
        self.signal_daemon(signal.SIGKILL)
        eventually(f"the daemon of {self.name} is dead", lambda: len(self.exits()) > ends)
        self.wait_ready()

    def kill_daemon_when(self, pattern: str) -> None:
        """Lay a wire: the daemon dies by SIGKILL the moment a path below the root matches, and is started again."""
        self.begin("tripwire", f"{self.inside}/{pattern}")
        eventually("the wire is laid", lambda: "armed" in tail(self.suite / "agents.out"))

    def crash_daemon(self) -> None:
        """End the daemon with SIGKILL and keep it down until `start_daemon`."""
        self.stop_daemon(signal.SIGKILL)

    def stop_daemon(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the daemon and keep it down until `start_daemon`."""
        (self.suite / "hold").touch()
        self.signal_daemon(number)
        eventually(f"the daemon of {self.name} has ended", lambda: self.daemon_pid() is None)

    def start_daemon(self) -> None:
        """Let the daemon run again and wait until it serves."""
        (self.suite / "hold").unlink(missing_ok=True)
        self.wait_ready()

    def restart_daemon(self) -> None:
        """Stop the daemon in good order and start it, as after a change of its configuration."""
        self.stop_daemon()
        self.start_daemon()

    def wait_ready(self) -> None:
        """Wait until the daemon says that it serves."""
        docker("exec", self.container, "wait-ready")

    # ---------------------------------------------------------------- trouble

    def unread_bytes(self) -> int:
        """Return how much the kernel has taken for the peers' port that the daemon has not read yet."""
        rows = [line.split() for line in self.execute("cat", "/proc/net/tcp").splitlines()[1:]]
        queues = [row[4].split(":")[1] for row in rows if row[1].endswith(f":{PEER_PORT:04X}")]
        return sum(int(queue, 16) for queue in queues)

    @contextmanager
    def frozen_daemon(self) -> Iterator[None]:
        """Stop the daemon where it stands for a block; agents and kernel go on."""
        self.signal_daemon(signal.SIGSTOP)
        try:
            yield
        finally:
            self.signal_daemon(signal.SIGCONT)

    def unplug(self) -> None:
        """Take this host off the network; what is in flight is lost."""
        docker("network", "disconnect", self.network, self.container)

    def plug_in(self) -> None:
        """Put this host back on the network; nothing happens when it is there."""
        if self.network not in docker("inspect", "--format", "{{json .NetworkSettings.Networks}}", self.container):
            docker("network", "connect", "--alias", self.name, self.network, self.container)

    @contextmanager
    def unplugged(self) -> Iterator[None]:
        """Keep this host off the network for the length of a block."""
        self.unplug()
        try:
            yield
        finally:
            self.plug_in()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Freeze every process of this host for a block: the kernel still takes packets, nobody reads them."""
        docker("pause", self.container)
        try:
            yield
        finally:
            docker("unpause", self.container, check=False)

    def power_off(self) -> None:
        """Kill the whole container, daemon and agents; its disk stays."""
        docker("kill", self.container)

    def power_on(self) -> None:
        """Start the container again and wait until the daemon serves."""
        docker("start", self.container)
        self.wait_ready()

    def set_clock(self, offset_s: int) -> None:
        """Make the wall clock wrong for everything that starts on this host from now on."""
        (self.suite / "clock").write_text(f"{offset_s:+d}s" if offset_s else "")

    # ---------------------------------------------------------------- a fresh host

    def wipe(self) -> None:
        """Empty the shared directory and everything this suite noted, while nothing runs here."""
        for directory in (self.root, self.suite):
            for path in directory.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        (self.suite / "daemon.pid").touch()
        os.chown(self.suite / "daemon.pid", *self.owner)

    def story(self) -> str:
        """Return what a person would want to see of this host after a failed scenario."""
        files = [str(path.relative_to(self.root)) for path in sorted(self.root.rglob("*")) if path.is_file()]
        tails = [f"--- {name}\n" + tail(self.suite / name) for name in ("daemon.log", "agents.log", "exits")]
        journal = "--- journal\n" + tail(self.root / "relay" / "events.jsonl")
        return "\n".join(["--- files", *files[:200], *tails, journal])


def whole_lines(content: bytes) -> Iterator[Fields]:
    """Return the objects of JSON lines; one that is being written, or that a kill tore, says nothing."""
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        with suppress(ValueError):
            yield json.loads(line)


def tail(path: Path, lines: int = 40) -> str:
    """Return the last lines of a text file, or that there is none."""
    if not path.exists():
        return f"(no {path.name})"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
