"""Small files of trust: old or new, whole, with the right mode; and undone when one of several fails."""

import os
import stat
import threading
from pathlib import Path

import pytest

from handoffd.pairing.store import LIMIT_BYTES, Kept, Store


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "host.key"
    file.write_text("private")
    file.chmod(0o600)
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_modes_are_the_right_ones_whatever_the_umask(tmp_path, key, umask):
    secret, public = tmp_path / "peers/a.out", tmp_path / "peers/a.pem"
    before = os.umask(umask)
    try:
        Store(key).put([Kept(secret, b"s", is_secret=True), Kept(public, b"p")])
    finally:
        os.umask(before)
    assert (mode(secret), mode(public), mode(secret.parent)) == (0o600, 0o644, 0o750)


def test_a_key_that_a_group_may_read_makes_secrets_that_it_may_read(tmp_path, key):
    key.chmod(0o640)
    Store(key).put([Kept(tmp_path / "out", b"s", is_secret=True)])
    assert mode(tmp_path / "out") == 0o640


def test_a_key_that_is_open_to_all_makes_no_secret_that_is(tmp_path, key):
    key.chmod(0o666)
    Store(key).put([Kept(tmp_path / "out", b"s", is_secret=True)])
    assert mode(tmp_path / "out") == 0o640


def test_what_was_there_comes_back(tmp_path, key):
    old, new, gone = tmp_path / "old", tmp_path / "new", tmp_path / "gone"
    old.write_bytes(b"1")
    gone.write_bytes(b"2")
    store = Store(key)
    before = store.put([Kept(old, b"changed"), Kept(new, b"made"), Kept(gone, None)])
    assert (old.read_bytes(), new.read_bytes(), gone.exists()) == (b"changed", b"made", False)
    store.undo(before)
    assert (old.read_bytes(), new.exists(), gone.read_bytes()) == (b"1", False, b"2")


def test_one_that_cannot_be_written_undoes_those_before_it(tmp_path, key):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1")
    second.mkdir()
    with pytest.raises(OSError, match="second"):
        Store(key).put([Kept(first, b"changed"), Kept(second, b"x")])
    assert first.read_bytes() == b"1"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "host.key", "second"]


def test_what_a_killed_one_left_is_no_obstacle(tmp_path, key):
    (tmp_path / ".out.0123456789abcdef.tmp").write_text("half")
    Store(key).put([Kept(tmp_path / "out", b"whole")])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["host.key", "out"]


@pytest.mark.parametrize("kind", ["file", "directory", "fifo", "huge"])
def test_what_was_planted_is_neither_read_nor_followed(tmp_path, key, kind):
    peers, elsewhere = tmp_path / "peers", tmp_path / "elsewhere"
    elsewhere.mkdir()
    if kind == "directory":
        peers.symlink_to(elsewhere)
    else:
        peers.mkdir()
    if kind == "file":
        (peers / "out").symlink_to(key)
    elif kind == "fifo":
        os.mkfifo(peers / "out")
    elif kind == "huge":
        (peers / "out").write_bytes(bytes(LIMIT_BYTES + 1))
    words = "small regular file" if kind in ("fifo", "huge") else "not followed"
    with pytest.raises(OSError, match=words):
        Store(key).put([Kept(peers / "out", b"new")])
    assert key.read_text() == "private"
    assert list(elsewhere.iterdir()) == []
    assert len(list(peers.iterdir())) == (0 if kind == "directory" else 1)


def test_an_interrupt_between_two_files_leaves_both_as_they_were(tmp_path, key, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"1")
    second.write_bytes(b"2")
    replaced: list[str] = []

    def interrupted(source: str, name: str, **where: int) -> None:
        replaced.append(name)
        if replaced == ["first", "second"]:
            raise KeyboardInterrupt
        rename(source, name, **where)

    rename = os.replace
    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        Store(key).put([Kept(first, b"changed"), Kept(second, b"changed")])
    assert (first.read_bytes(), second.read_bytes()) == (b"1", b"2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "host.key", "second"]


def test_what_another_has_written_since_is_not_undone(tmp_path, key):
    file = tmp_path / "in.sha256"
    file.write_bytes(b"old")
    before = Store(key).put([Kept(file, b"renewed")])
    Store(key).put([Kept(file, b"revoked")])
    Store(key).undo(before)
    assert file.read_bytes() == b"revoked"


def test_a_change_sees_what_the_one_before_it_has_written(tmp_path, key):
    file = tmp_path / "in.sha256"
    file.write_bytes(b"")

    def add() -> None:
        for _ in range(20):
            Store(key).change(file, lambda present: present + b"x")

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() == b"x" * 80


def test_writers_wait_for_each_other_even_while_the_model_is_replaced(tmp_path, key):
    file = tmp_path / "in.sha256"
    file.write_bytes(b"")

    def add() -> None:
        for _ in range(20):
            Store(key).change(file, lambda present: present + b"x")
            Store(key).put([Kept(key, b"another", is_secret=True)])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.read_bytes() == b"x" * 80


def test_a_file_that_keeps_its_access_does(tmp_path, key):
    file = tmp_path / "bob.token"
    file.write_bytes(b"old")
    file.chmod(0o440)
    if os.geteuid() == 0:
        os.chown(file, 4711, 4712)
    was = file.stat()
    Store(key).put([Kept(file, b"new", is_secret=True, keeps_access=True)])
    now = file.stat()
    assert file.read_bytes() == b"new"
    assert (now.st_uid, now.st_gid, now.st_mode) == (was.st_uid, was.st_gid, was.st_mode)
