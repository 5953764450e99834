"""A host of the demonstration: its directory, its daemon, and what can be read from outside of both.

It owns `handoffd init` and `handoffd run` as a person would type them, and signals to that daemon. It reads the four
directories, outcomes and journal as docs/directories.md describes them. The rule that must stay true: it never writes
below a root.
"""

import contextlib
import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path

from handoffd.demo.process import Told, start, start_leashed

LOWEST_PORT, HIGHEST_PORT = 20_000, 32_000
"""Below what the kernel hands out for outgoing connections (32768 up), so that none of those takes one in between."""
HANDOFFD = (sys.executable, "-P", "-m", "handoffd")
ANSWER_LIMIT_S = 1.0
FORGETS = 'handoffd_http_responses_total{operation="forget"'


class Host:
    """One host, called `name`, home of one agent."""

    def __init__(self, directory: Path, name: str, agent: str) -> None:
        self.name, self.agent = name, agent
        self.directory = directory / name
        self.root = self.directory / "shared"
        self.log = self.directory / "log"
        ports = contextlib.ExitStack()
        weakref.finalize(self, ports.close)
        self.tls_port, self.local_port = ports.enter_context(held_ports())
        self.daemon: subprocess.Popen[bytes] | None = None
        self._journal_read = 0
        self.directory.mkdir()

    # ------------------------------------------------------------ pairing, as in the README

    def init(self, peer: "Host") -> "subprocess.Popen[bytes]":
        """Start `handoffd init` for this host and its peer."""
        own = ("--host", self.name, "--root", str(self.root), "--agent", self.agent)
        ports = ("--listen-port", str(self.tls_port), "--local-port", str(self.local_port))
        url = f"https://127.0.0.1:{peer.tls_port}"
        other = ("--peer", peer.name, "--peer-url", url, "--peer-agent", peer.agent)
        return start([*HANDOFFD, "init", "--dir", str(self.directory), *own, *ports, *other], self.log)

    def stay_on_loopback(self) -> None:
        """Let the daemon listen on this machine alone; init means two machines."""
        text = self.config.read_text()
        assert text.count("0.0.0.0") == 1
        self.config.write_text(text.replace("0.0.0.0", "127.0.0.1"))

    def hand_files_to(self, peer: "Host") -> None:
        """Copy the two public files that the peer needs."""
        for file in (self.directory / f"for-{peer.name}").iterdir():
            shutil.copy(file, peer.directory / "peers")

    @property
    def config(self) -> Path:
        """Return the configuration file."""
        return self.directory / "handoffd.yaml"

    @property
    def token_file(self) -> Path:
        """Return the file with the secret its agent speaks HTTP with."""
        return self.directory / "tokens" / f"{self.agent}.token"

    # ------------------------------------------------------------ the daemon

    def start(self) -> None:
        """Start the daemon; it ends with this process, however that ends."""
        if self.daemon is not None and self.daemon.stdin is not None:
            self.daemon.stdin.close()
        self.daemon = start_leashed([*HANDOFFD, "run", "--config", str(self.config)], self.log)

    def is_ready(self) -> bool:
        """Tell whether the daemon serves."""
        return self._get("/readyz")[0] == http.HTTPStatus.OK

    def forgets_heard(self) -> int:
        """Return how often a peer has said that it needs some outcomes no more: the last it says of a handoff."""
        lines = self._get("/metrics")[1].splitlines()
        return sum(int(float(line.split()[1])) for line in lines if line.startswith(FORGETS))

    def _get(self, path: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.local_port, timeout=ANSWER_LIMIT_S)
        with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        return 0, ""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the daemon."""
        assert self.daemon is not None
        self.daemon.send_signal(number)

    def is_stopped(self) -> bool:
        """Tell whether SIGSTOP holds the daemon, all its threads."""
        assert self.daemon is not None
        return all(_state(task) == "T" for task in Path(f"/proc/{self.daemon.pid}/task").iterdir())

    def exit_code(self) -> int | None:
        """Return the daemon's exit code, -9 after SIGKILL; None while it runs."""
        return self.daemon.poll() if self.daemon else None

    def has_ended(self) -> bool:
        """Tell whether the daemon is no more."""
        return self.exit_code() is not None

    def last_words(self) -> str:
        """Return the last line the daemon wrote to its log."""
        return (self.log.read_text().splitlines() or ["it wrote nothing"])[-1]

    def unread_bytes(self) -> int:
        """Return the most bytes that wait in one connection of a peer, sent and not yet read by the daemon."""
        rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
        own = [row for row in rows if row[1].endswith(f":{self.tls_port:04X}")]
        return max((int(row[4].partition(":")[2], 16) for row in own if row[3] == "01"), default=0)

    # ------------------------------------------------------------ what its files say

    def names(self, place: str) -> list[str]:
        """Return the names in a directory of the root, agents' unfinished ones left out."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(name for name in os.listdir(self.root / place) if not name.startswith("."))
        return []

    def outcome(self, tid: str) -> Told | None:
        """Return the final record of a handoff."""
        with contextlib.suppress(FileNotFoundError):
            record: Told = json.loads((self.root / "relay" / "outcome" / f"{tid}.json").read_bytes())
            return record
        return None

    def in_custody(self) -> list[str]:
        """Return the names of everything the daemon has not brought to an end."""
        places = ("outbox", "sent", "inbox")
        found = [path for place in places for path in (self.root / "relay" / place).rglob("*") if path.is_file()]
        return [str(path.relative_to(self.root)) for path in found]

    def news(self) -> list[Told]:
        """Return the journal's lines since the last time."""
        with contextlib.suppress(FileNotFoundError), (self.root / "relay" / "events.jsonl").open("rb") as journal:
            journal.seek(self._journal_read)
            whole = journal.read().rpartition(b"\n")[0]
            self._journal_read += len(whole) + 1 if whole else 0
            return [json.loads(line) for line in whole.splitlines() if line]
        return []


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


def _state(task: Path) -> str:
    # The name before it stands in parentheses and may hold anything.
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
