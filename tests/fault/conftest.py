"""Worlds for faults to befall, and a line at the end that says how many points were shown to hold."""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.world import World
from tests.fault.ground import memory

NewWorld = Callable[..., World]
POINTS = "points of "
"""Properties of tests whose names begin so are added up."""


@pytest.fixture
def ground() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory()) as directory:
        yield Path(directory)


@pytest.fixture
def make_world(ground: Path) -> Iterator[Callable[[NewWorld], NewWorld]]:
    """Return what makes worlds of a kind, each with a ground of its own; all are closed in the end."""
    made: list[World] = []

    def of_kind(kind: NewWorld) -> NewWorld:
        def make(**options: bool) -> World:
            directory = ground / str(len(made))
            directory.mkdir()
            made.append(kind(directory, **options))
            return made[-1]

        return make

    yield of_kind
    for world in made:
        world.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    points: Counter[str] = Counter()
    for report in terminalreporter.getreports("passed"):
        points.update({name: value for name, value in report.user_properties if name.startswith(POINTS)})
    for name, number in sorted(points.items()):
        terminalreporter.write_line(f"{name.removeprefix(POINTS)}: {number} points, all held")
