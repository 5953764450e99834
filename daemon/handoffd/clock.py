"""The clocks of this machine, behind the port the engine is handed. The only place that reads the wall clock."""

import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class SystemClock:
    """The kernel's clocks."""

    def wall(self) -> float:
        """Return POSIX seconds; may jump."""
        return time.time()

    def boottime(self) -> float:
        """Return CLOCK_BOOTTIME seconds; never jumps, counts suspended time."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)


class SleepWatch:
    """Notices that the machine was suspended: CLOCK_BOOTTIME goes on then, CLOCK_MONOTONIC stands still."""

    def __init__(self) -> None:
        self._before_s = _ahead_s()

    def slept_s(self) -> float:
        """Return for how long it was suspended since the last call, in seconds; a few microseconds mean not at all."""
        before_s, self._before_s = self._before_s, _ahead_s()
        return self._before_s - before_s


def _ahead_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)


def boot_id() -> str:
    """Return the kernel's id of this boot; it changes with every power cut."""
    return BOOT_ID.read_text(encoding="ascii").strip()
