"""Two daemons as processes, and what can be done to and read from them from outside.

It knows the command line, signals, directories, HTTP and the agents' contract, and no module of the daemon but the one
that `handoffd init` stands behind. The rules that must stay true: every wait is for a condition and has a deadline, and
no process outlives its test.
"""

import contextlib
import hashlib
import http.client
import io
import itertools
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import weakref
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hmac import digest
from pathlib import Path
from typing import Any, TypeVar

from handoffd.__main__ import outcome as command_line

T = TypeVar("T")
Told = dict[str, Any]

DEADLINE_S = 60.0
"""Generous: a busy machine is no reason to fail."""
EXPIRY_DEADLINE_S = 130.0
"""Where a handoff must expire: when the wall clock jumps, as in some virtual machines, expiry rests for 60 s."""
SOON_S = 8.0
"""A lifetime whose end a test waits for: long enough to arrive on a busy machine."""
LOOK_EVERY_S = 0.01
STOP_LIMIT_S = 60.0
LOWEST_PORT, HIGHEST_PORT = 20_000, 32_000
"""Below what the kernel hands out for outgoing connections (32768 up)."""
ESTABLISHED = "01"
HANDOFFD = (sys.executable, "-P", "-m", "handoffd")
SECRET = b"the two agents' secret"
OURS = re.compile(r".*-r[0-9a-f]{64}\.json\Z")
ALARMS = re.compile(r"Traceback|never retrieved|was never awaited|failed unexpectedly|Exception in callback| critical ")
"""Nothing that a daemon says in words; each is a bug of it."""


def until(what: str, condition: Callable[[], T | None], deadline_s: float = DEADLINE_S) -> T:
    """Wait until the condition returns something true, and return it."""
    deadline = time.monotonic() + deadline_s
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {deadline_s:g} s: {what}"
        time.sleep(LOOK_EVERY_S)
    return found


# ------------------------------------------------------------------------------------------------- an agent's files

_numbers = itertools.count(random.getrandbits(48))


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def payload(sender: str, to: str, *, ttl_s: float = 60.0, **more: object) -> bytes:
    """Return a signed handoff as agents write it; each is of another caller."""
    now, caller = time.time(), f"{next(_numbers) & (2**64 - 1):016x}"
    fields: Told = {
        "protocol_version": 1,
        "handoff_id": f"{int(now)}-{sender}-{to}-{caller}",
        "caller_hash": caller,
        "from_agent": sender,
        "to_agent": to,
        "reason": "test",
        "initiated_at": moment(now),
        "expires_at": moment(now + ttl_s),
        "transcript": [{"role": "user", "text": "hello"}],
        **more,
    }
    signed = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    fields["hmac"] = b64encode(digest(SECRET, signed, "sha256")).decode()
    return json.dumps(fields).encode()


def tid_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Answer:
    status: int
    data: bytes
    headers: Mapping[str, str]

    @property
    def body(self) -> Told:
        told: Told = json.loads(self.data)
        return told


# ------------------------------------------------------------------------------------------------- a host


class Host:
    """A host with its agents, its root and its daemon; `agent` is the first of them."""

    def __init__(self, directory: Path, name: str, agent: str, *others: str) -> None:
        self.name, self.agent, self.agents = name, agent, (agent, *others)
        self.directory = directory
        self.root = directory / "shared"
        self.config = directory / "handoffd.yaml"
        self.log_file = directory / "log"
        ports = contextlib.ExitStack()
        weakref.finalize(self, ports.close)
        self.tls_port, self.local_port = ports.enter_context(held_ports())
        self.daemon: subprocess.Popen[bytes] | None = None
        self._commands: list[subprocess.Popen[bytes]] = []

    # ------------------------------------------------------------ configuration

    def init(self, peer: "Host | None" = None) -> None:
        command = ["init", "--dir", str(self.directory), "--host", self.name, "--root", str(self.root)]
        command += [word for agent in self.agents for word in ("--agent", agent)]
        command += ["--listen-port", str(self.tls_port), "--local-port", str(self.local_port)]
        if peer is not None:
            command += ["--peer", peer.name, "--peer-url", f"https://127.0.0.1:{peer.tls_port}"]
            command += ["--peer-agent", peer.agent]
        with contextlib.redirect_stdout(io.StringIO()):
            assert command_line(command) == 0
        self.edit("address: 0.0.0.0", "address: 127.0.0.1")

    def edit(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def add(self, text: str) -> None:
        with self.config.open("a") as file:
            file.write(text)

    def call_through(self, peer: "Host", port: int) -> None:
        """Call a peer through something that listens on another port of loopback."""
        stanza = self.directory / "peers.d" / f"{peer.name}.yaml"
        text = stanza.read_text()
        assert f"127.0.0.1:{peer.tls_port}" in text
        stanza.write_text(text.replace(f"127.0.0.1:{peer.tls_port}", f"127.0.0.1:{port}"))

    def token(self, agent: str = "") -> str:
        return (self.directory / "tokens" / f"{agent or self.agent}.token").read_text().strip()

    # ------------------------------------------------------------ the process

    def start(self, *prefix: str, env: Mapping[str, str] | None = None) -> "Host":
        """Start the daemon without waiting for anything."""
        assert self.daemon is None or self.daemon.poll() is not None
        command = [*prefix, *HANDOFFD, "run", "--config", str(self.config)]
        with self.log_file.open("ab") as log:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, **(env or {})}
            )
        return self

    def ready(self) -> "Host":
        until(f"{self.name} is ready", self.is_ready)
        return self

    def is_ready(self) -> bool:
        assert self.process.poll() is None, f"{self.name} ended with {self.process.returncode}"
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.ask("GET", "/readyz", token=None, timeout_s=1.0).status == 200
        return False

    @property
    def process(self) -> "subprocess.Popen[bytes]":
        assert self.daemon is not None
        return self.daemon

    @property
    def pid(self) -> int:
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Hold the daemon still, all its threads, until SIGCONT."""
        self.signal(signal.SIGSTOP)
        tasks = Path(f"/proc/{self.pid}/task")
        until(f"{self.name} stands still", lambda: all(_state(task) == "T" for task in tasks.iterdir()))

    def stop(self) -> int:
        """Stop in order; return the exit code."""
        self.signal(signal.SIGTERM)
        return self.exit_code()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.exit_code()

    def exit_code(self) -> int:
        """Wait for the end of the daemon."""
        return self.process.wait(STOP_LIMIT_S)

    def revive(self) -> None:
        """Start the daemon again if it does not run."""
        if self.process.poll() is not None:
            self.start()

    def end(self) -> None:
        """End whatever runs, whatever state it is in."""
        for process in (*self._commands, *([self.daemon] if self.daemon else [])):
            if process.poll() is None:
                process.kill()
            process.wait(STOP_LIMIT_S)
            for pipe in (process.stdout, process.stderr):
                if pipe is not None:
                    pipe.close()

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    # ------------------------------------------------------------ the command line

    def command(self, *words: str, limit_s: float = STOP_LIMIT_S) -> "subprocess.CompletedProcess[str]":
        """Run one command of the command line on this host's configuration."""
        command = [*HANDOFFD, *words, "--config", str(self.config)]
        return subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)

    def tell(self, *words: str) -> Any:
        """Run a command with --json and return what it says."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def warnings(self) -> list[str]:
        """Return the words of what `handoffd status` warns of, the most urgent first; with any it exits non-zero."""
        told = json.loads(self.command("status", "--json").stdout)
        return [warning["word"] for warning in told["warnings"]]

    def begin(self, *words: str) -> "subprocess.Popen[bytes]":
        """Start a command that goes on; it ends with the host."""
        command = [*HANDOFFD, *words, "--config", str(self.config)]
        begun = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert begun.stdout is not None
        os.set_blocking(begun.stdout.fileno(), False)
        self._commands.append(begun)
        return begun

    # ------------------------------------------------------------ HTTP

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = "",
        headers: Mapping[str, str] | None = None,
        timeout_s: float = DEADLINE_S,
    ) -> Answer:
        """Ask the daemon over loopback, with its own agent's token unless another or None is given."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token or self.token()}"
        connection = http.client.HTTPConnection("127.0.0.1", self.local_port, timeout=timeout_s)
        with contextlib.closing(connection):
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read(), dict(answer.headers))

    def post(self, path: str, body: bytes | None = None, **options: Any) -> Answer:
        return self.ask("POST", f"/api/v1/handoffs/{path}", body, **options)

    def clients(self) -> int:
        """Return how many connections to the port on loopback are open at both ends, by what the kernel says."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(row[1].endswith(f":{self.local_port:04X}") and row[3] == ESTABLISHED for row in rows)

    # ------------------------------------------------------------ what its files say

    def names(self, place: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.root / place) if not name.startswith("."))
        return []

    def read(self, place: str, name: str) -> bytes:
        return (self.root / place / name).read_bytes()

    def outcome(self, tid: str) -> Told | None:
        with contextlib.suppress(FileNotFoundError):
            record: Told = json.loads((self.root / "relay" / "outcome" / f"{tid}.json").read_bytes())
            return record
        return None

    def ended(self, tid: str, deadline_s: float = DEADLINE_S) -> Told:
        return until(f"{tid[:8]} has ended on {self.name}", lambda: self.outcome(tid), deadline_s)

    def in_custody(self) -> list[str]:
        places = ("outbox", "sent", "inbox")
        found = [path for place in places for path in (self.root / "relay" / place).rglob("*") if path.is_file()]
        return sorted(str(path.relative_to(self.root)) for path in found)

    def journal(self, event: str = "", **wanted: object) -> list[Told]:
        """Return the journal's lines, of one event and with these fields if given."""
        with contextlib.suppress(FileNotFoundError):
            whole = (self.root / "relay" / "events.jsonl").read_bytes().rpartition(b"\n")[0]
            lines = [_line(line) for line in whole.splitlines()]
            return [
                line
                for line in lines
                if event in ("", line.get("event")) and all(line.get(key) == value for key, value in wanted.items())
            ]
        return []

    def told(self, event: str, deadline_s: float = DEADLINE_S, **wanted: object) -> Told:
        """Wait for a line of the journal and return the last of its kind."""
        return until(f"{event} on {self.name}", lambda: self.journal(event, **wanted), deadline_s)[-1]

    def log(self) -> str:
        with contextlib.suppress(FileNotFoundError):
            return self.log_file.read_text()
        return ""

    def alarms(self) -> list[str]:
        return [line for line in self.log().splitlines() if ALARMS.search(line)]

    # ------------------------------------------------------------ its agent

    def write(self, data: bytes, name: str = "") -> str:
        """Write a handoff as agents do, under a temporary name first; return its T."""
        name = name or f"{json.loads(data)['caller_hash']}-0.json"
        temporary = self.root / "handoff" / f".{name}.tmp"
        temporary.write_bytes(data)
        os.replace(temporary, self.root / "handoff" / name)
        return tid_of(data)

    def hand_over(self, to: str, **fields: Any) -> str:
        return self.write(payload(self.agent, to, **fields))

    def published(self, tid: str) -> str:
        """Wait until T is claimable here and return its file name."""
        return until(
            f"{tid[:8]} is claimable on {self.name}",
            lambda: next((name for name in self.names("handoff") if tid in name), None),
        )

    def claim(self, tid: str) -> str:
        """Wait until T is claimable here, and claim it; one that a start takes back is published again."""

        def claimed() -> str | None:
            name = self.published(tid)
            with contextlib.suppress(FileNotFoundError):
                os.rename(self.root / "handoff" / name, self.root / "claimed" / name)
                return name
            return None

        return until(f"{tid[:8]} is claimed on {self.name}", claimed)

    def archive(self, name: str, as_name: str = "", *, appended: str = "") -> bytes:
        """End a claim as agents do: under another name, with a transcript that may have grown."""
        source = self.root / "claimed" / name
        data = source.read_bytes()
        if appended:
            fields = json.loads(data)
            fields["transcript"].append({"role": "assistant", "text": appended})
            data = json.dumps(fields).encode()
            source.with_name(f".{name}.tmp").write_bytes(data)
            os.replace(source.with_name(f".{name}.tmp"), source)
        os.rename(source, self.root / "archive" / (as_name or name))
        return data


class Pair:
    """bob-vm, where bob lives, and alice-vm, where alice lives and, unknown to bob-vm, carol."""

    def __init__(self, directory: Path) -> None:
        self.bob = Host(directory / "a", "bob-vm", "bob")
        self.alice = Host(directory / "b", "alice-vm", "alice", "carol")
        self.hosts: Sequence[Host] = (self.bob, self.alice)
        self.bob.init(self.alice)
        self.alice.init(self.bob)
        for host, peer in ((self.bob, self.alice), (self.alice, self.bob)):
            for file in (host.directory / f"for-{peer.name}").iterdir():
                shutil.copy(file, peer.directory / "peers")

    def start(self) -> "Pair":
        for host in self.hosts:
            host.start()
        return self.linked()

    def linked(self) -> "Pair":
        """Wait until both serve and reach each other."""
        for host in self.hosts:
            host.ready()
        until("both links are up", lambda: all(self._is_up(host) for host in self.hosts))
        return self

    @staticmethod
    def _is_up(host: Host) -> bool:
        turns = [line["event"] for line in host.journal() if line["event"] in TURNS]
        return turns[-1:] == ["link_up"]

    def end(self) -> None:
        for host in self.hosts:
            host.end()

    def deliver(self) -> str:
        """Hand one over from bob and let alice complete it; return its T once both know the end."""
        tid = self.bob.hand_over("alice")
        self.alice.archive(self.alice.claim(tid))
        for host in self.hosts:
            assert host.ended(tid)["reason"] == "completed"
        return tid


TURNS = ("link_up", "link_down", "daemon_started")


@contextlib.contextmanager
def ending(*hosts: Host) -> Iterator[None]:
    """End these hosts whatever happens, show their logs, and let no daemon have stumbled."""
    try:
        yield
    finally:
        for host in hosts:
            host.end()
            print(f"--- log of {host.name} ({host.log_file})\n{host.log()}")
    for host in hosts:
        assert host.alarms() == []


def _state(task: Path) -> str:
    # The name before it stands in parentheses and may hold anything.
    return (task / "stat").read_text().rpartition(")")[2].split()[0]


def _line(data: bytes) -> Told:
    """Return a line of the journal; one that a full disk or a kill tore says nothing."""
    with contextlib.suppress(ValueError):
        told: Told = json.loads(data)
        return told
    return {"torn": data}


@contextlib.contextmanager
def held_ports() -> Iterator[tuple[int, int]]:
    """Hold two TCP ports nobody listens on: who looks for a free one finds another, and a daemon can listen there."""
    with socket.socket() as one, socket.socket() as other:
        yield _bound(one), _bound(other)


def _bound(sock: socket.socket) -> int:
    for port in random.sample(range(LOWEST_PORT, HIGHEST_PORT), 100):
        with contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            # Only now, or two that look for a port would share it; a daemon's listener, which has this set, may.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            return port
    raise OSError(f"no free TCP port found between {LOWEST_PORT} and {HIGHEST_PORT}")
