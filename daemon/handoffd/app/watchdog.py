"""The service manager's watchdog, fed while the custody thread answers.

It owns when to ping; how is systemd.py's. The rule that must stay true: a custody thread that stands still, on a dead
disk say, is never covered up by an event loop that goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable

from handoffd.systemd import Manager


async def feed(manager: Manager, interval_s: float, asked: Callable[[], Awaitable[None]]) -> None:
    """Ping every `interval_s`, each time once `asked` has come back; for ever."""
    while True:
        await asked()
        manager.alive()
        await asyncio.sleep(interval_s)
