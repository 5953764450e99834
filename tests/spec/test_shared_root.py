"""A root that agents of several users share through a group: what each may do, by the kernel's own rules."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from handoffd.__main__ import outcome

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: to act as several users")

DAEMON, BOB, ALICE, GROUP = 60_001, 60_002, 60_003, 60_010
"""Users and a group that need no entry anywhere."""


@pytest.fixture
def root() -> Iterator[Path]:
    """Return a root as `init` makes it, with the daemon's relay/; reachable by other users, which tmp_path is not."""
    base = Path(tempfile.mkdtemp())
    base.chmod(0o711)
    made = base / "root"
    assert outcome(["init", "--dir", str(base / "etc"), "--host", "h", "--root", str(made), "--agent", "bob"]) == 0
    (made / "relay").mkdir(mode=0o700)
    for path in (made, *made.iterdir()):
        mode = path.stat().st_mode
        os.chown(path, DAEMON, GROUP)
        path.chmod(mode & 0o7777)  # chown may drop the setgid bit
    yield made
    shutil.rmtree(base)


def act(user: int, *command: str | Path) -> int:
    """Run a command as a user of the group, with the umask that agents of a shared root have."""
    done = subprocess.run(
        ["/bin/sh", "-c", 'umask 007; exec "$@"', "sh", *map(str, command)],
        user=user, group=user, extra_groups=[GROUP], stderr=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    return done.returncode


def test_an_agent_claims_what_an_agent_of_another_user_wrote(root: Path) -> None:
    written = root / "handoff" / "b275013166a65f69-0.json"
    assert act(BOB, "touch", written) == 0
    assert (written.stat().st_uid, written.stat().st_gid) == (BOB, GROUP)
    assert act(ALICE, "mv", "-T", written, root / "claimed" / written.name) == 0
    claimed = root / "claimed" / written.name
    assert act(ALICE, "mv", "-T", claimed, root / "archive" / written.name) == 0
    assert act(DAEMON, "mv", "-T", root / "archive" / written.name, root / "handoff" / written.name) == 0
    assert act(BOB, "rm", written) == 0


@pytest.mark.parametrize("name", ["relay", "handoff", "claimed", "archive", "rejected"])
def test_no_agent_can_move_a_directory_of_the_root_away_or_look_into_relay(root: Path, name: str) -> None:
    assert act(ALICE, "mv", "-T", root / name, root / "elsewhere") != 0
    assert (root / name).is_dir()
    assert act(ALICE, "ls", root / "relay") != 0


def test_without_the_sticky_bit_it_could(root: Path) -> None:
    root.chmod(0o2770)
    assert act(ALICE, "mv", "-T", root / "relay", root / "elsewhere") == 0
