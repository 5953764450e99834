"""The watchdog is fed by answers of the custody thread alone."""

import asyncio
import socket
from pathlib import Path

from handoffd.app.watchdog import feed
from handoffd.systemd import Manager

ROUNDS = 100


async def test_whoever_stands_still_is_not_fed(tmp_path: Path) -> None:
    answers: asyncio.Queue[None] = asyncio.Queue()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.setblocking(False)
        feeding = asyncio.create_task(feed(Manager({"NOTIFY_SOCKET": listening.getsockname()}), 0.0, answers.get))
        for number in range(3):
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            assert pings(listening) == min(number, 1)
            answers.put_nowait(None)
        feeding.cancel()


def pings(listening: socket.socket) -> int:
    """Return how many have come since the last time."""
    count = 0
    while True:
        try:
            assert listening.recv(64) == b"WATCHDOG=1"
        except BlockingIOError:
            return count
        count += 1
