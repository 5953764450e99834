"""Worlds for faults to befall, and a line at the end that says how many points were shown to hold.

Of the single failing calls and of the second crashes `make test` plays a portion, the same each time; of crashes and
power cuts all. `pytest --whole`, as in `make crash-points`, plays all of everything.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar
from zlib import crc32

import pytest
from tests.fakes.world import World
from tests.fault.ground import memory

NewWorld = Callable[..., World]
POINTS = "points of "
"""Properties of tests whose names begin so are added up."""
STRIDE = 4
"""Of four points a portion has one; tests differ in which is the first."""
T = TypeVar("T")


class Portion(Protocol):
    """Picks what is played of these points."""

    def __call__(self, points: Sequence[T]) -> Sequence[T]: ...


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole", action="store_true", help="fault tests play every point, instead of one of four of some"
    )


@pytest.fixture
def portion(request: pytest.FixtureRequest) -> Portion:
    """Return what picks the points that this test plays, the same ones in every run."""
    whole = request.config.getoption("--whole")

    def pick(points: Sequence[T]) -> Sequence[T]:
        return (
            points if whole else points[crc32(request.node.nodeid.encode()) % min(STRIDE, len(points) or 1) :: STRIDE]
        )

    return pick


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
