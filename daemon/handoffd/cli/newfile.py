"""Files that a command makes: all of them new, with exactly the mode they should have.

It knows nothing of what is in them. The rule that must stay true: a file that is there is never touched.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from handoffd.cli.failure import Failure

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644
DIRECTORY_MODE = 0o750
"""Of configuration directories: a group may be let in to read, nobody else."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be made; its directory too."""

    path: Path
    content: bytes
    mode: int = PUBLIC_MODE


def refuse_existing(files: Sequence[NewFile], remedy: str) -> None:
    """Raise Failure if one of them is there, naming those, and `remedy`."""
    there = [str(file.path) for file in files if os.path.lexists(file.path)]
    if there:
        raise Failure(f"{', '.join(there)} already there and left as it is; {remedy}")


def make_files(files: Sequence[NewFile]) -> None:
    """Make every file. Raises FileExistsError."""
    for file in files:
        make_directory(file.path.parent, DIRECTORY_MODE)
        _make(file)


def make_directory(directory: Path, mode: int) -> bool:
    """Make a directory and what is missing above it, with this mode whatever the umask; False if it was there."""
    if directory.is_dir():
        return False
    make_directory(directory.parent, mode)
    directory.mkdir()
    directory.chmod(mode)
    return True


def _make(file: NewFile) -> None:
    with open(os.open(file.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as stream:
        os.fchmod(stream.fileno(), file.mode)
        stream.write(file.content)
