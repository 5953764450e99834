"""`handoffd doctor` on a host without daemon or peer, and on configurations that cannot be used."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.unit.test_cli_check import free_port

from handoffd.__main__ import outcome
from handoffd.cli.doctor import command
from handoffd.cli.doctor.finding import failure, fine, warning
from handoffd.cli.doctor.report import page


@pytest.fixture
def etc(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    words = ["init", "--dir", str(tmp_path / "etc"), "--host", "bob-vm", "--root", str(tmp_path / "root")]
    ports = ["--local-port", str(free_port()), "--listen-port", str(free_port())]
    assert outcome([*words, "--agent", "bob", *ports]) == 0
    capsys.readouterr()
    return tmp_path / "etc"


def doctor(etc: Path, *more: str) -> int:
    return outcome(["doctor", "--config", str(etc / "handoffd.yaml"), *more])


def told(etc: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    doctor(etc, "--json")
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    return report


def test_a_fresh_host_has_no_problem_and_is_left_as_it_was(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(etc.parent.rglob("*"))
    assert doctor(etc) == 0
    assert "bob-vm: 0 problems, 1 warning" in capsys.readouterr().out  # no peer
    assert sorted(etc.parent.rglob("*")) == before


def test_a_problem_is_one_line_with_its_remedy_and_exit_code_1(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (etc / "identity/bob-vm.key").chmod(0o644)
    assert doctor(etc) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert line.startswith("FAIL  bad_certificate")
    assert line.endswith(f"; chmod 600 {etc}/identity/bob-vm.key")


def test_a_configuration_that_cannot_be_used_does_not_hide_the_root(
    etc: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (etc / "identity/bob-vm.key").unlink()
    (etc.parent / "root/handoff").rmdir()
    (etc.parent / "root/handoff").symlink_to(etc)
    words = {one["word"] for one in told(etc, capsys)["findings"] if one["level"] == "failure"}
    assert words == {"bad_certificate", "not_a_directory"}


def test_a_configuration_that_is_none_is_told_as_everywhere(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (etc / "handoffd.yaml").write_text("host: [\n")
    assert doctor(etc) == 2
    assert "check indentation and quotes" in capsys.readouterr().err


def test_a_relay_of_another_layout_is_told(etc: Path, capsys: pytest.CaptureFixture[str]) -> None:
    relay = etc.parent / "root/relay"
    relay.mkdir(mode=0o700, exist_ok=True)
    (relay / "format").write_text("2\n")
    (one,) = [one for one in told(etc, capsys)["findings"] if one["word"] == "wrong_version"]
    assert one["remedy"] == "run the version that wrote it"


def test_an_examination_that_fails_hides_no_other(
    etc: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(patient: object) -> Any:
        yield fine("first", "half of it")
        raise OSError(5, "Input/output error", "/root")

    monkeypatch.setattr(command, "EXAMINATIONS", (broken, *command.EXAMINATIONS[-2:]))
    assert doctor(etc) == 0
    out = capsys.readouterr().out
    assert "half of it" in out
    assert "/root: Input/output error" in out
    assert "no peer is configured" in out


def test_problems_come_first_and_nothing_steers_the_terminal() -> None:
    found = [fine("one", "well"), warning("two", "soon", "look"), failure("three", "a\x1b[2Jb", "act")]
    lines = [re.sub(r"\x1b\[\d*m", "", line) for line in page(found, "h")]  # the report's own colours
    assert [line.split()[0] for line in lines[:3]] == ["FAIL", "warn", "ok"]
    assert "\x1b" not in "".join(lines)
    assert lines[-1] == "h: 1 problem, 1 warning"
