"""The filesystem of the daemon, its flushes timed.

It owns the stop-watch around each group of flushes. The rule that must stay true: what is timed is done exactly as
without it.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from handoffd.custody.filesystem import LinuxFilesystem, NewFile
from handoffd.status.meter import Meters


class MeteredFilesystem(LinuxFilesystem):
    """The verbs on a real root, with meters."""

    def __init__(self, root: Path, meters: Meters, *, file_mode: int) -> None:
        super().__init__(root, file_mode=file_mode)
        self._meters = meters

    def create(self, files: Sequence[NewFile], *, durable: bool = True) -> list[OSError | None]:
        """Create files and make their bytes durable; a group is timed as one."""
        began_s = time.perf_counter()
        answers = super().create(files, durable=durable)
        if durable and files:
            self._meters.flushed("files", time.perf_counter() - began_s)
        return answers

    def sync_files(self, names: Sequence[tuple[str, str]]) -> list[OSError | None]:
        """Make the bytes of existing files durable; a group is timed as one."""
        began_s = time.perf_counter()
        answers = super().sync_files(names)
        if names:
            self._meters.flushed("files", time.perf_counter() - began_s)
        return answers

    def sync_directories(self, directories: Iterable[str]) -> None:
        """Flush each directory once; all of them are timed as one. Raises FlushFailed."""
        wanted = tuple(directories)
        began_s = time.perf_counter()
        super().sync_directories(wanted)
        if wanted:
            self._meters.flushed("directories", time.perf_counter() - began_s)

    def sync_all(self) -> None:
        """Flush the whole file system. Raises FlushFailed."""
        began_s = time.perf_counter()
        super().sync_all()
        self._meters.flushed("filesystem", time.perf_counter() - began_s)
