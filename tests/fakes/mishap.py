"""What the engine's bulkheads caught (docs/custody.md section 6: one bad item never fails its group).

A bulkhead keeps a mistake of the code from a user, and would keep it from a test as well: the step is tried again, and
all may come right in the end. So every test fails in which one caught anything but what a disk may say. A test that
makes a mistake happen takes it from the fixture `mishaps`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from handoffd.custody.tree import BadOutcome

BULKHEADS = logging.getLogger("handoffd.custody.engine")
EXPECTED = (OSError, BadOutcome)


class Mishaps(logging.Handler):
    """The errors caught since the test began."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._caught: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, EXPECTED):
            self._caught.append(error)

    def take(self) -> list[BaseException]:
        """Return them, and count them as expected."""
        caught, self._caught = self._caught, []
        return caught


@contextmanager
def watched_bulkheads() -> Iterator[Mishaps]:
    """Watch the engines of this process; raises the first error that nobody took."""
    mishaps = Mishaps()
    BULKHEADS.addHandler(mishaps)
    try:
        yield mishaps
    finally:
        BULKHEADS.removeHandler(mishaps)
    for error in mishaps.take():
        raise AssertionError("a bulkhead caught a mistake") from error
