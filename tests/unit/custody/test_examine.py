"""A root against the tables: a healthy one gives no finding at any stage; each kind of finding is seeded once."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.unit.custody.pair import Host, Pair, X, payload

from handoffd.custody.examine import Finding, examine, lasting
from handoffd.custody.flaw import FLAWS, Grade, What
from handoffd.protocol.name import TransferId, published_name
from handoffd.protocol.payload import transfer_id

BAD_RECORD = b'{"tid": "no"}'


def found(host: Host) -> dict[What, Grade]:
    return {one.what: one.grade for one in examine(host.root, host.boot_id).findings}


def copy(host: Host, source: str, target: str) -> None:
    shutil.copyfile(host.root / source, host.root / target)


# ---------------------------------------------------------------- what is as it should be


def test_a_whole_life_gives_no_finding(pair: Pair) -> None:
    stages: list[Callable[[], object]] = [
        lambda: pair.a.drop(X, payload()),
        pair.a.tick,
        pair.push,
        pair.follow,
        pair.b.claim,
        pair.b.tick,
        pair.follow,
        lambda: archive(pair.b),
        pair.b.tick,
        pair.follow,
        pair.a.tick,
    ]
    for stage in stages:
        stage()
        assert (found(pair.a), found(pair.b)) == ({}, {})
    report = examine(pair.a.root, pair.a.boot_id)
    assert (report.open, report.ended, report.broken) == (0, 1, [])


def archive(host: Host) -> None:
    (name,) = host.names("claimed")
    os.rename(host.root / "claimed" / name, host.root / "archive" / name)


def test_open_ones_are_counted(pair: Pair) -> None:
    pair.cross()
    assert examine(pair.a.root, pair.a.boot_id).open == 1
    assert examine(pair.b.root, pair.b.boot_id).open == 1


def test_an_agent_that_rewrites_its_claim_in_place_breaks_nothing(pair: Pair) -> None:
    pair.cross()
    name = pair.b.claim()
    with open(pair.b.root / "claimed" / name, "ab") as file:
        file.write(b" ")
    pair.b.tick()
    assert found(pair.b) == {}


def test_the_file_made_ahead_for_the_next_payload_is_no_finding(pair: Pair) -> None:
    pair.b.engine.prepare()
    assert len(pair.b.names("relay/tmp")) == 1
    assert found(pair.b) == {}


def test_names_that_begin_with_a_dot_are_the_agents(pair: Pair) -> None:
    (pair.b.root / "handoff/.part").write_bytes(b"")
    assert found(pair.b) == {}


# ---------------------------------------------------------------- each finding, seeded


def two_tokens(pair: Pair, tid: TransferId, name: str) -> Host:
    copy(pair.b, f"handoff/{name}", f"claimed/{name}")
    return pair.b


def two_places(pair: Pair, tid: TransferId, name: str) -> Host:
    copy(pair.a, f"relay/sent/host-b/{tid}~{X}", f"relay/outbox/host-b/{tid}~{X}")
    return pair.a


def two_roles(pair: Pair, tid: TransferId, name: str) -> Host:
    copy(pair.b, f"handoff/{name}", f"relay/outbox/host-a/{tid}~{X}")
    return pair.b


def two_variants(pair: Pair, tid: TransferId, name: str) -> Host:
    """The same signed fields, in other bytes."""
    data = json.dumps(json.loads(pair.b.read(f"handoff/{name}")), indent=1).encode()
    other = pair.cross()[1]
    (pair.b.root / "relay/inbox/host-a" / other).unlink()
    (pair.b.root / "handoff" / other).unlink()
    pair.b.restart()
    second = put_received(pair.b, data)
    os.rename(pair.b.root / f"relay/inbox/host-a/{second}.new", pair.b.root / "handoff" / second)
    return pair.b


def put_received(host: Host, data: bytes) -> str:
    name = published_name(json.loads(data)["caller_hash"], transfer_id(data))
    inbox = host.root / "relay/inbox/host-a"
    (inbox / f"{name}.new").write_bytes(data)
    os.link(inbox / f"{name}.new", inbox / name)
    return name


def routed_published(pair: Pair, tid: TransferId, name: str) -> Host:
    os.rename(pair.b.root / f"relay/inbox/host-a/{name}", pair.b.root / f"relay/inbox/host-a/{name}.routed")
    return pair.b


def ended_claimable(pair: Pair, tid: TransferId, name: str) -> Host:
    """Expired, and back by hand."""
    pair.b.tick(70.0)
    (rejected,) = (one for one in pair.b.names("rejected") if not one.endswith(".reason"))
    copy(pair.b, f"rejected/{rejected}", f"handoff/{name}")
    return pair.b


def false_bad_news(pair: Pair, tid: TransferId, name: str) -> Host:
    pair.b.tick(70.0)
    (rejected,) = (one for one in pair.b.names("rejected") if not one.endswith(".reason"))
    copy(pair.b, f"rejected/{rejected}", f"claimed/{name}")
    return pair.b


def stray(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.b.root / "relay/inbox/host-a" / name).unlink()
    return pair.b


def no_receipt(pair: Pair, tid: TransferId, name: str) -> Host:
    os.rename(pair.b.root / "handoff" / name, pair.b.root / f"relay/inbox/host-a/{name}.accepted~alice~n1")
    (pair.b.root / "relay/inbox/host-a" / name).unlink()
    return pair.b


def changed_bytes(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / f"relay/sent/host-b/{tid}~{X}").write_bytes(b"{}")
    return pair.a


def bad_outcome(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / f"relay/outcome/{'0' * 64}.json").write_bytes(BAD_RECORD)
    return pair.a


def bad_note(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / "relay/peers/host-b.json").write_bytes(b"[]")
    return pair.a


def no_peer_note(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / "relay/peers/host-b.json").unlink()
    return pair.a


def not_a_file(pair: Pair, tid: TransferId, name: str) -> Host:
    os.mkfifo(pair.b.root / f"relay/outcome/{'1' * 64}.json")
    return pair.b


def no_directory(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / "rejected").rmdir()
    os.symlink("archive", pair.a.root / "rejected")
    return pair.a


def unacknowledged(pair: Pair, tid: TransferId, name: str) -> Host:
    other = put_received(pair.b, payload())
    (pair.b.root / "relay/inbox/host-a" / other).unlink()
    return pair.b


def leftover(pair: Pair, tid: TransferId, name: str) -> Host:
    """The receipt of one that has ended."""
    receipt = pair.b.read(f"relay/inbox/host-a/{name}")
    pair.b.tick(70.0)
    (pair.b.root / "relay/inbox/host-a" / name).write_bytes(receipt)
    return pair.b


def idle_wish(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / f"relay/wish/{'2' * 64}").write_bytes(b"")
    return pair.a


def unfinished_write(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.a.root / "relay/tmp/part").write_bytes(b"{")
    return pair.a


def foreign_name(pair: Pair, tid: TransferId, name: str) -> Host:
    (pair.b.root / "relay/inbox/host-a/notes.txt").write_bytes(b"")
    return pair.b


SEEDS = (
    *(two_tokens, two_places, two_roles, two_variants, routed_published, ended_claimable, false_bad_news, stray),
    *(no_receipt, changed_bytes, bad_outcome, bad_note, no_peer_note, not_a_file, no_directory, unacknowledged),
    *(leftover, idle_wish, unfinished_write, foreign_name),
)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.__name__)
def test_a_seeded_fault_is_found_as_what_it_is(seed: Callable[[Pair, TransferId, str], Host], pair: Pair) -> None:
    host = seed(pair, *pair.cross())
    what = What(seed.__name__)
    assert found(host) == {what: FLAWS[what].grade}


def findings(host: Host) -> list[Finding]:
    return sorted(examine(host.root, host.boot_id).findings)


def test_a_finding_names_its_transfer_and_every_path_of_it(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.a.restart()
    (pair.a.root / "relay/outbox/host-c").mkdir()
    source = f"relay/sent/host-b/{tid}~{X}"
    paths = tuple(f"relay/outbox/{peer}/{tid}~{X}" for peer in ("host-b", "host-c"))
    for path in paths:
        copy(pair.a, source, path)
    (pair.a.root / source).unlink()
    assert [(one.what, one.tid, one.paths) for one in findings(pair.a)] == [(What.TWO_PLACES, tid, paths)]


def test_what_was_never_acknowledged_is_named_by_its_transfer(pair: Pair) -> None:
    data = payload()
    name = put_received(pair.b, data)
    (pair.b.root / "relay/inbox/host-a" / name).unlink()
    (one,) = findings(pair.b)
    assert (one.what, one.tid) == (What.UNACKNOWLEDGED, transfer_id(data))


def test_a_payload_that_was_passed_on_is_left_over_without_its_outcome(pair: Pair) -> None:
    data = payload()
    tid = transfer_id(data)
    path = f"relay/outcome/{tid}.payload"
    (pair.b.root / path).write_bytes(data)
    (one,) = findings(pair.b)
    assert (one.what, one.tid, one.paths) == (What.LEFTOVER, tid, (path,))


def test_a_directory_that_bears_no_peers_name_is_foreign(pair: Pair) -> None:
    (pair.b.root / "relay/inbox/No Peer").mkdir()
    (one,) = findings(pair.b)
    assert (one.what, one.paths) == (What.FOREIGN_NAME, ("relay/inbox/No Peer",))


def test_a_wish_for_what_is_still_here_is_not_idle(pair: Pair) -> None:
    tid, _ = pair.cross()
    (pair.a.root / f"relay/wish/{tid}").write_bytes(b"")
    assert found(pair.a) == {}


def test_a_note_that_is_gone_is_a_finding_and_no_failure(pair: Pair) -> None:
    (pair.b.root / "relay/format").unlink()
    assert list(found(pair.b)) == [What.BAD_NOTE]


def test_a_note_of_a_peer_that_tells_no_epoch_says_so(pair: Pair) -> None:
    (pair.a.root / "relay/peers/host-b.json").write_bytes(b'{"epoch": 5}')
    (one,) = findings(pair.a)
    assert (one.what, one.detail) == (What.BAD_NOTE, "its epoch is no string")


def test_every_finding_has_its_seed() -> None:
    assert {seed.__name__ for seed in SEEDS} == {what.value for what in FLAWS} == {what.value for what in What}


def test_before_the_start_after_a_power_cut_a_name_shown_twice_is_only_unfinished(pair: Pair) -> None:
    host = two_places(pair, *pair.cross())
    assert found(host) == {What.TWO_PLACES: Grade.BROKEN}
    host.power_cut()
    assert found(host) == {What.TWO_PLACES: Grade.UNFINISHED}
    host.start()
    assert found(host) == {}


def test_what_two_looks_have_in_common_lasts(pair: Pair) -> None:
    host = foreign_name(pair, *pair.cross())
    first = examine(host.root, host.boot_id)
    assert lasting(first, examine(host.root, host.boot_id)).findings == first.findings
    (host.root / "relay/inbox/host-a/notes.txt").unlink()
    assert lasting(first, examine(host.root, host.boot_id)).findings == set()


def test_looking_changes_nothing(pair: Pair) -> None:
    pair.cross()
    before = sorted((str(path), path.lstat().st_ctime_ns) for path in pair.b.root.rglob("*"))
    examine(pair.b.root, pair.b.boot_id)
    assert sorted((str(path), path.lstat().st_ctime_ns) for path in pair.b.root.rglob("*")) == before


def test_a_root_without_relay_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        examine(tmp_path, "boot")
