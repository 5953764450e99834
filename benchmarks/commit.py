"""Which is faster for a group of files: fsync one after another, fsync from 8 threads, or one syncfs.

python -m benchmarks.commit [DIRECTORY]      prints ms per group (median) for group sizes 1 to 512
"""

import ctypes
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.payload import SIZE_BYTES

SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 128, 256, 512)
ROUNDS = 15
THREADS = 8

Flush = Callable[[list[int]], object]


def one_by_one(files: list[int]) -> None:
    """Flush each file in turn."""
    for file in files:
        os.fsync(file)


def syncfs(files: list[int]) -> None:
    """Flush the file system they are on."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(files[0]) != 0:
        raise OSError(ctypes.get_errno(), "syncfs")


def median_ms(directory: Path, size: int, flush: Flush) -> float:
    """Return the median time to flush a new group of files of 2 KB and then their directory."""
    return statistics.median(_once_ms(directory, size, flush) for _ in range(ROUNDS))


def _once_ms(directory: Path, size: int, flush: Flush) -> float:
    with tempfile.TemporaryDirectory(dir=directory) as group:
        files = [os.open(f"{group}/{number}", os.O_WRONLY | os.O_CREAT) for number in range(size)]
        parent = os.open(group, os.O_DIRECTORY)
        for file in files:
            os.write(file, bytes(SIZE_BYTES))
        started_ns = time.monotonic_ns()
        flush(files)
        os.fsync(parent)
        ended_ns = time.monotonic_ns()
        for descriptor in (*files, parent):
            os.close(descriptor)
    return (ended_ns - started_ns) / 1e6


def main(directory: Path) -> None:
    """Print the table."""
    with ThreadPoolExecutor(THREADS) as pool, tempfile.TemporaryDirectory(dir=directory) as place:
        ways: dict[str, Flush] = {
            "one by one": one_by_one,
            f"{THREADS} threads": lambda files: list(pool.map(os.fsync, files)),
            "syncfs": syncfs,
        }
        print("files".rjust(6), *(f"{name} ms".rjust(14) for name in ways))
        for size in SIZES:
            print(str(size).rjust(6), *(f"{median_ms(Path(place), size, way):14.2f}" for way in ways.values()))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("build"))
