import os
import stat
from itertools import islice
from pathlib import Path

import pytest

from handoffd.agent.directory import Directories, first_free, move, names_for, open_regular, write_new
from handoffd.protocol.payload import transfer_id

TID = transfer_id(b"bytes")


def test_missing_directories_are_made_and_present_ones_stay(tmp_path: Path) -> None:
    (tmp_path / "handoff").mkdir()
    (tmp_path / "handoff" / "x.json").write_text("{}")
    Directories(tmp_path).make()
    assert sorted(os.listdir(tmp_path)) == ["archive", "claimed", "handoff", "rejected"]
    assert os.listdir(tmp_path / "handoff") == ["x.json"]


def test_a_missing_root_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such directory"):
        Directories(tmp_path / "typo").make()


def test_a_move_never_replaces(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with pytest.raises(FileExistsError):
        move(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "b"
    assert (tmp_path / "a").read_text() == "a"


def test_a_move_onto_another_link_of_the_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(FileExistsError):
        move(tmp_path / "a", tmp_path / "b")


def test_the_loser_of_a_move_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        move(tmp_path / "gone", tmp_path / "b")


def test_a_new_file_never_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    write_new(tmp_path / "a", b"first")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", b"second")
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"first"


def test_a_new_file_follows_the_umask_within_its_group(tmp_path: Path) -> None:
    before = os.umask(0o007)
    try:
        write_new(tmp_path / "a", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o660


def test_names_to_try_start_with_the_own_one_and_never_end() -> None:
    tried = [path.name for path in islice(names_for(Path("/d"), "a-0.json", TID), 5)]
    assert tried[:2] == ["a-0.json", f"a-0.r{TID[:12]}.json"]
    assert len(set(tried)) == 5


def test_a_name_too_long_to_be_legal_is_shortened_at_once() -> None:
    tried = [path.name for path in islice(names_for(Path("/d"), "a" * 250 + ".json", TID), 3)]
    assert all(len(name) <= 128 for name in tried)


def test_the_first_free_name_is_used(tmp_path: Path) -> None:
    (tmp_path / "a-0.json").touch()
    path = first_free(names_for(tmp_path, "a-0.json", TID), lambda path: write_new(path, b"x"))
    assert path.name == f"a-0.r{TID[:12]}.json"


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc/hostname")
    (tmp_path / "directory").mkdir()
    for name in ("pipe", "link", "directory", "gone"):
        assert open_regular(tmp_path / name) is None
