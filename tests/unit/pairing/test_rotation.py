"""Two rotations of one token at once: the second would end what the first has just made."""

import fcntl
from pathlib import Path

import pytest
from tests.unit.pairing.test_unpair import Own

from handoffd.cli import invoke


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path)


def rotate(own: Own, name: str) -> int:
    return invoke(["token", "rotate", name, "--settle", "--config", str(own.config)])


def test_the_second_is_refused_with_one_line_and_nothing_is_asked_of_the_peer(
    own: Own, capsys: pytest.CaptureFixture[str]
) -> None:
    with (own.base / "peers.d/alice-vm.yaml").open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert rotate(own, "alice-vm") == 75
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "another `handoffd token rotate` is under way for alice-vm; run this again when it has ended" in said
    rotate(own, "alice-vm")
    assert "alice-vm does not answer" in capsys.readouterr().err


def test_peers_are_rotated_side_by_side(own: Own, capsys: pytest.CaptureFixture[str]) -> None:
    own.peer("carol-vm", token="keys/to-carol", accepts="keys/of-carol")
    with (own.base / "peers.d/alice-vm.yaml").open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        rotate(own, "carol-vm")
        assert "carol-vm does not answer" in capsys.readouterr().err
