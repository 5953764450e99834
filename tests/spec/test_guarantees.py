"""docs/guarantees.md names tests: each of them must exist, and each promise must name some."""

import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGE = (PROJECT / "docs/guarantees.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
KEPT = sorted(set(re.findall(r"`(tests/simulator/kept/[\w-]+\.txt)`", PAGE)))


def promises() -> list[str]:
    return re.findall(r"^\| \*\*(.+?)\*\* \|", PAGE, re.MULTILINE)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_a_test_that_is_named_exists(path: str, name: str) -> None:
    assert re.search(rf"^(async )?def {name}\(", (PROJECT / path).read_text(), re.MULTILINE)


@pytest.mark.parametrize("path", KEPT)
def test_a_history_that_is_named_is_kept(path: str) -> None:
    assert (PROJECT / path).is_file()


def test_every_promise_names_the_tests_that_hold_it() -> None:
    held = re.findall(r"^\| ([\w ,]+?) \| `tests/", PAGE, re.MULTILINE)
    assert len(promises()) == 10
    assert set(promises()) <= set(held)


def test_every_command_that_is_named_is_there() -> None:
    makefile = (PROJECT / "Makefile").read_text()
    for target in set(re.findall(r"`make ([a-z-]+)", PAGE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
