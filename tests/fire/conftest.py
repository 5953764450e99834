"""Grounds for fire: two daemons with a wire each way, ended whatever happens, and looked over at the end."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fire.ground import Ground
from tests.spec.daemon.rig import ending


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name, for sockets are made below it."""
    made = Path(tempfile.mkdtemp(prefix="hf-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def cold(place: Path) -> Iterator[Ground]:
    """A ground whose daemons have not been started."""
    ground = Ground(place)
    try:
        with ending(*ground.pair.hosts):
            yield ground
    finally:
        ground.end()
    assert ground.broken() == []


@pytest.fixture
def ground(cold: Ground) -> Ground:
    """A ground whose daemons run and reach each other."""
    return cold.start()
