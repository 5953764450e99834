"""How the C library keeps what is freed: little of it, so that a burst's memory is not held for days.

It owns the settings of glibc's malloc and knows nothing of what is allocated. The rule that must stay true: they are
made before the second thread starts and before large blocks are freed, for both change what malloc does from then on.

glibc raises its own thresholds to the size of the largest block it has seen freed, 32 MiB at most: after one large
batch, twice as much stays at the end of the heap, and batches to come lie in the heap and leave holes in it. And each
thread gets a heap of its own, though here they take turns. The settings are those of mallopt(3).
"""

import ctypes
from contextlib import suppress
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
KEPT_BYTES: Final = 512 << 10
"""For both thresholds; glibc begins with a quarter. A larger block is the kernel's, and goes back to it when freed."""


def keep_little() -> bool:
    """Make the settings; False where the C library has none (musl)."""
    with suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        settings = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, KEPT_BYTES), (_M_TRIM_THRESHOLD, KEPT_BYTES))
        made = [mallopt(name, value) == 1 for name, value in settings]
        return all(made)
    return False
