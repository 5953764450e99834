"""A TCP relay that lets every byte arrive a fixed time later, in each direction.

    python -m benchmarks.proxy PORT DELAY_MS      prints its own port; connects to PORT of this machine

It delays data, not the handshake, and limits no rate: for connections that stay open it is a long wire.
"""

import asyncio
import sys
from collections import deque


class End(asyncio.Protocol):
    """One of the two connections; what it receives leaves through the other end later."""

    def __init__(self, delay_s: float) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self._delay_s = delay_s
        self._on_the_wire: deque[bytes] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Let the bytes out later."""
        self._on_the_wire.append(data)
        asyncio.get_running_loop().call_later(self._delay_s, self._pass_on)

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end when the last bytes are out."""
        self.data_received(b"")

    def _pass_on(self) -> None:
        # Whatever timer fires, the oldest bytes go first.
        data = self._on_the_wire.popleft()
        if self.other is None or self.other.transport is None:
            return
        if data:
            self.other.transport.write(data)
        else:
            self.other.transport.close()


class Entrance(End):
    """The end that was connected to: it connects onward before anything is read."""

    def __init__(self, port: int, delay_s: float) -> None:
        super().__init__(delay_s)
        self._port = port
        self._onward: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect onward."""
        super().connection_made(transport)
        assert self.transport is not None
        self.transport.pause_reading()
        self._onward = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        assert self.transport is not None
        loop = asyncio.get_running_loop()
        try:
            _, self.other = await loop.create_connection(lambda: End(self._delay_s), "127.0.0.1", self._port)
        except OSError:
            self.transport.abort()
            return
        self.other.other = self
        self.transport.resume_reading()


async def relay(port: int, delay_s: float) -> None:
    """Serve for ever."""
    server = await asyncio.get_running_loop().create_server(lambda: Entrance(port, delay_s), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(relay(int(sys.argv[1]), float(sys.argv[2]) / 1_000))
