"""Fixtures of the specification's tests: two engines on real directories, and the wire between them."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.custody.pair import Pair


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A directory in memory instead of on a disk where there is some: what an fsync costs is not what is tested."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


@pytest.fixture
def pair(in_memory: Path) -> Iterator[Pair]:
    """Two hosts, started, in memory."""
    made = Pair(in_memory)
    yield made
    made.close()
