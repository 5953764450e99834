import json
from pathlib import Path

import pytest

from handoffd import __version__
from handoffd.__main__ import outcome
from handoffd.facts import commit


def test_the_version_comes_first_and_alone_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert outcome(["--version"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == f"handoffd {__version__}"
    assert [line.split()[0] for line in others] == ["commit", "protocol", "python", "platform", "libraries"]
    assert "aiohttp 3." in others[-1]
    assert "missing" not in others[-1]


@pytest.mark.parametrize(
    ("record", "told"),
    [
        ({"commit": "0123456789abcdef", "date": "2026-11-20", "changed": False}, "0123456789ab of 2026-11-20"),
        ({"commit": "0123456789abcdef", "date": "2026-11-20", "changed": True}, "0123456789ab of 2026-11-20, changed"),
        ({"commit": "0123456789abcdef"}, "not known"),
        ([], "not known"),
    ],
)
def test_a_build_tells_its_commit_or_that_it_cannot(record: object, told: str, tmp_path: Path) -> None:
    file = tmp_path / "build.json"
    file.write_text(json.dumps(record))
    assert commit(file).startswith(told)


def test_a_checkout_says_that_no_commit_is_recorded(tmp_path: Path) -> None:
    assert commit(tmp_path / "build.json").startswith("not recorded")
