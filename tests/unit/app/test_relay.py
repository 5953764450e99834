"""A relay/ that is not the daemon's own is refused before anything in the root is touched."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from handoffd.app.relay import check_relay
from handoffd.custody.layout import RELAY, RELAY_DIRECTORIES, UnsafeRoot

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to give files to another user")
NOBODY = 65_534


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a root with relay/ as a daemon makes it, one peer's directories included."""
    for name in (*RELAY_DIRECTORIES, "relay/inbox/alice-vm", "relay/outbox/alice-vm", "relay/sent/alice-vm"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o2700)  # the root's setgid bit is handed down
    return tmp_path


def test_a_relay_of_our_own_passes_and_so_does_a_root_without_one(root: Path, tmp_path_factory) -> None:
    check_relay(root)
    check_relay(tmp_path_factory.mktemp("fresh"))
    check_relay(root / "nowhere")


PLACES = (RELAY, "relay/outcome", "relay/inbox/alice-vm", "relay/sent/alice-vm", "relay/quarantine")


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def file(path: Path) -> None:
    path.rename(path.parent.parent / "elsewhere")
    path.write_text("")


SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (link, "is a link"),
    (file, "is no directory"),
    (lambda path: path.chmod(0o770), "has mode 770, so others reach into it; chmod -R go-rwx"),
    (lambda path: path.chmod(0o2710), "has mode 2710"),
    (lambda path: path.chmod(0o705), "has mode 705"),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("spoil", "words"), SPOILED)
def test_a_directory_that_others_reach_into_is_named_with_its_remedy(
    root: Path, spoil: Callable[[Path], object], words: str, place: str
) -> None:
    spoil(root / place)
    with pytest.raises(UnsafeRoot) as refused:
        check_relay(root)
    assert f"{root / place} {words}" in str(refused.value)
    assert f"mv {root / RELAY} {root / RELAY}.aside" in str(refused.value)


@as_root
@pytest.mark.parametrize("place", PLACES)
def test_another_users_directory_is_refused_with_both_names(root: Path, place: str) -> None:
    os.chown(root / place, NOBODY, -1)
    with pytest.raises(UnsafeRoot) as refused:
        check_relay(root)
    assert f"{root / place} belongs to nobody, and this is root" in str(refused.value)
    assert f"chown -R root {root / RELAY}" in str(refused.value)
