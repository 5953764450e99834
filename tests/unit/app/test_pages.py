"""app/pages.py: which parts of memory the kernel is asked to move into large pages."""

from handoffd.app.pages import LARGE_BYTES, _heaps, collapse

MAPS = [
    "00400000-00c00000 r-xp 00000000 fe:00 1 /usr/bin/python3.11",
    "01100000-01a00000 rw-p 00000000 00:00 0                                  [heap]",
    "7f0000000000-7f0000400000 rw-p 00000000 00:00 0 ",
    "7f0001100000-7f00012fffff rw-p 00000000 00:00 0 ",
    "7f0002000000-7f0002400000 rw-s 00000000 00:00 0 ",
    "7f0003000000-7f0003400000 rw-p 00000000 fe:00 2 /usr/lib/a library.so",
    "7f0004000000-7f0004400000 ---p 00000000 00:00 0 ",
    "7ffe00000000-7ffe00400000 rw-p 00000000 00:00 0                          [stack]",
]


def test_only_the_whole_large_pages_of_heaps_are_asked_for() -> None:
    assert list(_heaps(MAPS)) == [(0x1200000, 4 * LARGE_BYTES), (0x7F0000000000, 2 * LARGE_BYTES)]


def test_the_heap_of_this_process_survives_it() -> None:
    kept = [bytes([number % 251]) * 600 for number in range(20_000)]
    collapse()
    assert all(kept[number] == bytes([number % 251]) * 600 for number in range(20_000))
