"""The proof of a claim, at every instant a crash may leave behind."""

import fcntl
import os
from pathlib import Path

import pytest

from handoffd.agent import AgentName
from handoffd.agent.directory import Directories
from handoffd.agent.hold import Hold, end, holds_left, put_back, recover, rewrite, shown_at, take
from handoffd.protocol.name import FileName

X = FileName("a-0.json")
ALICE = AgentName("alice")


@pytest.fixture
def places(tmp_path: Path) -> Directories:
    made = Directories(tmp_path)
    made.make()
    return made


def put(places: Directories, data: bytes = b"data") -> None:
    (places.handoff / X).write_bytes(data)


def taken(places: Directories) -> Hold:
    hold = take(places, X, ALICE)
    assert hold is not None
    return hold


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path))


def test_a_claim_has_one_hidden_and_one_visible_name(places: Directories) -> None:
    put(places)
    hold = taken(places)
    assert names(places.handoff) == []
    assert names(places.claimed) == sorted([hold.path.name, X])
    assert shown_at(places, hold) == places.claimed / X
    assert holds_left(places, ALICE) == [hold.path]


def test_a_file_that_is_gone_is_not_taken(places: Directories) -> None:
    assert take(places, X, ALICE) is None


def test_a_file_another_listener_is_taking_is_left_to_it(places: Directories) -> None:
    put(places)
    with (places.handoff / X).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert take(places, X, ALICE) is None
    assert taken(places).data == b"data"


def test_the_lock_follows_the_file_into_the_claim(places: Directories) -> None:
    put(places)
    hold = taken(places)
    with pytest.raises(BlockingIOError):
        recover(hold.path)
    hold.release()
    again = recover(hold.path)
    assert again is not None
    assert (again.name, again.data, again.tid) == (hold.name, hold.data, hold.tid)


def test_a_claim_that_ended_meanwhile_is_not_recovered(places: Directories) -> None:
    put(places)
    hold = taken(places)
    end(places, hold, places.archive / "x.json")
    assert recover(hold.path) is None


def test_the_end_is_one_move_and_leaves_no_trace_in_claimed(places: Directories) -> None:
    put(places)
    inode = (places.handoff / X).stat().st_ino
    end(places, taken(places), places.archive / "x.json")
    assert names(places.claimed) == []
    assert (places.archive / "x.json").stat().st_ino == inode
    assert (places.archive / "x.json").stat().st_nlink == 1


def test_an_end_under_a_taken_name_can_be_tried_again(places: Directories) -> None:
    put(places)
    (places.archive / "x.json").write_bytes(b"older")
    hold = taken(places)
    with pytest.raises(FileExistsError):
        end(places, hold, places.archive / "x.json")
    end(places, hold, places.archive / "y.json")
    assert (places.archive / "x.json").read_bytes() == b"older"


def test_somebody_else_s_file_under_the_visible_name_is_not_removed(places: Directories) -> None:
    put(places)
    hold = taken(places)
    (places.claimed / X).unlink()
    (places.claimed / X).write_bytes(b"another agent's claim")
    end(places, hold, places.archive / "x.json")
    assert (places.claimed / X).read_bytes() == b"another agent's claim"


def test_what_is_put_back_can_be_claimed_again(places: Directories) -> None:
    put(places)
    put_back(places, taken(places))
    assert names(places.claimed) == []
    assert taken(places).data == b"data"


def test_what_is_put_back_replaces_nothing(places: Directories) -> None:
    put(places)
    hold = taken(places)
    put(places, b"newer")
    put_back(places, hold)
    assert (places.handoff / X).read_bytes() == b"newer"
    assert len(names(places.handoff)) == 2


def test_a_rewritten_claim_stays_one_and_stays_locked(places: Directories) -> None:
    put(places)
    hold = rewrite(places, taken(places), b"longer")
    assert names(places.claimed) == [hold.path.name]
    assert hold.path.read_bytes() == b"longer"
    with pytest.raises(BlockingIOError):
        recover(hold.path)


def test_other_bytes_that_never_took_their_place_go_with_the_recovery(places: Directories) -> None:
    put(places)
    left = taken(places)
    left.path.with_name(f"{left.path.name}.tmp").write_bytes(b"longer")
    left.release()
    hold = recover(left.path)
    assert hold is not None
    assert hold.data == b"data"
    assert left.path.name in names(places.claimed)
    assert f"{left.path.name}.tmp" not in names(places.claimed)


def test_other_agents_and_other_hidden_files_are_not_ours(places: Directories) -> None:
    nonce = "0123456789abcdef"
    for name in (f".{X}.gordon.{nonce}.listen", ".a-0.json.tmp", f".{X}.alice.{nonce}.tmp", f".x.alice.{nonce}.listen"):
        (places.claimed / name).touch()
    assert holds_left(places, ALICE) == []
