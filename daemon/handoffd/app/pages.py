"""Large pages under what lives long, so that a daemon that was asleep finds it again sooner.

It owns one request to the kernel and knows nothing of what lies in memory. The rule that must stay true: it is asked
for once, at the end of a start, and a kernel that does not know it, or has no page to spare, is not asked again.

A lone handoff runs through code and objects that other processes have pushed out of the caches since the last one;
looking up where each small page is costs as much as fetching it, in a virtual machine more.
"""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

LARGE_BYTES: Final = 2 << 20
"""A large page of x86-64 and of arm64 with pages of 4 KiB; elsewhere nothing comes of it."""
_MADV_COLLAPSE: Final = 25  # since Linux 6.1
_HEAP: Final = ("", "[heap]")


def collapse() -> None:
    """Have the kernel move the heap as it is now into large pages, as far as whole ones fit."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    with suppress(OSError):
        with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as table:
            found = list(_heaps(table.readlines()))
        for start, size in found:
            libc.madvise(start, size, _MADV_COLLAPSE)  # advice: what it cannot do it leaves


def _heaps(lines: list[str]) -> Iterator[tuple[int, int]]:
    """Yield start and size of the whole large pages in each private, writable mapping that is no file's."""
    for line in lines:
        span, mode, *rest = line.split(maxsplit=5)
        name = rest[3].strip() if len(rest) > 3 else ""
        if mode != "rw-p" or name not in _HEAP:
            continue
        start, end = (int(edge, 16) for edge in span.split("-"))
        first, last = -(-start // LARGE_BYTES) * LARGE_BYTES, end // LARGE_BYTES * LARGE_BYTES
        if first < last:
            yield first, last - first
