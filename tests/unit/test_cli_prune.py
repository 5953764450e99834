"""`handoffd prune`: what is old and needed by nobody goes, everything else stays."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.handmade import CALLER, DATA, HANDOFF_ID, RECEIPT, Ground, N, T, X, payload

from handoffd.cli import invoke, prune
from handoffd.cli.failure import ExitCode
from handoffd.clock import SystemClock
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Artefact

FINAL = f"1795168810-bob-alice-{HANDOFF_ID}.json"
LATER_S = 40 * 86_400.0


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    """A root looked at in forty days: no test can set a file's ctime back."""
    now_s = SystemClock().wall() + LATER_S
    monkeypatch.setattr("handoffd.cli.root.wall_s", lambda: now_s)
    return Ground.make(tmp_path)


def run(ground: Ground, *more: str) -> int:
    return invoke(["prune", "--root", str(ground.root), *more])


def told(ground: Ground, capsys: pytest.CaptureFixture[str], *more: str) -> dict[str, Any]:
    assert run(ground, "--json", *more) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def left(ground: Ground) -> list[str]:
    return sorted(f"{place}/{name}" for place in ("archive", "rejected") for name in os.listdir(ground.root / place))


def test_without_delete_it_only_tells(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(f"archive/{X}")
    ground.put(f"rejected/{X}")
    ground.put(f"rejected/{X}.reason")
    before = left(ground)
    assert run(ground) == 0
    out = capsys.readouterr().out
    assert "archive/   1 handoff older than 30d: 1 file, " in out
    assert "rejected/  1 handoff older than 30d: 2 files, " in out
    assert "nothing was deleted; `handoffd prune --older-than 30d --delete` does it" in out
    assert left(ground) == before
    assert not ground.journal_path.exists()


def test_delete_deletes_and_writes_it_down(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    for name in (X, f"{X}.original"):
        ground.put(f"archive/{name}")
    ground.put(f"rejected/{X}.reason")
    ground.put(f"handoff/{X}")
    ground.put(f"claimed/{X}")
    assert run(ground, "--delete", "--yes") == 0
    assert left(ground) == []
    assert os.listdir(ground.root / "handoff") == os.listdir(ground.root / "claimed") == [X]
    line = json.loads(ground.journal_path.read_bytes())
    assert (line["event"], line["detail"]) == ("pruned", "1 of archive/, 1 of rejected/: 3 files")
    assert "deleted 3 files" in capsys.readouterr().out


def test_it_asks_before_it_deletes(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(f"archive/{X}")
    assert run(ground, "--delete") == 2
    assert "no terminal to ask on; give --yes" in capsys.readouterr().err
    assert left(ground) == [f"archive/{X}"]


def test_another_user_than_the_daemons_deletes_nothing(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.put(f"archive/{X}")
    monkeypatch.setattr("os.geteuid", lambda: os.stat(ground.root).st_uid + 1)  # as root is
    assert run(ground, "--delete", "--yes") == ExitCode.PERMISSION
    assert "run this with sudo -u" in capsys.readouterr().err
    assert left(ground) == [f"archive/{X}"]
    assert not ground.journal_path.exists()


def test_what_is_young_stays(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(f"archive/{X}")
    found = told(ground, capsys, "--older-than", "41d", "--delete", "--yes")
    assert found["kept"] == {"young": 1, "needed": 0, "foreign": 0}
    assert left(ground) == [f"archive/{X}"]


def test_only_one_directory_if_told_so(ground: Ground) -> None:
    ground.put(f"archive/{X}")
    ground.put(f"rejected/{X}")
    assert run(ground, "--only", "rejected", "--delete", "--yes") == 0
    assert left(ground) == [f"archive/{X}"]


def foreign_files(ground: Ground) -> None:
    ground.put("archive/README", b"mine")
    ground.put("archive/.X.tmp", b"being written")
    os.mkfifo(ground.root / "rejected" / X)
    os.symlink("/etc/passwd", ground.root / "archive/link.json")


def artefact(ground: Ground) -> None:
    """The peer may still come for the final bytes."""
    ground.put(f"archive/{FINAL}", b"{}")
    ground.put(f"archive/{FINAL}.original")
    ground.end(Reason.COMPLETED, State.COMPLETED, artefact=Artefact(FINAL, transfer_id(b"{}"), 2))


def end_by_name(ground: Ground) -> None:
    ground.put(RECEIPT)
    ground.put(f"archive/{N}", b"rewritten")


def end_by_inode(ground: Ground) -> None:
    ground.put(RECEIPT)
    ground.link(RECEIPT, "archive/anything.json")


def end_by_label(ground: Ground) -> None:
    ground.put(RECEIPT)
    ground.put("archive/anything.json", payload(rejection_reason="busy"))


def end_by_id_in_the_name(ground: Ground) -> None:
    ground.put(RECEIPT)
    ground.put(f"archive/{FINAL}", b"not even JSON")


@pytest.mark.parametrize(
    "leave", [foreign_files, artefact, end_by_name, end_by_inode, end_by_label, end_by_id_in_the_name]
)
def test_what_is_needed_or_nobodys_is_never_touched(ground: Ground, leave: Callable[[Ground], None]) -> None:
    leave(ground)
    before = left(ground)
    assert run(ground, "--delete", "--yes") == 0
    assert left(ground) == before


def test_what_an_open_receipt_does_not_mean_goes(ground: Ground) -> None:
    ground.put(RECEIPT)
    other = payload(f"1795168800-bob-alice-{CALLER[::-1]}")
    ground.put("archive/other.json", other)
    assert run(ground, "--delete", "--yes") == 0
    assert left(ground) == []


def test_a_file_that_changed_since_it_was_looked_at_stays(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.put(f"archive/{X}")
    asked = prune.confirm

    def touch_first(question: str, *, yes: bool) -> None:
        asked(question, yes=yes)
        os.utime(ground.root / "archive" / X, (0, 0))

    monkeypatch.setattr(prune, "confirm", touch_first)
    assert run(ground, "--delete", "--yes") == 0
    assert left(ground) == [f"archive/{X}"]


def test_many_go_in_portions_with_pauses(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(prune.time, "sleep", pauses.append)
    for number in range(2 * prune.PORTION + 1):
        ground.put(f"archive/{number}.json")
    assert run(ground, "--delete", "--yes") == 0
    assert pauses == [prune.PAUSE_S] * 2
    assert left(ground) == []


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--older-than", "soon"], "give a number and h, d or w"),
        (["--older-than", "0d"], "at least 1h"),
        (["--only", "handoff"], "nothing else is ever pruned"),
    ],
)
def test_what_makes_no_sense_is_refused(
    ground: Ground, capsys: pytest.CaptureFixture[str], words: list[str], complaint: str
) -> None:
    assert run(ground, *words) == 2
    assert complaint in capsys.readouterr().err
    assert transfer_id(DATA) == T
