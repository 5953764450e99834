"""What befalls a host: it stands still, its disk is full of files or read-only, its directories hold anything at all,
its state is that of yesterday, its agents have left a hundred thousand files."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from tests.fire.agent import Agents
from tests.fire.ground import Ground
from tests.fire.history import History
from tests.fire.soak import Soak
from tests.spec.daemon.rig import OURS, Host, payload, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

STILL_S = 90.0
BACKLOG = int(os.environ.get("HANDOFFD_BACKLOG", "20000"))
BACKLOG_DEADLINE_S = max(400.0, BACKLOG / 100)
SETTLE_S = 240.0
LONG_S = 3_600.0
"""A lifetime that no slow machine outlasts: these tests are not about expiry."""


@pytest.fixture
def mounts(place: Path) -> Iterator[list[Path]]:
    """What is mounted below the place and must be unmounted again, whatever happens, before that is removed."""
    mounted: list[Path] = []
    yield mounted
    for mount in mounted:
        subprocess.run(["umount", "--lazy", mount], check=True)


def mount(mounts: list[Path], host: Host, *words: str) -> None:
    """Put the host's root on a file system of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounting is only for root")
    done = subprocess.run(["mount", *words, host.root], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs mount: this container may not ({done.stderr.strip()})")
    mounts.append(host.root)


# ---------------------------------------------------------------- standing still


def test_ninety_seconds_of_standing_still_on_either_side(place: Path) -> None:
    """Two pairs at once: in one the sender stands still, in the other the receiver."""
    grounds = [Ground(place / name) for name in ("sender", "receiver")]
    history = History()
    agents = Agents(history, random.Random(2))
    try:
        for ground in grounds:
            ground.start()
            for host, peer in (ground.pair.hosts, ground.pair.hosts[::-1]):
                agents.claim(host)
                agents.write(host, peer, 1.0)
        still = [grounds[0].bob, grounds[1].alice]
        for host in still:
            host.signal(signal.SIGSTOP)
        time.sleep(STILL_S)
        for host in still:
            host.signal(signal.SIGCONT)
        agents.stop()
        until("all have ended", lambda: not history.open(), SETTLE_S)
        agents.end()
        assert history.faults() == []
        assert history.reasons()["completed"] > STILL_S
        assert [ground.broken() for ground in grounds] == [[], []]
    finally:
        for ground in grounds:
            ground.end()


# ---------------------------------------------------------------- disks


def test_a_disk_without_a_free_inode_loses_nothing(mounts: list[Path], cold: Ground) -> None:
    """The receiver's: what is there stays, what comes waits at its sender."""
    mount(mounts, cold.alice, "-t", "tmpfs", "-o", "mode=2770,nr_inodes=200", "tmpfs")
    ground = cold.start()
    first = ground.bob.hand_over("alice", ttl_s=LONG_S)
    ground.alice.published(first)
    filler = ground.alice.root / "filler"
    filler.mkdir()
    number = take_all_inodes(filler)
    late = [ground.bob.hand_over("alice", ttl_s=LONG_S) for _ in range(3)]
    name = ground.alice.claim(first)
    ground.bob.told("claimed", tid=first)
    for tid in late:
        assert ground.bob.outcome(tid) is None
    for each in range(number):
        (filler / str(each)).unlink()
    filler.rmdir()
    ground.alice.archive(name)
    for tid in late:
        ground.alice.archive(ground.alice.claim(tid))
    for tid in (first, *late):
        assert [host.ended(tid)["reason"] for host in ground.pair.hosts] == ["completed", "completed"]


def take_all_inodes(directory: Path) -> int:
    number = 0
    with contextlib.suppress(OSError):
        while number < 10_000:
            (directory / str(number)).touch()
            number += 1
    assert number < 10_000
    return number


def test_a_disk_that_turns_read_only_ends_its_daemon_and_loses_nothing(mounts: list[Path], cold: Ground) -> None:
    """As ext4 does when it meets an error. The disk is looked after, mounted again, and the daemon started."""
    alice, image = cold.alice, cold.alice.directory / "image"
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("needs ext4: no `mkfs.ext4` here; on Debian: apt-get install e2fsprogs")
    with image.open("wb") as file:
        file.truncate(32 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
    mount(mounts, alice, "-o", "loop,errors=remount-ro", str(image))
    for name in ("handoff", "claimed", "archive", "rejected"):
        (alice.root / name).mkdir()
    ground = cold.start()
    ground.pair.deliver()
    device = os.path.basename(os.path.realpath(f"/sys/dev/block/{block_device(alice.root)}"))
    (Path("/sys/fs/ext4") / device / "trigger_fs_error").write_text("seen by a test")
    tid = ground.bob.hand_over("alice", ttl_s=LONG_S)
    until("its daemon does not serve any more", lambda: not is_ready(alice))
    assert ground.bob.outcome(tid) is None
    if alice.process.poll() is None:
        alice.kill()
    until("nothing uses it any more", lambda: not subprocess.run(["umount", alice.root], check=False).returncode)
    until("its loop device is free", lambda: not has_loop_device(image))
    subprocess.run(["e2fsck", "-f", "-y", image], check=False, capture_output=True)
    subprocess.run(["mount", "-o", "loop", image, alice.root], check=True)
    alice.start()
    alice.archive(alice.claim(tid))
    assert [host.ended(tid)["reason"] for host in ground.pair.hosts] == ["completed", "completed"]


def has_loop_device(image: Path) -> bool:
    return subprocess.run(["losetup", "-j", image], check=True, capture_output=True).stdout != b""


def block_device(path: Path) -> str:
    number = path.stat().st_dev
    return f"{os.major(number)}:{os.minor(number)}"


def is_ready(host: Host) -> bool:
    return host.process.poll() is None and host.is_ready()


# ---------------------------------------------------------------- what lies in handoff/


def test_anything_may_lie_in_handoff_and_the_rest_goes_on(ground: Ground) -> None:
    """Names that are no UTF-8, no names of ours, or try to be more than a name; and everything but a file."""
    handoff = os.fsencode(ground.bob.root / "handoff")
    good = payload("bob", "alice")
    names = [b"\xff\xfe-0.json", b"..%2f..%2fetc-0.json", b"a\nb-0.json", b"$(reboot)-0.json", b"\xe2\x80\xae-0.json"]
    names += [b"x" * 250 + b".json", b"-rf-0.json", b"taking.x~y-0.json", f"{'0' * 16}-r{'0' * 64}.json".encode()]
    for name in names:
        with open(os.path.join(handoff, name), "wb") as file:
            file.write(good)
    odd = [os.path.join(handoff, name) for name in (b"fifo-0.json", b"dir-0.json", b"link-0.json", b"hard-0.json")]
    os.mkfifo(odd[0])
    os.mkdir(odd[1])
    os.symlink("/etc/shadow", odd[2])
    outside = ground.bob.directory / "outside.json"
    outside.write_bytes(payload("bob", "alice"))
    os.link(outside, odd[3])
    if os.geteuid() == 0:
        os.mknod(os.path.join(handoff, b"null-0.json"), 0o20666, os.makedev(1, 3))
    for _ in range(3):
        ground.pair.deliver()
    assert outside.read_bytes()
    assert all(os.path.lexists(name) for name in odd)
    assert ground.alice.names("handoff") == []
    assert ground.bob.process.poll() is None
    for name in odd:
        ground.bob.told("left_alone", file=os.path.basename(os.fsdecode(name)))


# ---------------------------------------------------------------- yesterday's state


def test_a_receiver_restored_from_a_backup_with_a_new_epoch_offers_nothing_twice(ground: Ground) -> None:
    """The backup was made while one was published; it was claimed and completed since."""
    claimed, waiting = (ground.bob.hand_over("alice", ttl_s=LONG_S) for _ in range(2))
    ground.alice.published(claimed)
    ground.alice.published(waiting)
    ground.alice.signal(signal.SIGSTOP)
    backup = ground.alice.directory / "backup"
    shutil.copytree(ground.alice.root, backup, copy_function=shutil.copy2, ignore=shutil.ignore_patterns("*.sock"))
    ground.alice.signal(signal.SIGCONT)
    ground.alice.archive(ground.alice.claim(claimed))
    assert ground.bob.ended(claimed)["reason"] == "completed"
    ground.alice.kill()
    shutil.rmtree(ground.alice.root)
    backup.rename(ground.alice.root)
    (ground.alice.root / "relay/epoch").unlink()
    ground.alice.start().ready()
    assert ground.alice.names("handoff") == []
    assert ground.bob.ended(claimed)["reason"] == "completed"
    assert ground.bob.ended(waiting)["reason"] in ("peer_lost_state", "uncertain_power_loss")
    ground.pair.deliver()


# ---------------------------------------------------------------- many


@pytest.mark.timeout(3 * BACKLOG_DEADLINE_S)
def test_a_backlog_at_the_start_goes_out_whole(cold: Ground) -> None:
    handoff = cold.bob.root / "handoff"
    wanted, got = Counter[bytes](), Counter[bytes]()
    for number in range(BACKLOG):
        data = payload("bob", "alice", ttl_s=3_600.0)
        (handoff / f"{number:016x}-0.json").write_bytes(data)
        wanted[sha256(data).digest()] += 1
    cold.start()

    def all_finished() -> bool:
        # Alice has to keep up: a daemon takes no more than 20,000 of a peer that nobody finishes.
        for name in filter(OURS.match, cold.alice.names("handoff")):
            os.rename(cold.alice.root / "handoff" / name, cold.alice.root / "claimed" / name)
            got[sha256(cold.alice.archive(name)).digest()] += 1
        return got.total() >= BACKLOG

    until("alice has finished all of it", all_finished, BACKLOG_DEADLINE_S)
    assert got == wanted
    until("every outcome is home", lambda: len(cold.bob.names("archive")) == BACKLOG, BACKLOG_DEADLINE_S)
    until("and none is queued", lambda: not cold.bob.names("relay/outbox/alice-vm"), SETTLE_S)
    assert cold.bob.names("handoff") == []


def test_a_short_soak(ground: Ground) -> None:
    """Half a minute of the hours that `python -m tests.fire` plays; docs/guarantees.md tells of a long one."""
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")
    soak = Soak(ground, random.Random(seed), duration_s=36.0, fault_every_s=6.0, rate_per_s=8.0)
    assert soak.run() == []
    assert soak.history.reasons()["completed"] > 100
