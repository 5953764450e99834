"""A portion of the hostile input that `python -m tests.hostile` sends by the hundred thousand."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.hostile.ground import besieged
from tests.hostile.siege import Siege

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
REQUESTS = 4_000


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hf-") as directory:
        yield Path(directory)


def test_hostile_requests_break_nothing_and_leave_nothing(place: Path) -> None:
    with besieged(place) as pair:
        siege = Siege(pair, seed=1)
        assert siege.run(REQUESTS) == []
        assert sum(siege.answers.values()) == REQUESTS
        assert {200, 400, 401, 404, 422} <= set(siege.answers)
        pair.deliver()
