"""`handoffd fsck`: silent about what moves, loud about what cannot be, and it changes nothing."""

import json
from pathlib import Path

import pytest
from tests.unit.handmade import SENT, Ground, T

from handoffd.cli import fsck, invoke
from handoffd.cli.failure import ExitCode


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    monkeypatch.setattr(fsck, "SECOND_LOOK_S", 0.0)
    made = Ground.make(tmp_path)
    for directory in ("peers", "wish", "quarantine", "tmp"):
        (tmp_path / "relay" / directory).mkdir()
    for name, word in (("format", "1"), ("epoch", "e" * 32), ("boot", "clean")):
        made.put(f"relay/{name}", f"{word}\n".encode())
    made.put("relay/peers/alice-vm.json", b'{"epoch": "f", "mode": "push"}')
    made.put(SENT)
    return made


def run(ground: Ground, *more: str) -> int:
    return invoke(["fsck", "--root", str(ground.root), *more])


def test_a_root_without_fault_is_said_to_be_one(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(ground) == 0
    assert capsys.readouterr().out == f"{ground.root}: 1 open, 0 ended, 0 in quarantine; nothing wrong\n"


def test_what_is_broken_comes_first_with_its_files_and_remedy(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.put(SENT, b"{}")
    ground.put("relay/notes.txt")
    assert run(ground) == ExitCode.FAILED
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"broken     changed_bytes {T[:12]}: its bytes do not hash to the T in its name"
    assert lines[1].strip() == SENT
    assert lines[2].strip().startswith("-> ")
    assert lines[3].startswith("foreign    foreign_name: ")
    assert lines[-1].endswith("; 1 broken, 1 foreign")


def test_what_is_only_unfinished_or_foreign_is_no_failure(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put("relay/tmp/part")
    ground.put("relay/notes.txt")
    assert run(ground) == 0
    assert "1 unfinished, 1 foreign" in capsys.readouterr().out


def test_json_tells_the_same(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(SENT, b"{}")
    assert run(ground, "--json") == ExitCode.FAILED
    told = json.loads(capsys.readouterr().out)
    assert (told["open"], told["ended"], told["quarantined"]) == (1, 0, 0)
    (one,) = told["findings"]
    assert (one["what"], one["grade"], one["tid"], one["paths"]) == ("changed_bytes", "broken", T, [SENT])


def test_a_root_that_never_was_is_told_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["fsck", "--root", str(tmp_path)]) == ExitCode.USAGE
    assert "no handoffd has run" in capsys.readouterr().err
