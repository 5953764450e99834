"""What mutation testing wrote down holds together; the run itself is `make mutate`, which takes minutes to hours."""

import json
from fnmatch import filter as matching

from tests.mutation.page import FIGURES, PAGE, noticed, packages, reasons, table

LEAST = 0.9
"""Of the mutants of a package, so many are noticed."""


def test_the_page_shows_what_was_measured():
    assert PAGE.read_text().endswith(table()), "run `make mutate` again for what has changed"


def test_nine_mutants_in_ten_are_noticed_in_every_package_measured():
    assert packages()
    for count in packages().values():
        seen, run = noticed(count)
        assert seen >= LEAST * run


def test_every_survivor_has_a_reason_and_a_module_that_was_measured():
    measured = json.loads(FIGURES.read_text()).keys()
    for reason in reasons():
        assert reason.why
        assert bool(reason.change) != bool(reason.pattern)
        assert matching(measured, reason.module)
