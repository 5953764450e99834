"""A loop whose time passes only while there is nothing to do: pauses of seconds take none, and last exactly as long.

For tasks without sockets and threads: what comes from outside the loop would come after any pause.
"""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


class _Clock(selectors.DefaultSelector):
    """Instead of waiting it lets the time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("everything waits, and nothing can come")
        self.now_s += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = _Clock()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now_s


def passing(main: Coroutine[Any, Any, Result]) -> Result:
    """Run it on such a loop."""
    with asyncio.Runner(loop_factory=_Loop) as runner:
        return runner.run(main)
