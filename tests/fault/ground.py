"""Where worlds of the fault tests lie."""

import tempfile
from pathlib import Path


def memory() -> Path:
    """Return memory instead of a disk where there is some: what an fsync costs is not what is tested."""
    place = Path("/dev/shm")
    return place if place.is_dir() else Path(tempfile.gettempdir())
