"""What goes wrong around a daemon: peers, trust, disks, directories; each said in clear words (docs/operations.md)."""

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spec.daemon.rig import EXPIRY_DEADLINE_S, Host, Pair, payload, until

from handoffd.identity import make_identity

FRESH_SECRET = "w" * 43

pytestmark = pytest.mark.slow


# ------------------------------------------------------------------------------------------------- peers


def test_what_is_written_while_the_peer_is_down_goes_when_it_is_back(stopped_pair: Pair) -> None:
    bob, alice = stopped_pair.hosts
    bob.start().ready()
    line = bob.told("link_down")
    assert line["reason"] == "unreachable"
    assert "check that the peer's daemon runs" in line["detail"]
    tids = [bob.hand_over("alice") for _ in range(5)]
    alice.start().ready()
    for tid in tids:
        alice.archive(alice.claim(tid))
        assert bob.ended(tid)["reason"] == "completed"


def test_a_handoff_expires_while_the_peer_is_down_with_a_reason_a_program_can_read(stopped_pair: Pair) -> None:
    bob = stopped_pair.bob.start().ready()
    data = payload("bob", "alice", ttl_s=1.0)
    tid = bob.write(data)
    record = bob.ended(tid, EXPIRY_DEADLINE_S)
    assert (record["reason"], record["delivered"]) == ("expired", "never_sent")
    found = until("it is in rejected/", lambda: [n for n in bob.names("rejected") if n.endswith(".json")])
    assert bob.read("rejected", found[0]) == data
    assert json.loads(bob.read("rejected", f"{found[0]}.reason")) == record


def test_a_peer_that_hangs_is_found_out_and_served_again_when_it_goes_on(pair: Pair) -> None:
    pair.alice.freeze()
    tid = pair.bob.hand_over("alice")
    assert pair.bob.told("link_down")["reason"] in ("no_answer", "unreachable")
    pair.alice.signal(signal.SIGCONT)
    pair.alice.archive(pair.alice.claim(tid))
    assert pair.bob.ended(tid)["reason"] == "completed"


# ------------------------------------------------------------------------------------------------- trust


def test_a_wrong_token_is_named_with_its_remedy_and_nothing_is_delivered(stopped_pair: Pair) -> None:
    bob, alice = stopped_pair.hosts
    (bob.directory / "peers" / "alice-vm.out").write_text(FRESH_SECRET)
    stopped_pair.bob.start()
    alice.start().ready()
    line = bob.told("link_down", reason="wrong_token")
    assert "give the peer the hash of our token" in line["detail"]
    tid = bob.hand_over("alice", ttl_s=1.0)
    assert bob.ended(tid, EXPIRY_DEADLINE_S)["delivered"] == "never_sent"
    assert alice.names("handoff") == []
    assert FRESH_SECRET not in bob.log() + alice.log() + json.dumps(bob.journal())


def test_a_certificate_that_is_not_the_pinned_one_is_named_with_both_fingerprints(stopped_pair: Pair) -> None:
    bob, alice = stopped_pair.hosts
    certificate, _ = make_identity("alice-vm", time.time())  # its name is right, and it is another one
    (bob.directory / "peers" / "alice-vm.pem").write_bytes(certificate)
    bob.start()
    alice.start().ready()
    detail = bob.told("link_down", reason="wrong_certificate")["detail"]
    assert len(re.findall(r"SHA256:(?:[0-9A-F]{2}:){31}[0-9A-F]{2}", detail)) == 2
    assert "compare both" in detail
    tid = bob.hand_over("alice", ttl_s=1.0)
    assert bob.ended(tid, EXPIRY_DEADLINE_S)["delivered"] == "never_sent"
    assert alice.names("handoff") == []


def test_two_hosts_that_call_one_agent_local_are_told(stopped_pair: Pair) -> None:
    bob = stopped_pair.bob
    bob.edit("agents: [bob]", "agents: [bob, carol]")
    for host in stopped_pair.hosts:
        host.start()
    for host in stopped_pair.hosts:
        assert host.told("link_conflict")["agents"] == ["carol"]
        assert "carol" in host.told("link_down", reason="conflict")["detail"]
        until(f"{host.name} warns of it first", lambda host=host: host.ready().warnings()[:1] == ["conflict"])  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------- directories


def test_a_root_that_is_moved_away_ends_the_daemon_and_loses_nothing(pair: Pair) -> None:
    tid = pair.bob.hand_over("alice")
    pair.alice.published(tid)
    root, aside = pair.alice.root, pair.alice.root.with_name("aside")
    root.rename(aside)
    assert pair.alice.exit_code() == 1
    assert re.search(r"was (moved|replaced)", pair.alice.log())
    aside.rename(root)
    pair.alice.start()
    pair.alice.archive(pair.alice.claim(tid))
    assert pair.bob.ended(tid)["reason"] == "completed"


def test_a_root_that_is_replaced_by_a_link_ends_the_daemon(pair: Pair) -> None:
    root, aside = pair.alice.root, pair.alice.root.with_name("aside")
    root.rename(aside)
    root.symlink_to(aside)
    assert pair.alice.exit_code() == 1
    assert "restart handoffd" in pair.alice.log() or "start handoffd again" in pair.alice.log()


@pytest.mark.parametrize("watch", ["inotify", "watchfiles", "scan"])
def test_an_agents_directory_that_is_replaced_ends_the_daemon(lone: Host, watch: str) -> None:
    lone.add(f"watch: {watch}\n")
    lone.start().ready()
    (lone.root / "claimed").rename(lone.root / "claimed.old")
    (lone.root / "claimed").mkdir()
    assert lone.exit_code() == 1
    assert f"{lone.root / 'claimed'} was" in lone.log()


@pytest.mark.parametrize("watch", ["watchfiles", "scan"])
def test_handoffs_cross_with_every_kind_of_watch(stopped_pair: Pair, watch: str) -> None:
    for host in stopped_pair.hosts:
        host.add(f"watch: {watch}\n")
    stopped_pair.start().deliver()
    assert f"watching with {watch}" in stopped_pair.bob.log()


# ------------------------------------------------------------------------------------------------- disks


def as_root(tool: str) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: to mount a file system")
    if shutil.which(tool) is None:
        pytest.skip(f"needs {tool}: to mount a file system")


@pytest.fixture
def mounts() -> Iterator[list[Path]]:
    """What is mounted and must be unmounted again, whatever happens."""
    mounted: list[Path] = []
    yield mounted
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def mount(mounts: list[Path], place: Path, *words: str) -> None:
    place.mkdir(exist_ok=True)
    done = subprocess.run(["mount", *words, place], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs mount: this container may not ({done.stderr.strip()})")
    mounts.append(place)


def test_a_root_on_fuse_is_refused(lone: Host, place: Path, mounts: list[Path]) -> None:
    as_root("fuse-overlayfs")
    for name in ("lower", "upper", "work", "fuse"):
        (place / name).mkdir()
    layers = f"lowerdir={place / 'lower'},upperdir={place / 'upper'},workdir={place / 'work'}"
    done = subprocess.run(["fuse-overlayfs", "-o", layers, place / "fuse"], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"needs fuse: it cannot be mounted here ({done.stderr.strip()})")
    mounts.append(place / "fuse")
    lone.edit(f"root: {lone.root}", f"root: {place / 'fuse'}")
    lone.start()
    assert lone.exit_code() == 2
    assert "renames are not safe there, use one of btrfs, ext4, tmpfs, xfs" in lone.log()
    assert os.listdir(place / "fuse") == []


@pytest.mark.parametrize("full", ["bob-vm", "alice-vm"])
def test_a_full_disk_loses_nothing_and_all_goes_on_when_there_is_room(
    stopped_pair: Pair, mounts: list[Path], full: str
) -> None:
    as_root("mount")
    host = next(host for host in stopped_pair.hosts if host.name == full)
    mount(mounts, host.root, "-t", "tmpfs", "-o", "size=1m,mode=2770", "tmpfs")
    stopped_pair.start().deliver()
    waiting = [stopped_pair.bob.write(payload("bob", "alice", context_summary="x" * 20_000)) for _ in range(3)]
    for tid in waiting:
        stopped_pair.alice.published(tid)
    fill(host.root / "filler")
    fill_page(host.root / "relay/events.jsonl")
    late = [stopped_pair.bob.write(d) for d in enough(3)] if full == "alice-vm" else []
    for tid in waiting:
        stopped_pair.alice.claim(tid)
    until("the journal's loss was noticed", lambda: re.search("journal: cannot write .* No space left", host.log()))
    (host.root / "filler").unlink()
    for tid in late:
        stopped_pair.alice.archive(stopped_pair.alice.claim(tid))
    for tid in waiting:
        name = next(name for name in stopped_pair.alice.names("claimed") if tid in name)
        stopped_pair.alice.archive(name)
    for tid in waiting + late:
        for one in stopped_pair.hosts:
            assert one.ended(tid)["reason"] == "completed"
    assert host.told("journal_gap")["dropped"] > 0


def enough(count: int) -> list[bytes]:
    return [payload("bob", "alice", context_summary="x" * 20_000) for _ in range(count)]


def fill(filler: Path) -> None:
    """Leave not one page free."""
    with filler.open("wb", buffering=0) as file:
        for size in (65_536, 4_096):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue


def fill_page(file: Path) -> None:
    """Fill the last page of a file of lines with a blank one, so that the next line needs a page of its own."""
    with file.open("ab", buffering=0) as lines:
        room = -file.stat().st_size % os.sysconf("SC_PAGE_SIZE")
        lines.write(b" " * (room - 1) + b"\n" if room else b"")


def test_a_disk_that_fails_to_flush_ends_the_daemon_with_74(
    stopped_pair: Pair, place: Path, mounts: list[Path]
) -> None:
    as_root("mkfs.ext4")
    alice = stopped_pair.alice
    image = place / "image"
    with image.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True, capture_output=True)
    mount(mounts, alice.root, "-o", "loop", str(image))
    for name in ("handoff", "claimed", "archive", "rejected"):
        (alice.root / name).mkdir()
    tid = stopped_pair.start().bob.hand_over("alice")
    alice.published(tid)
    stopped_pair.bob.told("published", tid=tid)
    alice.freeze()
    alice.claim(tid)
    shut_down(alice.root)
    alice.signal(signal.SIGCONT)
    assert alice.exit_code() == 74
    assert re.search(r"fsync of .* failed: Input/output error; nothing more was answered", alice.log())
    assert stopped_pair.bob.journal("claimed") == []


def shut_down(root: Path) -> None:
    """Make the disk below a file system fail from now on (EXT4_IOC_SHUTDOWN, without a flush of its log)."""
    import fcntl
    import struct

    descriptor = os.open(root, os.O_RDONLY)
    try:
        fcntl.ioctl(descriptor, 0x8004587D, struct.pack("I", 2))
    finally:
        os.close(descriptor)


# ------------------------------------------------------------------------------------------------- endurance


def test_two_hundred_handoffs_leave_no_descriptor_open_and_the_memory_flat(pair: Pair) -> None:
    for _ in range(3):
        pair.deliver()
    before = [(host.open_files(), host.resident_mib()) for host in pair.hosts]
    for _ in range(4):
        tids = [pair.bob.hand_over("alice") for _ in range(50)]
        for tid in tids:
            pair.alice.archive(pair.alice.claim(tid))
        for tid in tids:
            pair.bob.ended(tid)
    for host, (files, mib) in zip(pair.hosts, before, strict=True):
        until("connections are back to few", lambda host=host, files=files: host.open_files() <= files + 4)
        assert host.resident_mib() < mib + 16
