"""A peer that resets connections in the middle of the handshake: no descriptor of somebody else is ever closed.

The loops' own sockets and custody's files share the numbers; what is closed twice may by then be a payload.
"""

import asyncio
import gc
import os
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
import uvloop
from yarl import URL

from handoffd.link.lane import Lane, NotSent

TRIES = 40
FILES = 60


RUDE = """
import socket, struct
door = socket.create_server(("127.0.0.1", 0), backlog=64)
print(door.getsockname()[1], flush=True)
while True:
    near, _ = door.accept()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    near.close()
"""
"""In a process of its own: it must be quicker than the loop that has just connected."""


@pytest.fixture
def rude() -> Iterator[int]:
    """Return the port of a server that resets whatever connects."""
    with subprocess.Popen([sys.executable, "-c", RUDE], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_handshake_that_is_reset_closes_its_descriptor_once(
    rude: int, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def knock() -> None:
        lane = Lane(URL(f"https://127.0.0.1:{rude}"), ssl.create_default_context())
        for _ in range(TRIES):
            with pytest.raises(NotSent):
                await lane.exchange("GET", "/hello", {}, b"", 5.0, 1_000)
        mine = [os.open(os.devnull, os.O_RDONLY) for _ in range(FILES)]
        await lane.close()
        del lane
        gc.collect()
        await asyncio.sleep(0)
        for descriptor in mine:
            os.fstat(descriptor)  # raises if somebody has closed it
            os.close(descriptor)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(knock())
