"""Every mistake of the table is planted into a copy of the package, and something notices it."""

import re
from dataclasses import replace

import pytest
from tests.mistakes.catch import caught, last_found
from tests.mistakes.page import PAGE, table
from tests.mistakes.table import DoesNotFit, Mistake, mistakes
from tests.simulator.paths_check import CannotReplay

FEWEST = 100
MISTAKES = {mistake.name: mistake for mistake in mistakes()}
HINTS = last_found()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name: str) -> None:
    try:
        catch = caught(MISTAKES[name], HINTS.get(name))
    except CannotReplay as error:
        pytest.skip(str(error))
    assert catch is not None, f"nothing notices that {MISTAKES[name].breaks}"


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("tests", [(), ("tests/spec/test_custody_rules.py",)])
def test_without_a_mistake_nothing_is_noticed(tests: tuple[str, ...]) -> None:
    none = Mistake("none", "", "", "nothing is wrong", "custody/engine.py", (), tests)
    assert caught(none, schedules={2: 200}) is None


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_fits_the_code_and_is_python(name: str) -> None:
    compile(MISTAKES[name].planted(), MISTAKES[name].file, "exec")


def test_a_mistake_that_does_not_fit_any_more_says_so() -> None:
    stale = replace(next(iter(MISTAKES.values())), name="stale", edits=(("a line of long ago\n", ""),))
    with pytest.raises(DoesNotFit, match=r"'stale': this is not in custody/.*bring its patch up to date"):
        stale.planted()


def test_names_are_given_once_and_every_rule_has_a_mistake() -> None:
    assert len(MISTAKES) == len(mistakes()) >= FEWEST
    rules = {rule for mistake in MISTAKES.values() for rule in re.split(r", ?| and ", mistake.rule)}
    # R8 is what we rely on of the filesystem: no code of ours could break it.
    assert {f"R{number}" for number in range(1, 8)} <= rules
    assert {"a2", "a3", "a5", "a7", "a8", "a9", "a10", "a11", "a12", "a13", "a14"} <= rules
    assert {f"b{number}" for number in range(1, 7)} <= rules


def test_the_page_shows_what_was_measured() -> None:
    assert PAGE.read_text().endswith(table()), "run `make mistakes`"
    assert set(last_found()) == set(MISTAKES), "run `make mistakes`"
