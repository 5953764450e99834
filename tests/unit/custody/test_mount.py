"""What file system a root is on: the accepted ones, the one that is warned of, and mount tables as they come."""

import builtins
from pathlib import Path
from typing import IO, Any

import pytest

from handoffd.custody import layout
from handoffd.custody.layout import Kind, filesystem_kind, mount_of

LINE = "36 35 98:0 / {point} rw,noatime - {kind} /dev/root rw\n"


def mounted(monkeypatch: pytest.MonkeyPatch, directory: Path, *lines: bytes) -> None:
    """Let the kernel's table of mounts say this."""
    table = directory / "mountinfo"
    table.write_bytes(b"".join(lines))

    def opened(path: object, *args: Any, **more: Any) -> IO[Any]:
        return builtins.open(table if path == "/proc/self/mountinfo" else path, *args, **more)  # type: ignore[call-overload,no-any-return]

    monkeypatch.setattr(layout, "open", opened, raising=False)


def line(point: object, kind: str) -> bytes:
    return LINE.format(point=point, kind=kind).encode()


@pytest.mark.parametrize("kind", ["ext4", "xfs", "btrfs", "tmpfs", "ext3"])
def test_where_a_rename_is_atomic_across_a_power_cut_a_root_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    mounted(monkeypatch, tmp_path, line("/", kind))
    found = filesystem_kind(tmp_path)
    assert (found.accepted, found.warning) == (True, "")


def test_an_overlay_is_accepted_and_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, tmp_path, line("/", "overlay"))
    found = filesystem_kind(tmp_path)
    assert found.accepted
    assert "overlay" in found.warning


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    mounted(monkeypatch, tmp_path, line("/", kind))
    assert filesystem_kind(tmp_path) == Kind(kind, accepted=False)
    assert filesystem_kind(tmp_path).accepted is False


def test_the_longest_mount_point_counts_and_of_one_point_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = [line("/", "nfs4"), line(tmp_path, "ext4"), line(tmp_path, "xfs"), line(tmp_path / "below", "cifs")]
    mounted(monkeypatch, tmp_path, *lines)
    assert mount_of(tmp_path) == (str(tmp_path), "xfs")


def test_names_of_other_mounts_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither bytes that are no text nor letters that Latin-1 has not."""
    mounted(monkeypatch, tmp_path, b"36 35 98:0 / /m\xff rw - nfs4 x rw\n", line("/mnt/Ω", "cifs"), line("/", "xfs"))
    assert mount_of(tmp_path) == ("/", "xfs")


def test_a_table_without_a_line_for_it_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounted(monkeypatch, tmp_path)
    assert filesystem_kind(tmp_path) == Kind("unknown", accepted=False)
