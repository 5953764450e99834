"""Fixtures of the specification's tests: two engines on real directories, and the wire between them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.custody.pair import Pair


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    made = Pair(tmp_path)
    yield made
    made.close()
