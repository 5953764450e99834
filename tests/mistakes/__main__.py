"""Measures what notices each seeded mistake, after how many schedules, and writes README.md's table.

python -m tests.mistakes                 all of them, side by side; some minutes
python -m tests.mistakes NAME...         these, and the words of what noticed them
"""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from tests.mistakes.catch import Catch, caught, keep_found, last_found
from tests.mistakes.page import notice, write_page
from tests.mistakes.table import Mistake, mistakes

SIDE_BY_SIDE = 2


def main(names: Sequence[str]) -> int:
    """Measure; 1 if a mistake is noticed by nothing."""
    planted = [mistake for mistake in mistakes() if not names or mistake.name in names]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        measured = dict(zip((mistake.name for mistake in planted), pool.map(_measured, planted), strict=True))
    found = last_found() | measured
    keep_found({one.name: catch for one in mistakes() if (catch := found.get(one.name)) is not None})
    write_page()
    missed = [name for name, catch in measured.items() if catch is None]
    print(f"{len(planted)} mistakes, noticed by nothing: {', '.join(missed) or 'none'}")
    return int(bool(missed))


def _measured(mistake: Mistake) -> Catch | None:
    began = time.monotonic()
    catch = caught(mistake)
    print(f"{mistake.name:32} {time.monotonic() - began:5.1f} s  {notice(catch)}", flush=True)
    return catch


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
