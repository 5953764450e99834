"""Which old files nobody needs: what cannot be told for certain is kept (docs/custody.md section 12)."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.handmade import Ground, X

from handoffd.custody import old
from handoffd.custody.old import survey

FAR_S = 1e10
"""Everything is older than this time."""


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


def test_a_hidden_file_is_nobodys(ground: Ground) -> None:
    ground.put(f"archive/.{X}")
    ground.put(f"archive/{X}")
    found = survey(ground.root, ["archive"], FAR_S)
    assert [one.names for one in found.old] == [(X,)]
    assert found.foreign == 1


def test_a_link_to_a_file_is_nobodys(ground: Ground) -> None:
    ground.put("handoff/real.json")
    os.symlink(ground.root / "handoff/real.json", ground.root / "archive" / X)
    found = survey(ground.root, ["archive"], FAR_S)
    assert (found.old, found.foreign) == ([], 1)


def test_a_file_that_goes_while_we_look_hides_no_other(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number}.json" for number in range(3)]
    for name in names:
        ground.put(f"archive/{name}")
    gone: list[str] = []

    @contextlib.contextmanager
    def scandir(place: Path) -> Iterator[list["os.DirEntry[str]"]]:
        with listing(place) as found:
            items = list(found)
        if not gone:
            gone.append(items[0].name)
            os.unlink(items[0].path)
        yield items

    listing = os.scandir
    monkeypatch.setattr(old.os, "scandir", scandir)
    found = survey(ground.root, ["archive"], FAR_S)
    assert sorted(one.names[0] for one in found.old) == sorted({*names} - {*gone})
