"""Whether relay/ can be written, as /readyz asks it."""

import errno

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import Pair


@pytest.mark.parametrize("code", [errno.EIO, errno.EROFS])
def test_a_dead_disk_is_told_with_its_own_words(pair: Pair, code: int) -> None:
    pair.a.faults.failing = Failing(frozenset({"create"}), 1, 1, code)
    first, second = (pair.a.engine.try_disk([None])[0] for _ in range(2))
    assert first.startswith("relay/ cannot be written: ")
    assert second == "", "it is over"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_dead_one(pair: Pair, code: int) -> None:
    pair.a.faults.failing = Failing(frozenset({"create"}), 1, 1, code)
    assert pair.a.engine.try_disk([None]) == [""]


def test_many_ask_at_once_and_the_disk_is_tried_once_and_left_as_it_was(pair: Pair) -> None:
    before = sorted(str(path) for path in pair.a.root.rglob("*"))
    made = pair.a.faults.calls["create"]
    assert pair.a.engine.try_disk([None] * 3) == ["", "", ""]
    assert pair.a.faults.calls["create"] == made + 1
    assert sorted(str(path) for path in pair.a.root.rglob("*")) == before
