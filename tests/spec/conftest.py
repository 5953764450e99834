"""Fixtures of the specification's tests: two engines on real directories, and the wire between them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.custody.pair import Pair


@pytest.fixture
def pair() -> Iterator[Pair]:
    """On memory instead of a disk where there is some: what an fsync costs is not what is tested."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        made = Pair(Path(directory))
        yield made
        made.close()
