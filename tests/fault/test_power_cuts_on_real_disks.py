"""Power cuts on ext4 and xfs: 500 of them, and a few that show that a host which does not flush would be caught.

The command runs as a process of its own: it needs mounts of its own. `make power-cuts N=20000` cuts more often.
"""

import errno
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from tests.fault.conftest import POINTS
from tests.fault.cuts.disk import SIZES, missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
T = TypeVar("T")
PROJECT = Path(__file__).parents[2]
CUTS = 130
PARTS = 2
every_kind = pytest.mark.parametrize("kind", sorted(SIZES))


def cut(kind: str, *options: str) -> subprocess.CompletedProcess[str]:
    if (reason := missing(kind)) is not None:
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.fault.cuts", "--filesystem", kind, "--jobs", "1", *options]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=1200, check=False)


@every_kind
@pytest.mark.parametrize("part", range(PARTS))
def test_no_power_cut_breaks_a_promise(kind: str, part: int, record_property: Callable[[str, object], None]) -> None:
    done = cut(kind, "--cuts", str(CUTS), "--seed", str(part * 1000))
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"(\d+) power cuts in", done.stdout)
    assert counted is not None
    assert int(counted[1]) >= CUTS
    record_property(f"{POINTS}power cuts on {kind}", int(counted[1]))


@every_kind
def test_a_host_that_flushes_no_directory_is_caught(kind: str) -> None:
    done = cut(kind, "--cuts", "40", "--careless")
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("BROKEN") >= 5


def test_a_run_that_is_killed_leaves_no_mount_and_no_loop_device() -> None:
    if (reason := missing("ext4")) is not None:
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.fault.cuts", "--filesystem", "ext4", "--jobs", "1"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL) as running:
        try:
            # Between a cut and its end nothing is mounted: what was seen once may be gone at a second look.
            ground, loop = until(lambda: loop_of(running.pid))
            image = until(lambda: image_of(loop))
        finally:
            running.kill()
    until(lambda: image_of(loop) != image)
    assert not Path(ground).exists()


def loop_of(pid: int) -> tuple[str, str] | None:
    """Return the directory above the mounted disk of a process, and its loop device."""
    table = Path(f"/proc/{pid}/mountinfo").read_text()
    found = re.search(r" (\S+)/disk \S+ .*- ext4 (/dev/loop\d+) ", table)
    return (found[1], found[2]) if found else None


def image_of(loop: str) -> str:
    """Return the image behind a loop device; empty: none."""
    try:
        return (Path("/sys/block") / Path(loop).name / "loop/backing_file").read_text()
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV):  # the latter when it goes while it is read
            raise
        return ""


def until(look: Callable[[], T | None]) -> T:
    """Return the first true value that a look gives."""
    deadline = time.monotonic() + 120
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return seen
