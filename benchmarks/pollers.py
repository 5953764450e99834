"""Clients of a hub that only wait: each has a connection and a token of its own, and polls again when a poll ends.

    python -m benchmarks.pollers agents PORT CERTIFICATE TOKENS      prints `ready` when every poll hangs
    python -m benchmarks.pollers peers PORT CERTIFICATE TOKENS

TOKENS holds a line `name token` for each client. Agents poll for payloads; peers dial in as hosts do, with both hellos,
and poll for what is wanted of them (docs/custody.md section 11). A poll that is refused ends all of it.
"""

import asyncio
import json
import resource
import secrets
import ssl
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

POLL_S = 25
HANDSHAKES = 16
"""At once: the hub is to serve them all, not to be flooded."""
FROM_ONE = 100
"""Clients of one address; a hub lets no more than 128 in."""
SPARE_DESCRIPTORS = 64
_API = "/api/v1"


class Refused(Exception):
    """The hub did not answer as it should."""


@dataclass(frozen=True, slots=True)
class Wire:
    """One client's connection and token."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    token: str

    async def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> dict[str, object]:
        """Exchange one request for one answer; return its JSON object, empty for 204. Raises Refused."""
        told = {"Host": "hub", "Authorization": f"Bearer {self.token}", "Content-Length": str(len(body)), **headers}
        lines = [f"{method} {_API}{path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items()), "", ""]
        self.writer.write("\r\n".join(lines).encode() + body)
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        lengths = [int(line.split(":")[1]) for line in head if line.lower().startswith("content-length:")]
        answer = await self.reader.readexactly(lengths[0]) if lengths else b""
        if head[0].split()[1] not in ("200", "204"):
            raise Refused(f"{method} {path}: {head[0]} {answer[:300]!r}")
        return json.loads(answer) if answer else {}


async def as_agent(wire: Wire, name: str, waits: Callable[[], None]) -> None:
    """Poll for payloads for ever."""
    await wire.ask("GET", f"/handoffs/poll?agent={name}", {})
    waits()
    while True:
        await wire.ask("GET", f"/handoffs/poll?agent={name}&wait={POLL_S}", {})


async def as_peer(wire: Wire, _: str, waits: Callable[[], None]) -> None:
    """Begin a session and poll for ever."""
    ours = {"Handoffd-From-Epoch": secrets.token_hex(16)}
    told = await wire.ask("GET", "/hello", ours)
    session = ours | {"Handoffd-Challenge": str(told["challenge"]), "Handoffd-Epoch": str(told["epoch"])}
    await wire.ask("GET", "/hello", session)
    await _tell(wire, session, 0)
    waits()
    while True:
        await _tell(wire, session, POLL_S)


async def _tell(wire: Wire, session: dict[str, str], wait_s: float) -> None:
    body = json.dumps({"tell": {}, "more": False, "wait": wait_s}).encode()
    await wire.ask("POST", "/handoffs/states", session | {"Content-Type": "application/json"}, body)


Part = Callable[[Wire, str, Callable[[], None]], Awaitable[None]]
PARTS: dict[str, Part] = {"agents": as_agent, "peers": as_peer}


async def poll_all(part: Part, port: int, certificate: Path, clients: list[list[str]]) -> None:
    """Let every client in and keep it waiting until ended."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(clients) + SPARE_DESCRIPTORS,) * 2)
    context = ssl.create_default_context(cafile=certificate)
    context.check_hostname = False  # as between daemons: the pinned certificate is the host
    door, waiting = asyncio.Semaphore(HANDSHAKES), 0

    def waits() -> None:
        nonlocal waiting
        waiting += 1
        door.release()
        if waiting == len(clients):
            print("ready", flush=True)

    async def live(number: int, name: str, token: str) -> None:
        await door.acquire()
        own = f"127.0.{1 + number // FROM_ONE}.1"
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, local_addr=(own, 0))
        await part(Wire(reader, writer, token), name, waits)

    async with asyncio.TaskGroup() as group:
        for number, (name, token) in enumerate(clients):
            group.create_task(live(number, name, token))


if __name__ == "__main__":
    chosen, at, pinned, tokens = sys.argv[1:]
    listed = [line.split() for line in Path(tokens).read_text().splitlines()]
    asyncio.run(poll_all(PARTS[chosen], int(at), Path(pinned), listed))
