"""The packages that packaging/run has built, and what to do where a tool is missing."""

import os
import shutil
from pathlib import Path

import pytest

BASE_IMAGE = "handoffd-base:local"


def needs(tool: str) -> None:
    """Skip without the tool; where HANDOFFD_REQUIRE names it, fail."""
    if shutil.which(tool) is None:
        give_up = pytest.fail if tool in os.environ.get("HANDOFFD_REQUIRE", "").split() else pytest.skip
        give_up(f"needs {tool}: no {tool} here")


def _named(variable: str) -> Path:
    named = os.environ.get(variable)
    if named is None:
        pytest.exit("start these scenarios with packaging/run")
    return Path(named)


@pytest.fixture(scope="session")
def dist() -> Path:
    """The directory with wheel, source distribution and Debian package."""
    return _named("HANDOFFD_PACKAGES")


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The directory with the wheels of everything the wheel needs."""
    return _named("HANDOFFD_WHEELS")
