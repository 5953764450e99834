"""docs/custody.md sections 2 and 3: names, directories, and what they may hold."""

import os
import stat
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest
from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody import layout
from handoffd.custody.layout import RootInUse, UnsafeRoot
from handoffd.custody.message import Accept, Arrival, Principal
from handoffd.custody.place import LEGAL, Place, legal_for
from handoffd.custody.sighting import in_handoff, in_inbox, in_outbox, in_outcome, in_sent
from handoffd.protocol.name import AgentName, Nonce, published_name
from handoffd.protocol.payload import identity_of, transfer_id

RELAY = ["boot", "epoch", "format", "inbox", "outbox", "outcome", "peers", "quarantine", "sent", "tmp", "wish"]


def test_a_start_makes_every_directory_and_nothing_else(pair: Pair) -> None:
    assert pair.a.names(".") == ["archive", "claimed", "handoff", "rejected", "relay"]
    assert pair.a.names("relay") == RELAY
    assert pair.a.names("relay/outbox") == pair.a.names("relay/sent") == pair.a.names("relay/inbox") == ["host-b"]


def test_relay_is_for_the_daemons_user_alone(pair: Pair) -> None:
    for directory in ("relay", "relay/outbox", "relay/outcome", "relay/inbox/host-b", "relay/tmp"):
        assert stat.S_IMODE(os.stat(pair.a.root / directory).st_mode) == 0o700


def test_no_part_or_probe_is_left_in_the_agents_directories(pair: Pair) -> None:
    pair.cross()
    for host in (pair.a, pair.b):
        for directory in layout.AGENTS_DIRECTORIES:
            assert not [name for name in host.names(directory) if name.startswith(".")]


def test_each_tree_has_an_epoch_of_its_own_that_stays(pair: Pair) -> None:
    epochs = [pair.a.engine.epoch, pair.b.engine.epoch]
    assert len(set(epochs)) == 2
    assert [len(epoch) for epoch in epochs] == [32, 32]
    pair.a.restart()
    assert pair.a.engine.epoch == epochs[0]


def test_the_published_name_bears_caller_and_t(pair: Pair) -> None:
    data = payload()
    tid, name = pair.cross(data)
    assert tid == transfer_id(data)
    assert pair.b.names("handoff") == [published_name(name[:16], tid)]


def test_s_is_the_hash_of_the_compact_array_of_its_four_fields() -> None:
    assert identity_of("bob", "alice", "id", "h") == sha256(b'["bob","alice","id","h"]').hexdigest()


def test_the_directory_of_an_agent_that_speaks_http_bears_an_at_sign(pair: Pair) -> None:
    bob = AgentName("bob")
    pair.b.engine.admit([Arrival(Principal("@bob", bob, frozenset({bob})), payload())])
    assert pair.b.names("relay/inbox") == ["@bob", "host-a"]
    assert "@bob" not in pair.b.names("relay/outbox")
    pair.b.restart()
    assert len(pair.b.names("handoff")) == 1


def test_one_daemon_for_each_tree(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    first = layout.lock(tmp_path)
    with pytest.raises(RootInUse, match="another handoffd"):
        layout.lock(tmp_path)
    os.close(first)
    os.close(layout.lock(tmp_path))


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    (tmp_path / "relay").mkdir()
    child = os.fork()
    if child == 0:
        layout.lock(tmp_path)
        os._exit(0)
    os.waitpid(child, 0)
    os.close(layout.lock(tmp_path))


def test_file_systems_we_cannot_be_safe_on_are_refused() -> None:
    assert frozenset({"ext4", "xfs", "btrfs", "tmpfs"}) == layout.SAFE_FILESYSTEMS
    assert not layout.filesystem_kind(Path("/proc")).accepted
    assert layout.filesystem_kind(Path("/proc")).name == "proc"


def test_a_root_on_two_file_systems_is_refused_with_a_remedy(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: a directory is mounted over another")
    host = Host(tmp_path / "a", "host-a", ["bob"], {})
    (tmp_path / "a" / "claimed").mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path / "a" / "claimed")]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("needs root: mount is not allowed here")
    try:
        with pytest.raises(UnsafeRoot, match="one file system"):
            host.start()
    finally:
        host.fs.close()
        subprocess.run(["umount", str(tmp_path / "a" / "claimed")], check=True)


# ---------------------------------------------------------------- every name we write is one that the views know


def seen(pair: Pair) -> list[Place | None]:
    """What place.py makes of every name in both trees, `None` for one it does not know."""
    found: list[Place | None] = []
    for host in (pair.a, pair.b):
        for kind, reader in ((layout.OUTBOX, in_outbox), (layout.SENT, in_sent), (layout.INBOX, in_inbox)):
            for peer in host.names(kind):
                sightings = [reader(peer, name) for name in host.names(f"{kind}/{peer}")]
                found += [one and one.place for one in sightings]
        for name in host.names("handoff"):
            one = in_handoff(name)
            found.append(one and one.place)
        for name in host.names(layout.OUTCOME):
            one = in_outcome(name)
            found.append(one and one.place)
    return found


def test_every_name_of_a_whole_life_is_in_the_table(pair: Pair) -> None:
    pair.a.drop(X, payload(ttl_s=600.0))
    assert seen(pair) == [Place.UNTAKEN]
    pair.a.tick()
    assert seen(pair) == [Place.OUTBOX]
    pair.push()
    assert seen(pair) == [Place.SENT, Place.RECEIPT, Place.PUBLISHED]
    pair.b.engine.stop()
    assert sorted(map(str, seen(pair))) == ["arrived", "receipt", "sent"]
    pair.b.restart()
    (tid,) = pair.b.engine._tree.ledger.receipts
    pair.b.engine.accept([Accept(AgentName("alice"), tid, Nonce("n"))])
    assert sorted(map(str, seen(pair))) == ["accepted", "receipt", "sent"]
    pair.a.engine.withdraw([tid])
    pair.b.engine._tree.ledger.receipts.clear()
    assert None not in seen(pair)


@pytest.mark.parametrize("row", LEGAL, ids=lambda row: row.word)
def test_every_row_is_reachable_and_none_hides_behind_another(row: object) -> None:
    assert legal_for(row.needs) is row  # type: ignore[attr-defined]
