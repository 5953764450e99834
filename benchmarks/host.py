"""One handoffd daemon of this machine: identity, tokens, configuration, start and stop.

What it writes is what an operator would write. Full fsync and TLS are not options, so nothing here asks for them.
"""

import contextlib
import hashlib
import http.client
import json
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.payload import make_root
from benchmarks.process import running
from handoffd.demo.host import held_ports
from handoffd.identity import make_identity

START_LIMIT_S = 30
Stanza = dict[str, object]


class DidNotStart(Exception):
    """A daemon did not become ready; the message holds the end of what it wrote."""


@dataclass(frozen=True, slots=True)
class Host:
    """One daemon's place: its directory of configuration, its root and its two ports. `agents` live there."""

    name: str
    agents: tuple[str, ...]
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
    def certificate(self) -> Path:
        """Return the certificate its peers pin."""
        return self.directory / "identity" / f"{self.name}.pem"


def make_host(directory: Path, name: str, *agents: str) -> Host:
    """Make a host with an empty root and an identity of its own; it is not configured yet."""
    with held_ports() as (plain_port, tls_port):
        host = Host(name, agents, directory, plain_port, tls_port)
    make_root(host.root)
    certificate, key = make_identity(name, time.time())
    write(host.certificate, certificate)
    write(directory / "identity" / f"{name}.key", key)
    return host


def add_token(host: Host, name: str) -> str:
    """Return a new secret; its hash lies at the host as `token_hash(name)`, for a configuration to name."""
    token = secrets.token_hex(32)
    write(host.directory / token_hash(name), _digest(token))
    return token


def token_hash(name: str) -> str:
    """Return the file of the hash of an agent's or a peer's token, as a configuration names it."""
    return f"tokens/{name}.sha256"


def calls(caller: Host, called: Host, port: int | None = None) -> Stanza:
    """Return what the caller's stanza says of how it calls; the hash of its new token is left at the called one."""
    write(caller.directory / "peers" / f"{called.name}.out", add_token(called, caller.name).encode())
    write(caller.directory / "peers" / f"{called.name}.pem", called.certificate.read_bytes())
    return {
        "url": f"https://127.0.0.1:{port or called.tls_port}",
        "certificate": f"peers/{called.name}.pem",
        "token": f"peers/{called.name}.out",
    }


def is_called_by(caller: Host) -> Stanza:
    """Return what a stanza says of a peer that calls."""
    return {"accepts": token_hash(caller.name)}


def configure(host: Host, peers: Mapping[str, Stanza], *, watch: str = "auto", talkative: Iterable[str] = ()) -> None:
    """Write the configuration; `talkative` agents speak HTTP and have tokens. Who has no callers has no open port."""
    is_called = any("accepts" in stanza for stanza in peers.values()) or talkative
    document = {
        "host": host.name,
        "root": str(host.root),
        "agents": list(host.agents),
        "listen": [
            {"address": "127.0.0.1", "port": host.plain_port},
            # Every address, as peers need it; clients of this machine then count as other hosts.
            *([{"address": "0.0.0.0", "port": host.tls_port, "tls": True}] if is_called else []),
        ],
        "agent_tokens": {agent: token_hash(agent) for agent in talkative},
        "peers": dict(peers),
        "watch": watch,
        # Lookups by id are timed one after the other, far above what one agent is allowed by default.
        "limits": {"agent_requests_per_s": 10_000.0, "agent_burst": 100_000},
        "log": {"level": "warning"},
    }
    write(host.config, json.dumps(document, indent=1).encode())  # JSON is YAML


@contextlib.contextmanager
def daemon(host: Host) -> Iterator[int]:
    """Run a host's daemon; give its process id when it is ready. Raises DidNotStart."""
    log = host.directory / "log"
    with log.open("ab") as errors:
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


def write(path: Path, content: bytes) -> None:
    """Write a file that only its owner reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o600)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).hexdigest().encode() + b"\n"
