"""Attempts of which the first to succeed is wanted: each begins when the one before has failed, or has had its time.

It owns the order and the end of the others. It does not know what is attempted. The rule that must stay true: nothing
that a loser made stays open. (This is RFC 8305, Happy Eyeballs. The loop's own belongs to asyncio and not to uvloop;
aiohappyeyeballs hands over sockets, which `lane` must not give to the loop.)
"""

import asyncio
import errno
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

HEAD_START_S: Final = 0.25
"""RFC 8305, section 8: how long one attempt goes on alone."""
Result = TypeVar("Result")


async def first_of(
    attempts: Sequence[Callable[[], Awaitable[Result]]], discard: Callable[[Result], None], until_s: float | None
) -> Result:
    """Return the first result; `discard` gets any other.

    `attempts`: at least one. `until_s`: when all of them end, by the loop's clock, if ever. Raises the OSError that
    says most: of one where somebody answered and TLS failed, else of the one that failed last; TimeoutError where all
    were silent.
    """
    race = _Race(attempts)
    wanted = 0
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until_s):
                await race.run()
        wanted = 1
    finally:
        for one in race.made[wanted:]:
            discard(one)
    if race.made:
        return race.made[0]
    raise _most_telling(race.failures)


def _most_telling(failures: Sequence[OSError]) -> OSError:
    answered = [failure for failure in failures if isinstance(failure, ssl.SSLError)]
    silence = TimeoutError(errno.ETIMEDOUT, "no answer in time")
    return [silence, *failures, *answered][-1]


class _Race(Generic[Result]):
    """One race, and what came of it."""

    def __init__(self, attempts: Sequence[Callable[[], Awaitable[Result]]]) -> None:
        self.made: list[Result] = []
        self.failures: list[OSError] = []
        self._attempts = attempts
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Return when one has succeeded or all have failed, and nobody runs any more."""
        async with asyncio.TaskGroup() as group:
            tasks: list[asyncio.Task[None]] = []
            while not self.made and len(self.failures) < len(self._attempts):
                tasks += [group.create_task(self._try(attempt)) for attempt in self._attempts[len(tasks) :][:1]]
                await self._hear(HEAD_START_S if len(tasks) < len(self._attempts) else None)
            for task in tasks:
                task.cancel()

    async def _try(self, attempt: Callable[[], Awaitable[Result]]) -> None:
        try:
            self.made.append(await attempt())
        except OSError as failure:
            self.failures.append(failure)
        self._news.set()

    async def _hear(self, within_s: float | None) -> None:
        self._news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._news.wait()
