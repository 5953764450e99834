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


def boot_id() -> str:
    """Return the kernel's id of this boot; it changes with every power cut."""
    return BOOT_ID.read_text(encoding="ascii").strip()
