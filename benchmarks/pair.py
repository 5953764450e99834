"""Two handoffd daemons of this machine, bob-vm and alice-vm: identities, tokens, configuration, start and stop.

What it writes is what an operator would write. Full fsync and TLS are not options, so nothing here asks for them.
"""

import contextlib
import hashlib
import http.client
import json
import secrets
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.carrier import Carrier
from benchmarks.payload import make_root
from benchmarks.process import first_line, module, running
from handoffd.identity import make_identity

START_LIMIT_S = 30
BOB, ALICE = "bob-vm", "alice-vm"
_AGENT = {BOB: "bob", ALICE: "alice"}


class DidNotStart(Exception):
    """A daemon did not become ready; the message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Host:
    """One daemon's place: its directory of configuration, its root and its two ports."""

    name: str
    directory: Path
    plain_port: int
    tls_port: int

    @property
    def config(self) -> Path:
        """Return its configuration file."""
        return self.directory / "handoffd.yaml"

    @property
    def root(self) -> Path:
        """Return its shared directory."""
        return self.directory / "root"

    @property
    def agent_token(self) -> str:
        """Return the secret its agent speaks HTTP with."""
        return (self.directory / "agent.token").read_text()


@dataclass(frozen=True, slots=True)
class Pair:
    """Two running daemons, and what carries between them."""

    sender: Host
    carrier: Carrier


@contextlib.contextmanager
def pair(directory: Path, *, delay_ms: int = 0, watch: str = "auto") -> Iterator[Pair]:
    """Run two daemons between new roots, with `delay_ms` added each way. Raises DidNotStart."""
    hosts = [_make_host(directory / name, name) for name in (BOB, ALICE)]
    with contextlib.ExitStack() as stack:
        for host, peer in (hosts, hosts[::-1]):
            port = peer.tls_port
            if delay_ms:
                port = int(first_line(stack.enter_context(running(module("proxy", str(port), str(delay_ms))))))
            _introduce(host, peer, port, watch)
        pids = {host.name: stack.enter_context(_daemon(host)) for host in hosts}
        yield Pair(hosts[0], Carrier(hosts[0].root, hosts[1].root, pids, tells_outcomes=True))


def _make_host(directory: Path, name: str) -> Host:
    plain_port, tls_port = _free_ports()
    host = Host(name, directory, plain_port, tls_port)
    make_root(host.root)
    certificate, key = make_identity(name, time.time())
    _write(directory / "identity" / f"{name}.pem", certificate)
    _write(directory / "identity" / f"{name}.key", key)
    token = secrets.token_hex(32)
    _write(directory / "agent.token", token.encode())
    _write(directory / "agent.sha256", _digest(token))
    return host


def _introduce(host: Host, peer: Host, peer_port: int, watch: str) -> None:
    """Write what `host` is told of `peer`, and its configuration."""
    token = secrets.token_hex(32)
    _write(host.directory / "peers" / f"{peer.name}.out", token.encode())
    _write(peer.directory / "peers" / f"{host.name}.in.sha256", _digest(token))
    pinned = (peer.directory / "identity" / f"{peer.name}.pem").read_bytes()
    _write(host.directory / "peers" / f"{peer.name}.pem", pinned)
    document = {
        "host": host.name,
        "root": str(host.root),
        "agents": [_AGENT[host.name]],
        "listen": [
            {"address": "127.0.0.1", "port": host.plain_port},
            {"address": "127.0.0.1", "port": host.tls_port, "tls": True},
        ],
        "agent_tokens": {_AGENT[host.name]: "agent.sha256"},
        "peers": {
            peer.name: {
                "url": f"https://127.0.0.1:{peer_port}",
                "agents": [_AGENT[peer.name]],
                "certificate": f"peers/{peer.name}.pem",
                "token": f"peers/{peer.name}.out",
                "accepts": f"peers/{peer.name}.in.sha256",
            }
        },
        "watch": watch,
        # Lookups by id are timed one after the other, far above what one agent is allowed by default.
        "limits": {"agent_requests_per_s": 10_000.0, "agent_burst": 100_000},
        "log": {"level": "warning"},
    }
    _write(host.config, json.dumps(document, indent=1).encode())  # JSON is YAML


@contextlib.contextmanager
def _daemon(host: Host) -> Iterator[int]:
    log = host.directory / "log"
    with log.open("wb") as errors:
        command = [sys.executable, "-m", "handoffd", "run", "--config", str(host.config)]
        with running(command, errors) as process:
            _await_ready(host, process.poll, log)
            yield process.pid


def _await_ready(host: Host, ended: Callable[[], int | None], log: Path) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline and ended() is None:
        with contextlib.suppress(OSError):
            if get(host.plain_port, "/readyz")[0] == http.HTTPStatus.OK:
                return
        time.sleep(0.05)
    raise DidNotStart(f"{host.name} (exit code {ended()}): {log.read_text()[-2_000:] or 'it wrote nothing'}")


def get(port: int, path: str, token: str | None = None) -> tuple[int, bytes]:
    """Return status and body of one request to a daemon's plain listener."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _free_ports() -> tuple[int, int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).hexdigest().encode() + b"\n"


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)
