"""app/malloc.py: what malloc keeps after large blocks were freed. In a process of its own: the settings last."""

import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from handoffd.app.malloc import keep_little
asked = sys.argv[1] == "little"
if asked and not keep_little():
    sys.exit("no mallopt here")
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = (ctypes.c_size_t,)
libc.free.argtypes = (ctypes.c_void_p,)
libc.free(libc.malloc(16 << 20))  # from here on glibc, left alone, puts blocks of this size into the heap
blocks = [libc.malloc(1 << 20) for _ in range(8)]
maps = open("/proc/self/maps").read().splitlines()
start, end = next(line.split()[0].split("-") for line in maps if line.endswith("[heap]"))
print(sum(int(start, 16) <= block < int(end, 16) for block in blocks))
"""


@pytest.mark.parametrize(("settings", "in_heap"), [("little", "0\n"), ("own", "8\n")])
def test_a_large_block_is_the_kernels_however_many_there_were(settings: str, in_heap: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, settings], capture_output=True, text=True, timeout=60, check=False
    )
    if done.stderr.strip() == "no mallopt here":
        pytest.skip("this C library has no mallopt")
    assert (done.stdout, done.stderr) == (in_heap, "")
