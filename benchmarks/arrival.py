"""Stamps the moment a name is renamed into a directory, by inotify straight from the C library.

It shares nothing with the watch of handoffd on purpose: a measure must not get better or worse with what it measures.
"""

import ctypes
import os
import select
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_MOVED_TO, _OVERFLOW = 0x80, 0x4000  # sys/inotify.h
_EVENT = struct.Struct("iIII")
_READ_BYTES = 65_536


class Arrivals:
    """The names renamed into one directory from now on; hidden ones are left out."""

    def __init__(self, directory: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = _checked(libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        _checked(libc.inotify_add_watch(self.fd, os.fsencode(directory), _MOVED_TO))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        os.close(self.fd)

    def read(self) -> list[str]:
        """Return the names that wait to be read, without waiting."""
        try:
            return list(_names(os.read(self.fd, _READ_BYTES)))
        except BlockingIOError:
            return []

    def wait(self, limit_s: float) -> tuple[int, list[str]]:
        """Wait for names; return the moment they were read, in ns of CLOCK_MONOTONIC, and the names, or none."""
        waiting = select.poll()
        waiting.register(self.fd, select.POLLIN)
        waiting.poll(limit_s * 1_000)
        names = self.read()
        return time.monotonic_ns(), names


def _names(batch: bytes) -> Iterator[str]:
    at = 0
    while at < len(batch):
        _, mask, _, length = _EVENT.unpack_from(batch, at)
        if mask & _OVERFLOW:
            raise RuntimeError("inotify dropped events: the benchmark cannot tell what it missed")
        at += _EVENT.size
        name = os.fsdecode(batch[at : at + length].rstrip(b"\0"))
        at += length
        if not name.startswith("."):
            yield name


def _checked(result: int) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "inotify")
    return result
