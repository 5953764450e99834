"""Each fault that doctor must find, seeded for real: one line that names it and its remedy, and a non-zero exit.

What needs a mount of its own, or another user, needs root and is skipped without.
"""

import contextlib
import errno
import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.spec.daemon.rig import HANDOFFD, Host, Pair, moment, payload, until
from tests.spec.daemon.said import Report, doctor

from handoffd.identity import make_identity

pytestmark = pytest.mark.slow

NOBODY = 65_534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting and changing owners need root")


@contextlib.contextmanager
def replaced(file: Path, data: bytes) -> Iterator[None]:
    """Put other bytes into a file for a while."""
    before = file.read_bytes()
    file.write_bytes(data)
    try:
        yield
    finally:
        file.write_bytes(before)


@contextlib.contextmanager
def mounted(kind: str, place: Path, *options: str) -> Iterator[None]:
    done = subprocess.run(
        ["mount", "-t", kind, *options, "none", str(place)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip(f"no {kind} can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


# ------------------------------------------------------------------------------------------------- nothing wrong


def test_with_the_daemon_stopped_it_says_what_it_could_not_check(pair: Pair) -> None:
    pair.bob.stop()
    said = doctor(pair.bob).healthy()
    unchecked = "\n".join(said.lines("--"))
    assert "none runs here: no round trip" in unchecked
    assert "the daemon must run" in unchecked
    assert [line for line in said.lines("ok") if "alice-vm answers" in line]
    assert [line for line in said.lines("ok") if "rename and hard link tried" in line]


# ------------------------------------------------------------------------------------------------- the link


def test_a_bad_token(calm_pair: Pair) -> None:
    with replaced(calm_pair.bob.directory / "peers/alice-vm.out", b"0123456789abcdefghijklmnopqrstuvwxyzABCD\n"):
        line = doctor(calm_pair.bob).failure("wrong_token")
    assert "exchange the tokens again" in line


def test_a_wrong_certificate(calm_pair: Pair) -> None:
    certificate, _ = make_identity("alice-vm", time.time())
    with replaced(calm_pair.bob.directory / "peers/alice-vm.pem", certificate):
        line = doctor(calm_pair.bob).failure("wrong_certificate")
    assert "expected SHA256:" in line
    assert "presented SHA256:" in line
    assert "or pair anew" in line


@pytest.mark.parametrize("host", ["peer", "own"])
def test_an_expired_certificate(calm_pair: Pair, host: str) -> None:
    name = "alice-vm" if host == "peer" else "bob-vm"
    certificate, key = make_identity(name, time.time() - 4_000 * 86_400)
    directory = calm_pair.bob.directory
    with contextlib.ExitStack() as changed:
        if host == "peer":
            changed.enter_context(replaced(directory / "peers/alice-vm.pem", certificate))
        else:
            changed.enter_context(replaced(directory / "identity/bob-vm.pem", certificate))
            changed.enter_context(replaced(directory / "identity/bob-vm.key", key))
        line = doctor(calm_pair.bob).failure("bad_certificate")
    assert "is valid only from" in line
    assert "make a new certificate" in line


def test_a_certificate_that_ends_soon_is_warned_of(calm_pair: Pair) -> None:
    certificate, key = make_identity("bob-vm", time.time() - 3_640 * 86_400)
    directory = calm_pair.bob.directory
    with replaced(directory / "identity/bob-vm.pem", certificate), replaced(directory / "identity/bob-vm.key", key):
        said = doctor(calm_pair.bob, "--offline").healthy()
    (line,) = [line for line in said.lines("warn") if " certificate_ends " in line]
    assert "ends in 12 days" in line or "ends in 13 days" in line
    assert "handoffd cert rotate" in line


def changed_program(directory: Path, text: str) -> dict[str, str]:
    """Return an environment in which a daemon starts with some of its program replaced."""
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(text)
    return {"PYTHONPATH": str(directory)}


def test_a_skewed_clock(stopped_pair: Pair, place: Path) -> None:
    wall = "import time, handoffd.clock as c\nc.SystemClock.wall = lambda self: time.time() + 120\n"
    stopped_pair.alice.start(env=changed_program(place / "skewed", wall))
    stopped_pair.bob.start()
    stopped_pair.linked()
    line = doctor(stopped_pair.bob).failure("clock_offset")
    assert "alice-vm is 1" in line
    assert "ahead of this host" in line
    assert "timedatectl set-ntp true" in line


def test_another_version(stopped_pair: Pair, place: Path) -> None:
    version = "import handoffd\nhandoffd.__version__ = '9.0.0'\n"
    stopped_pair.alice.start(env=changed_program(place / "newer", version)).ready()
    line = doctor(stopped_pair.bob).failure("wrong_version")
    assert "alice-vm: the peer runs handoffd 9.0.0" in line
    assert "run the same major version on both hosts" in line


def test_a_daemon_older_than_the_command(lone: Host, place: Path) -> None:
    version = "import handoffd\nhandoffd.__version__ = '0.0.1'\n"
    lone.start(env=changed_program(place / "older", version)).ready()
    assert "systemctl restart handoffd" in doctor(lone).failure("wrong_version")


def test_a_peer_that_is_down(pair: Pair) -> None:
    pair.alice.stop()
    line = doctor(pair.bob).failure("peer_down")
    assert "nothing listens there" in line
    assert "start handoffd there" in line


def test_a_blocked_port(stopped_pair: Pair) -> None:
    with swallowing(stopped_pair.alice.tls_port):
        line = doctor(stopped_pair.bob).failure("blocked_port")
    assert f"open TCP {stopped_pair.alice.tls_port} in the firewalls" in line


@contextlib.contextmanager
def swallowing(port: int) -> Iterator[None]:
    """Let connection attempts to a port go unanswered, as behind a firewall that drops them: its queue is full."""
    with contextlib.ExitStack() as held:
        listener = held.enter_context(socket.socket())
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(0)

        def is_full() -> bool:
            client = held.enter_context(socket.socket())
            client.settimeout(0.5)
            return client.connect_ex(("127.0.0.1", port)) in (errno.EAGAIN, errno.ETIMEDOUT, errno.EINPROGRESS)

        until("the listener's queue is full", is_full)
        yield


def test_a_port_that_another_program_has(stopped_pair: Pair) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", stopped_pair.bob.tls_port))
        other.listen()
        line = doctor(stopped_pair.bob, "--offline").failure("port_taken")
    assert "ss -ltnp" in line


def test_a_name_that_nobody_knows(stopped_pair: Pair) -> None:
    (file,) = (stopped_pair.bob.directory / "peers.d").iterdir()
    file.write_text(file.read_text().replace("https://127.0.0.1:", "https://alice-vm.invalid:"))
    assert "correct `url`" in doctor(stopped_pair.bob).failure("unknown_name")


# ------------------------------------------------------------------------------------------------- the daemon


def test_a_second_daemon_on_the_root(lone: Host, place: Path) -> None:
    lone.start().ready()
    other = Host(place / "b", "other-vm", "bob")
    other.root = lone.root
    other.init()
    line = doctor(other).failure("second_daemon")
    assert f"process {lone.pid}" in line
    assert "as bob-vm" in line
    assert "one daemon per root" in line


def test_a_second_daemon_on_the_port(lone: Host, place: Path) -> None:
    lone.start().ready()
    other = Host(place / "b", "other-vm", "bob")
    other.local_port = lone.local_port
    other.init()
    line = doctor(other).failure("second_daemon")
    assert f"another handoffd answers on 127.0.0.1 port {lone.local_port}" in line


def test_a_daemon_that_does_not_answer(lone: Host) -> None:
    lone.start().ready()
    lone.freeze()
    try:
        line = doctor(lone).failure("daemon_silent")
    finally:
        lone.signal(signal.SIGCONT)
    assert f"process {lone.pid} holds" in line


# ------------------------------------------------------------------------------------------------- the ground


@needs_root
def test_a_full_disk(lone: Host) -> None:
    with mounted("tmpfs", lone.root, "-o", "size=32m"):
        lone.start().ready()
        with contextlib.suppress(OSError), (lone.root / "filler").open("wb") as filler:
            while True:
                filler.write(bytes(1 << 20))
        try:
            line = doctor(lone).failure("disk_full")
        finally:
            (lone.root / "filler").unlink()
            lone.stop()
    assert "make room" in line


@needs_root
def test_a_root_mounted_read_only(lone: Host) -> None:
    with mounted("tmpfs", lone.root, "-o", "ro"):
        line = doctor(lone).failure("read_only")
    assert "mount -o remount,rw" in line


@needs_root
def test_no_rename_across_mounts(lone: Host) -> None:
    lone.start().ready()
    lone.stop()
    with mounted("tmpfs", lone.root / "claimed"):
        line = doctor(lone).failure("split_root")
    assert f"{lone.root}/claimed" in line
    assert "umount" in line


@needs_root
def test_an_unsafe_file_system(lone: Host) -> None:
    with mounted("ramfs", lone.root):
        line = doctor(lone).failure("unsafe_file_system")
    assert "is on ramfs" in line
    assert "move it to one of btrfs, ext4, tmpfs, xfs" in line


@needs_root
def test_a_wrong_owner(lone: Host) -> None:
    lone.start().ready()
    lone.stop()
    os.chown(lone.root / "relay", NOBODY, -1)
    try:
        line = doctor(lone).failure("wrong_owner")
    finally:
        os.chown(lone.root / "relay", 0, -1)
    assert "chown -R" in line


def test_a_wrong_mode_of_relay(lone: Host) -> None:
    lone.start().ready()
    lone.stop()
    (lone.root / "relay").chmod(0o755)
    assert "chmod -R go-rwx" in doctor(lone).failure("wrong_owner")


def test_a_token_that_others_can_read(stopped_pair: Pair) -> None:
    (stopped_pair.bob.directory / "peers/alice-vm.out").chmod(0o644)
    assert "chmod 600" in doctor(stopped_pair.bob).failure("configuration")


def test_a_directory_of_a_shared_root_that_shuts_agents_out(lone: Host) -> None:
    lone.start().ready()
    lone.stop()
    lone.root.chmod(0o3770)
    for name in ("handoff", "archive", "rejected"):
        (lone.root / name).chmod(0o2770)
    (lone.root / "claimed").chmod(0o755)
    line = doctor(lone).failure("wrong_mode")
    assert f"chmod 2770 {lone.root}/claimed" in line


def test_inotify_limits(lone: Host) -> None:
    lone.start().ready()
    lone.stop()
    none_left = 'echo 0 > /proc/sys/user/max_inotify_instances && exec "$@"'
    command = [*HANDOFFD, "doctor", "--config", str(lone.config)]
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", none_left, "sh", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "unshare" in done.stderr or "max_inotify_instances" in done.stderr:
        pytest.skip(f"no user namespace with limits of its own can be had here: {done.stderr.strip()}")
    line = Report(done.returncode, done.stdout, done.stderr).failure("inotify_limit")
    assert "fs.inotify.max_user_instances" in line


# ------------------------------------------------------------------------------------------------- secrets


def test_a_published_secret_in_a_file(lone: Host, place: Path) -> None:
    file = place / "pair.key"
    file.write_bytes(b"pair-secret-for-test-vectors-only\n")
    file.chmod(0o600)
    line = doctor(lone, "--secret-file", str(file)).failure("published_secret")
    assert str(file) in line
    assert "head -c 32 /dev/urandom | base64" in line
    assert "test-vectors" not in line


@pytest.mark.parametrize(
    "secret", [b"Passw0rd", b"password123", b"abcabcabcabcabcabcabc", b"0123456789abcdef", b"short"]
)
def test_a_weak_secret_beside_the_configuration(lone: Host, secret: bytes) -> None:
    file = lone.directory / "bob-alice.secret"
    file.write_bytes(secret)
    file.chmod(0o600)
    assert str(file) in doctor(lone).failure("weak_secret")


def test_a_secret_that_others_can_read(lone: Host) -> None:
    file = lone.directory / "bob-alice.secret"
    file.write_bytes(os.urandom(32).hex().encode())
    file.chmod(0o644)
    assert f"chmod 600 {file}" in doctor(lone).failure("open_secret")


def test_handoffs_signed_with_a_published_secret(lone: Host) -> None:
    lone.start().ready()
    lone.write(payload("bob", "carol"))  # which the rig signs with the secret of these tests
    line = doctor(lone).failure("published_secret")
    assert "bob signs for carol" in line


# ------------------------------------------------------------------------------------------------- handoffs


def old(file: Path, seconds: float) -> None:
    when = time.time() - seconds
    os.utime(file, (when, when))


def failures(host: Host, word: str) -> list[str]:
    return [line for line in doctor(host, "--offline").lines("FAIL") if f" {word} " in line]


def test_an_unread_backlog(pair: Pair) -> None:
    tids = [pair.bob.hand_over("alice", ttl_s=600.0) for _ in range(3)]
    names = [pair.alice.published(tid) for tid in tids]
    assert failures(pair.alice, "unclaimed") == []
    for name in names:
        old(pair.alice.root / "handoff" / name, 700.0)
    (line,) = failures(pair.alice, "unclaimed")
    assert "3 handoffs for alice, nobody claims" in line
    assert "see whether alice runs" in line
    for tid in tids:
        pair.alice.archive(pair.alice.claim(tid))
    assert failures(pair.alice, "unclaimed") == []


def past(sender: str, to: str, hours: float) -> bytes:
    """Return a handoff that expired so long ago."""
    return shifted(payload(sender, to), hours * 3600.0)


def shifted(data: bytes, seconds: float) -> bytes:
    fields = json.loads(data)
    fields["initiated_at"] = moment(time.time() - seconds - 60.0)
    fields["expires_at"] = moment(time.time() - seconds)
    return json.dumps(fields).encode()


def test_a_stuck_agent(lone: Host) -> None:
    lone.start().ready()
    claim = lone.root / "claimed" / "0011223344556677-0.json"
    claim.write_bytes(past("carol", "bob", hours=0.5))
    assert failures(lone, "stuck") == []
    claim.write_bytes(past("carol", "bob", hours=3.0))
    (line,) = failures(lone, "stuck")
    assert "bob claimed 1 handoff and has not finished" in line
    assert "look after bob" in line


def test_a_stale_lease_or_whatever_was_sent_and_never_answered(stopped_pair: Pair) -> None:
    bob = stopped_pair.bob
    bob.start().ready()
    bob.stop()
    data = past("bob", "alice", hours=2.0)
    (bob.root / "relay/sent/alice-vm" / f"{hashlib.sha256(data).hexdigest()}~0011223344556677-0.json").write_bytes(data)
    (line,) = failures(bob, "in_doubt")
    assert "alice-vm: 1 handoff past expiry without a verdict" in line
    assert "when the peer is back" in line
    assert "handoffd resolve" in line
