"""custody/filesystem.py: the durable verbs on a real disk."""

import contextlib
import ctypes
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from handoffd.custody.filesystem import SYNCFS_FROM, FlushFailed, LinuxFilesystem, NewFile, NotRegular


@pytest.fixture
def fs(tmp_path: Path) -> Iterator[LinuxFilesystem]:
    made = LinuxFilesystem(tmp_path)
    for directory in ("one", "two"):
        made.make_directory(directory, 0o700)
    yield made
    made.close()


def put(fs: LinuxFilesystem, name: str, data: bytes = b"x", directory: str = "one") -> None:
    assert fs.create([NewFile(directory, name, data)]) == [None]


def code(error: OSError | None) -> int | None:
    return error and error.errno


# ---------------------------------------------------------------- directories


def test_a_directory_is_made_with_its_mode_whatever_the_umask(tmp_path: Path) -> None:
    fs, before = LinuxFilesystem(tmp_path), os.umask(0o077)
    try:
        fs.make_directory("shared", 0o2770)
    finally:
        os.umask(before)
        fs.close()
    assert (tmp_path / "shared").stat().st_mode & 0o7777 == 0o2770


def test_a_directory_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir(0o711)
    fs = LinuxFilesystem(tmp_path)
    fs.make_directory("one", 0o700)
    fs.close()
    assert (tmp_path / "one").stat().st_mode & 0o777 == 0o711


@pytest.mark.parametrize("kind", ["link", "file"])
def test_what_is_no_directory_of_our_own_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "real").mkdir()
    if kind == "link":
        os.symlink(tmp_path / "real", tmp_path / "one")
    else:
        (tmp_path / "one").write_bytes(b"")
    fs = LinuxFilesystem(tmp_path)
    with pytest.raises(NotADirectoryError):
        fs.make_directory("one", 0o700)
    fs.close()


def test_a_replaced_directory_is_noticed_and_does_not_redirect_us(fs: LinuxFilesystem, tmp_path: Path) -> None:
    os.rename(tmp_path / "one", tmp_path / "old")
    (tmp_path / "one").mkdir()
    put(fs, "x")
    assert (os.listdir(tmp_path / "one"), os.listdir(tmp_path / "old")) == ([], ["x"])
    assert (fs.moved("one"), fs.moved("two")) == (True, False)


def test_names_that_are_no_utf_8_come_and_go_unharmed(fs: LinuxFilesystem, tmp_path: Path) -> None:
    (tmp_path / "one" / os.fsdecode(b"\xff\xfe.json")).write_bytes(b"x")
    (name,) = fs.names("one")
    found = fs.stat("one", name)
    assert found is not None
    fs.move("one", name, "two", name)
    assert os.listdir(os.fsencode(tmp_path / "two")) == [b"\xff\xfe.json"]
    assert fs.read("two", name)[0] == b"x"
    fs.unlink("two", name)


# ---------------------------------------------------------------- stat and read


def test_stat_of_nothing_is_none_and_of_a_link_is_the_link(fs: LinuxFilesystem, tmp_path: Path) -> None:
    os.symlink("/etc/passwd", tmp_path / "one" / "link")
    found = fs.stat("one", "link")
    assert fs.stat("one", "nothing") is None
    assert found is not None
    assert not found.regular


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo", "directory"])
def test_only_a_regular_file_is_read_and_nothing_hangs(fs: LinuxFilesystem, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "one" / "x"
    {
        "link": lambda: os.symlink("/etc/passwd", path),
        "dangling": lambda: os.symlink("nowhere", path),
        "fifo": lambda: os.mkfifo(path),
        "directory": path.mkdir,
    }[kind]()
    with pytest.raises(NotRegular):
        fs.read("one", "x")


def test_reading_what_is_not_there_says_so(fs: LinuxFilesystem) -> None:
    with pytest.raises(FileNotFoundError):
        fs.read("one", "x")


@pytest.mark.parametrize(("size", "read"), [(0, 0), (9, 9), (10, 10), (11, 11), (12, 11), (5000, 11)])
def test_a_read_stops_one_byte_past_its_limit(fs: LinuxFilesystem, size: int, read: int) -> None:
    put(fs, "x", b"a" * size)
    data, found = fs.read("one", "x", 10)
    assert (len(data), found.size) == (read, size)


def test_an_unmodified_file_is_the_same_after_a_rename_and_not_after_a_write(fs: LinuxFilesystem) -> None:
    put(fs, "x")
    before = fs.stat("one", "x")
    fs.move("one", "x", "two", "y")
    moved = fs.stat("two", "y")
    assert before is not None
    assert moved is not None
    assert before.same_bytes_as(moved)
    put(fs, "x")
    other = fs.stat("one", "x")
    assert other is not None
    assert not before.same_bytes_as(other)


# ---------------------------------------------------------------- create and flush


def test_a_created_file_has_its_mode_and_bytes(tmp_path: Path) -> None:
    fs = LinuxFilesystem(tmp_path, file_mode=0o640)
    fs.make_directory("one", 0o700)
    put(fs, "x", b"bytes")
    fs.close()
    assert (tmp_path / "one/x").read_bytes() == b"bytes"
    assert (tmp_path / "one/x").stat().st_mode & 0o777 == 0o640


def test_a_prepared_file_is_the_one_that_create_fills(fs: LinuxFilesystem) -> None:
    fs.prepare("one", "x")
    before = fs.stat("one", "x")
    put(fs, "x", b"bytes")
    after = fs.stat("one", "x")
    assert before is not None
    assert after is not None
    assert (before.inode, before.size) == (after.inode, 0)
    assert fs.read("one", "x", flush_soon=True)[0] == b"bytes"
    (failure,) = fs.create([NewFile("one", "x", b"again")])
    assert code(failure) == errno.EEXIST


def test_a_file_that_cannot_be_prepared_is_left_to_create(fs: LinuxFilesystem) -> None:
    put(fs, "x", b"theirs")
    fs.prepare("one", "x")
    (failure,) = fs.create([NewFile("one", "x", b"mine")])
    assert (code(failure), fs.read("one", "x")[0]) == (errno.EEXIST, b"theirs")


@pytest.fixture
def flushed(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The inodes that were flushed, one by one."""
    inodes: set[int] = set()
    real = os.fsync

    def fsync(fd: int) -> None:
        inodes.add(os.fstat(fd).st_ino)
        real(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    return inodes


@pytest.mark.parametrize("number", [1, 2])
def test_created_bytes_are_flushed_unless_nothing_rests_on_them(
    fs: LinuxFilesystem, flushed: set[int], number: int
) -> None:
    kept = [NewFile("one", f"kept-{one}", b"x") for one in range(number)]
    fs.create(kept)
    fs.create([NewFile("one", "view", b"x")], durable=False)
    assert flushed == {(fs.root / "one" / file.name).stat().st_ino for file in kept}


def test_create_never_replaces_and_leaves_what_is_there(fs: LinuxFilesystem) -> None:
    put(fs, "x", b"first")
    (failure,) = fs.create([NewFile("one", "x", b"second")])
    assert code(failure) == errno.EEXIST
    assert fs.read("one", "x")[0] == b"first"


def test_create_does_not_follow_a_link(fs: LinuxFilesystem, tmp_path: Path) -> None:
    os.symlink(tmp_path / "elsewhere", tmp_path / "one" / "x")
    (failure,) = fs.create([NewFile("one", "x", b"x")])
    assert code(failure) == errno.EEXIST
    assert not (tmp_path / "elsewhere").exists()


GROUPS = [1, 2, SYNCFS_FROM - 1, SYNCFS_FROM, SYNCFS_FROM + 1]


@pytest.mark.parametrize("count", GROUPS)
@pytest.mark.parametrize("durable", [True, False])
def test_a_group_of_any_size_is_created_and_one_bad_item_fails_alone(
    fs: LinuxFilesystem, count: int, durable: bool
) -> None:
    put(fs, "0")
    answers = fs.create([NewFile("one", str(number), b"%d" % number) for number in range(count)], durable=durable)
    assert [code(answer) for answer in answers] == [errno.EEXIST] + [None] * (count - 1)
    assert all(fs.read("one", str(number))[0] == b"%d" % number for number in range(1, count))


class Flushes:
    """What has been made durable, by inode: one file, or all that has bytes when the whole file system is flushed."""

    def __init__(self, fs: LinuxFilesystem, monkeypatch: pytest.MonkeyPatch) -> None:
        self.durable: set[int] = set()
        self.refuses_all = False
        self._root, self._fsync, self._syncfs = fs.root, os.fsync, fs._libc.syncfs
        monkeypatch.setattr("handoffd.custody.filesystem.os.fsync", self._flush)
        monkeypatch.setattr(fs._libc, "syncfs", self._flush_all)

    def _flush(self, fd: int) -> None:
        self._fsync(fd)
        self.durable.add(os.fstat(fd).st_ino)

    def _flush_all(self, fd: int) -> int:
        if self.refuses_all:
            return -1
        self.durable |= {path.stat().st_ino for path in (self._root / "one").iterdir() if path.stat().st_size}
        return int(self._syncfs(fd))

    def lacks(self) -> set[str]:
        return {path.name for path in (self._root / "one").iterdir() if path.stat().st_ino not in self.durable}


@pytest.mark.parametrize("refuses_all", [False, True])
@pytest.mark.parametrize("count", GROUPS)
def test_the_bytes_of_a_group_of_any_size_are_flushed(
    fs: LinuxFilesystem, monkeypatch: pytest.MonkeyPatch, count: int, refuses_all: bool
) -> None:
    flushes = Flushes(fs, monkeypatch)
    flushes.refuses_all = refuses_all
    fs.create([NewFile("one", str(number), b"x") for number in range(count)])
    assert flushes.lacks() == set()
    flushes.durable.clear()
    assert fs.sync_files([("one", str(number)) for number in range(count)]) == [None] * count
    assert flushes.lacks() == set()


def test_a_name_that_is_too_long_is_an_answer(fs: LinuxFilesystem) -> None:
    (failure,) = fs.create([NewFile("one", "x" * 300, b"")])
    assert code(failure) == errno.ENAMETOOLONG


def test_flushing_files_answers_for_each(fs: LinuxFilesystem, tmp_path: Path) -> None:
    put(fs, "x")
    os.mkfifo(tmp_path / "one" / "fifo")
    os.symlink("x", tmp_path / "one" / "link")
    answers = fs.sync_files([("one", "x"), ("one", "fifo"), ("one", "link"), ("one", "nothing")])
    assert [code(answer) for answer in answers] == [None, errno.EINVAL, errno.ELOOP, errno.ENOENT]


def test_flushing_one_fifo_does_not_hang(fs: LinuxFilesystem, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "one" / "fifo")
    (answer,) = fs.sync_files([("one", "fifo")])
    assert code(answer) == errno.EINVAL


def test_a_failed_directory_flush_is_not_to_be_survived(fs: LinuxFilesystem) -> None:
    fs.sync_directories(["one", "two", "one"])
    os.close(fs._fds["one"])
    with pytest.raises(FlushFailed, match="one"):
        fs.sync_directories(["two", "one"])
    fs._fds["one"] = os.open(fs.root / "one", os.O_RDONLY | os.O_DIRECTORY)


def test_the_whole_file_system_is_flushed_or_nothing_goes_on(
    fs: LinuxFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    fs.create([NewFile("one", "x", b"x")], durable=False)
    flushes = Flushes(fs, monkeypatch)
    fs.sync_all()
    assert flushes.lacks() == set()
    flushes.refuses_all = True
    with pytest.raises(FlushFailed, match="syncfs"):
        fs.sync_all()


# ---------------------------------------------------------------- names


def test_a_move_does_not_replace(fs: LinuxFilesystem) -> None:
    put(fs, "x", b"mine")
    put(fs, "x", b"theirs", "two")
    with pytest.raises(FileExistsError):
        fs.move("one", "x", "two", "x")
    assert (fs.read("one", "x")[0], fs.read("two", "x")[0]) == (b"mine", b"theirs")


def test_a_move_onto_another_link_of_the_same_file_is_refused_too(fs: LinuxFilesystem) -> None:
    """Plain rename reports success and leaves both names (R1)."""
    put(fs, "x")
    fs.link("one", "x", "two", "y")
    with pytest.raises(FileExistsError):
        fs.move("one", "x", "two", "y")
    assert (fs.names("one"), fs.names("two")) == (["x"], ["y"])


def test_a_move_of_nothing_is_a_lost_race(fs: LinuxFilesystem) -> None:
    with pytest.raises(FileNotFoundError):
        fs.move("one", "x", "two", "x")


def test_a_move_says_both_names_when_it_fails(fs: LinuxFilesystem) -> None:
    with pytest.raises(OSError, match=r"one/x.*two/y"):
        fs.move("one", "x", "two", "y")


def test_an_exchange_swaps_and_needs_both(fs: LinuxFilesystem) -> None:
    put(fs, "x", b"1")
    put(fs, "y", b"2", "two")
    fs.exchange("one", "x", "two", "y")
    assert (fs.read("one", "x")[0], fs.read("two", "y")[0]) == (b"2", b"1")
    with pytest.raises(FileNotFoundError):
        fs.exchange("one", "x", "two", "nothing")


def test_a_link_is_a_second_name_of_one_inode(fs: LinuxFilesystem) -> None:
    put(fs, "x")
    fs.link("one", "x", "two", "y")
    first, second = fs.stat("one", "x"), fs.stat("two", "y")
    assert first is not None
    assert second is not None
    assert (first.inode, first.links, second.links) == (second.inode, 2, 2)
    with pytest.raises(FileExistsError):
        fs.link("one", "x", "two", "y")
    with pytest.raises(FileNotFoundError):
        fs.link("one", "nothing", "two", "z")


def test_the_link_count_stays_at_two_after_a_rename_and_falls_after_a_rewrite(fs: LinuxFilesystem) -> None:
    """What the observation of agents rests on (docs/custody.md section 6)."""
    put(fs, "receipt")
    fs.link("one", "receipt", "two", "token")
    fs.move("two", "token", "two", "other name")
    renamed = fs.stat("one", "receipt")
    put(fs, "part")
    os.replace(fs.root / "one/part", fs.root / "two/other name")
    rewritten = fs.stat("one", "receipt")
    assert renamed is not None
    assert rewritten is not None
    assert (renamed.links, rewritten.links) == (2, 1)


def test_removing_what_is_not_there_is_no_error(fs: LinuxFilesystem) -> None:
    put(fs, "x")
    fs.unlink("one", "x")
    fs.unlink("one", "x")
    assert fs.names("one") == []


def test_what_a_disk_refuses_is_an_answer_even_if_it_cannot_be_removed(
    fs: LinuxFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the disk has turned read-only between the making of the file and its first byte."""

    def refuse(*words: object, **named: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(os, "unlink", refuse)
    (failure,) = fs.create([NewFile("one", "x", b"data")])
    assert failure is not None
    assert failure.errno == errno.EROFS


# ---------------------------------------------------------------- a full disk


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[LinuxFilesystem]:
    """64 KiB of tmpfs."""
    path = tmp_path / "tiny"
    path.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root: a file system of 64 KiB is mounted")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"needs root: mount is not allowed here: {mounted.stderr.decode().strip()}")
    fs = LinuxFilesystem(path)
    fs.make_directory("one", 0o700)
    yield fs
    fs.close()
    subprocess.run(["umount", path], check=True)


def test_what_a_full_disk_did_not_take_is_gone(tiny: LinuxFilesystem) -> None:
    answers = tiny.create([NewFile("one", str(number), b"x" * 20_000) for number in range(5)])
    full = [code(answer) for answer in answers]
    assert full.count(errno.ENOSPC) >= 2
    assert sorted(tiny.names("one")) == sorted(str(n) for n, one in enumerate(full) if one is None)
    assert all(len(tiny.read("one", name)[0]) == 20_000 for name in tiny.names("one"))


def test_space_that_comes_back_can_be_used(tiny: LinuxFilesystem) -> None:
    (failure,) = tiny.create([NewFile("one", "x", b"x" * 100_000)])
    assert code(failure) == errno.ENOSPC
    put(tiny, "x", b"x" * 20_000)


# ---------------------------------------------------------------- too many open files


def test_too_many_open_files_is_an_answer_not_an_end(fs: LinuxFilesystem) -> None:
    put(fs, "x")
    taken: list[int] = []
    with contextlib.ExitStack() as stack:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        stack.callback(lambda: [os.close(fd) for fd in taken])
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        with pytest.raises(OSError, match="Too many open files"):
            while True:
                taken.append(os.dup(0))
        (failure,) = fs.create([NewFile("one", "y", b"")])
        (unflushed,) = fs.sync_files([("one", "x")])
        with pytest.raises(OSError, match="Too many open files"):
            fs.read("one", "x")
    assert (code(failure), code(unflushed)) == (errno.EMFILE, errno.EMFILE)
    assert fs.read("one", "x")[0] == b"x"


def test_the_c_library_has_the_calls_we_need() -> None:
    libc = ctypes.CDLL(None)
    assert libc.renameat2
    assert libc.syncfs


def test_no_more_is_read_than_was_asked_for_though_it_comes_in_parts(
    fs: LinuxFilesystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(fs, "long", b"0123456789")
    read = os.read
    monkeypatch.setattr("handoffd.custody.filesystem.os.read", lambda fd, count: read(fd, min(count, 4)))
    assert fs.read("one", "long", 20)[0] == b"0123456789"
    assert fs.read("one", "long", 8)[0] == b"012345678"


def test_a_flush_that_fails_says_of_which_directory(fs: LinuxFilesystem, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("handoffd.custody.filesystem.os.fsync", fail)
    with pytest.raises(FlushFailed, match=f"{fs.root}/two failed: "):
        fs.sync_directories(["two"])
