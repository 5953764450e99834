"""Who holds a root's lock, found without touching it."""

import os
from pathlib import Path

import pytest

from handoffd.cli.doctor.patient import lock_holder, meet
from handoffd.cli.failure import ExitCode, Failure
from handoffd.custody.layout import lock


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "relay").mkdir()
    return tmp_path


def test_nobody_holds_a_lock_that_is_not_there(root: Path) -> None:
    assert lock_holder(root) == 0
    assert list((root / "relay").iterdir()) == []


def test_the_holder_is_named_while_it_holds(root: Path) -> None:
    held = lock(root)
    assert lock_holder(root) in (os.getpid(), -1)
    os.close(held)
    assert lock_holder(root) == 0


def test_another_roots_lock_is_not_this_ones(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    (other / "relay").mkdir()
    held = lock(other)
    os.close(lock(root))
    assert lock_holder(root) == 0
    os.close(held)


def test_root_is_sent_to_the_daemons_user(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "handoffd.yaml").write_text(f"host: a\nroot: {root}\nagents: [bob]\n")
    held = lock(root)
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    try:
        with pytest.raises(Failure, match=r"run this as .* too, sudo -u .* handoffd doctor") as failed:
            meet(root / "handoffd.yaml", ())
    finally:
        os.close(held)
    assert failed.value.code is ExitCode.PERMISSION
