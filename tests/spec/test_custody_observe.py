"""docs/custody.md section 6, "Observe": what agents did, whatever names and bytes they chose."""

import json
import os
from pathlib import Path

import pytest
from tests.fakes.faulty import Failing
from tests.unit.custody.pair import START, Host, Pair, payload

from handoffd.protocol.name import TransferId
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import State

ARCHIVED = "1795168801-bob-alice-x.json"


def state(host: Host, tid: TransferId) -> State:
    (record,) = host.engine.record([tid])
    assert record is not None
    return record.state


def final(data: bytes, **more: object) -> bytes:
    return json.dumps({**json.loads(data), **more}).encode()


def label(data: bytes) -> str:
    return str(json.loads(data)["handoff_id"])


def claimed(pair: Pair, data: bytes | None = None) -> tuple[TransferId, str, Path]:
    """A handoff that alice has claimed and B has seen; T, N and B's root."""
    tid, name = pair.cross(data)
    pair.b.claim()
    pair.b.tick()
    return tid, name, pair.b.root


# ---------------------------------------------------------------- claims


def test_a_rename_to_claimed_is_a_claim(pair: Pair) -> None:
    tid, _, _ = claimed(pair)
    assert state(pair.b, tid) is State.CLAIMED


def test_a_hint_alone_shows_a_claim_at_once(pair: Pair) -> None:
    tid, _ = pair.cross()
    name = pair.b.claim()
    pair.b.engine.look([{"handoff": {name}, "claimed": {name}}])
    assert state(pair.b, tid) is State.CLAIMED


def test_a_claim_is_flushed_before_it_is_told(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.claim()
    pair.b.faults.calls.clear()
    flushed: list[str] = []
    inner = pair.b.fs.inner.sync_directories
    pair.b.fs.inner.sync_directories = lambda names: (flushed.extend(names), inner(names))[1]  # type: ignore[method-assign]
    pair.b.tick()
    assert {"claimed", "handoff"} <= set(flushed)
    assert state(pair.b, tid) is State.CLAIMED


def test_a_claim_under_another_name_shows_by_the_link_count(pair: Pair) -> None:
    tid, name = pair.cross()
    os.mkdir(pair.b.root / "elsewhere")
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "elsewhere" / "mine.json")
    pair.b.tick()
    assert state(pair.b, tid) is State.CLAIMED
    assert pair.b.faults.calls["sync_all"] == 1


def test_what_an_agent_holds_under_a_name_unknown_never_vanishes(pair: Pair) -> None:
    tid, name = pair.cross()
    os.mkdir(pair.b.root / "elsewhere")
    os.rename(pair.b.root / "handoff" / name, pair.b.root / "elsewhere" / "mine.json")
    for _ in range(120):
        pair.b.tick(1.0)
    assert pair.b.outcomes() == []
    assert state(pair.b, tid) is State.CLAIMED


def test_a_file_still_in_handoff_is_no_claim_whatever_lies_in_claimed(pair: Pair) -> None:
    data = payload()
    tid, _ = pair.cross(data)
    (pair.b.root / "claimed" / "copy.json").write_bytes(data)
    pair.b.engine.look([{"claimed": {"copy.json"}}])
    pair.b.tick(3.0)
    assert state(pair.b, tid) is State.PUBLISHED


def test_a_claimed_file_that_comes_back_to_handoff_is_quarantined(pair: Pair) -> None:
    tid, name, root = claimed(pair)
    os.rename(root / "claimed" / name, root / "handoff" / name)
    pair.b.tick()
    assert (pair.b.names("handoff"), state(pair.b, tid)) == ([], State.CLAIMED)


# ---------------------------------------------------------------- the hidden names of `handoffd listen`


def listen(pair: Pair, name: str) -> Path:
    root = pair.b.root
    hidden = root / "claimed" / f".{name}.alice.0123456789abcdef.listen"
    os.rename(root / "handoff" / name, hidden)
    os.link(hidden, root / "claimed" / name)
    return hidden


def test_a_listeners_claim_and_end_are_seen(pair: Pair) -> None:
    data = payload()
    tid, name = pair.cross(data)
    hidden = listen(pair, name)
    pair.b.tick()
    assert state(pair.b, tid) is State.CLAIMED
    (pair.b.root / "claimed" / name).unlink()
    os.rename(hidden, pair.b.root / "archive" / f"1-bob-alice-{label(data)}.json")
    pair.b.engine.look([{"archive": {f"1-bob-alice-{label(data)}.json"}}])
    assert (pair.b.outcome()["reason"], pair.b.outcome()["artefact"]) == ("completed", None)


def test_a_listeners_hidden_name_alone_is_a_claim(pair: Pair) -> None:
    tid, name = pair.cross()
    hidden = pair.b.root / "claimed" / f".{name}.alice.0123456789abcdef.listen"
    os.rename(pair.b.root / "handoff" / name, hidden)
    for _ in range(8):
        pair.b.tick(10.0)
    assert state(pair.b, tid) is State.CLAIMED


def test_a_listeners_rewritten_end_is_found_by_its_content(pair: Pair) -> None:
    data = payload()
    _, name = pair.cross(data)
    hidden = listen(pair, name)
    pair.b.tick()
    (pair.b.root / "claimed" / name).unlink()
    hidden.with_name(hidden.name + ".tmp").write_bytes(final(data, transcript=[{"role": "user", "text": "bye"}]))
    os.replace(hidden.with_name(hidden.name + ".tmp"), hidden)
    os.rename(hidden, pair.b.root / "archive" / ARCHIVED)
    pair.b.engine.look([{"archive": {ARCHIVED}}])
    assert pair.b.outcome()["artefact"]["name"] == ARCHIVED


def test_a_listeners_rejection_is_found(pair: Pair) -> None:
    _, name = pair.cross()
    hidden = listen(pair, name)
    (pair.b.root / "claimed" / name).unlink()
    os.rename(hidden, pair.b.root / "rejected" / name)
    (pair.b.root / "rejected" / f"{name}.reason").write_text("exit code 3")
    pair.b.tick()
    assert (pair.b.outcome()["reason"], pair.b.outcome()["detail"]) == ("rejected_by_agent", "exit code 3")


# ---------------------------------------------------------------- ends: by name, inode, content, suffix


def test_the_file_moved_as_it_is_to_archive_is_completed(pair: Pair) -> None:
    _, name, root = claimed(pair)
    os.rename(root / "claimed" / name, root / "archive" / name)
    pair.b.tick()
    assert (pair.b.outcome()["reason"], pair.b.outcome()["artefact"]) == ("completed", None)
    assert pair.b.names("relay/inbox/host-a") == []


def test_moved_under_another_name_it_is_found_by_its_inode(pair: Pair) -> None:
    _, name, root = claimed(pair)
    os.rename(root / "claimed" / name, root / "archive" / "whatever.json")
    pair.b.tick()
    pair.b.tick(2.5)
    assert pair.b.outcome()["reason"] == "completed"


def test_other_bytes_under_another_name_are_found_by_what_they_say(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    end = final(data, transcript=[{"role": "user", "text": "bye"}])
    pair.b.write("archive/whatever.json", end)
    (root / "claimed" / name).unlink()
    pair.b.tick()
    pair.b.tick(2.5)
    artefact = pair.b.outcome()["artefact"]
    assert artefact == {"name": "whatever.json", "sha256": transfer_id(end), "size": len(end)}


def test_bytes_that_say_nothing_are_found_by_a_name_that_ends_in_the_id(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    pair.b.write(f"archive/1-bob-alice-{label(data)}.json", b'{"summary": "done"}')
    (root / "claimed" / name).unlink()
    pair.b.engine.look([{"archive": {f"1-bob-alice-{label(data)}.json"}}])
    assert pair.b.outcome()["reason"] == "completed"


def test_of_two_open_ones_with_one_id_such_a_name_ends_neither(pair: Pair) -> None:
    data = payload()
    twin = final(data, hmac="A" * 43 + "=")
    claimed(pair, data)
    pair.cross(twin, "b.json")
    pair.b.claim()
    pair.b.tick()
    pair.b.write(f"archive/1-bob-alice-{label(data)}.json", b'{"summary": "done"}')
    pair.b.engine.look([{"archive": {f"1-bob-alice-{label(data)}.json"}}])
    assert pair.b.outcomes() == []


def test_a_file_half_written_waits_for_its_other_half(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    (root / "claimed" / name).unlink()
    (root / "archive" / name).write_bytes(data[:50])
    pair.b.tick(1.0)
    assert pair.b.outcomes() == []
    (root / "archive" / name).write_bytes(data)
    pair.b.tick(0.5)
    assert (pair.b.outcome()["reason"], pair.b.outcome()["artefact"]) == ("completed", None)


def test_what_never_parses_is_an_artefact_after_two_seconds(pair: Pair) -> None:
    _, name, root = claimed(pair)
    (root / "claimed" / name).unlink()
    (root / "archive" / name).write_bytes(b"not json")
    pair.b.tick(1.0)
    pair.b.tick(2.1)
    assert pair.b.outcome()["artefact"]["size"] == 8


def test_a_half_that_never_became_whole_is_looked_at_no_more_once_its_handoff_has_ended(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    half = f"1795168801-bob-alice-{label(data)}.json"
    pair.b.write(f"archive/{half}", b'{"hmac": ')
    pair.b.engine.look([{"archive": {half}}])
    assert pair.b.outcomes() == []
    os.rename(root / "claimed" / name, root / "archive" / name)
    for _ in range(2):
        pair.b.tick()
    assert pair.b.outcome()["reason"] == "completed"
    pair.b.faults.calls.clear()
    pair.b.tick()
    assert pair.b.faults.calls["read"] == 0


def test_claimed_and_ended_between_two_looks_both_are_told_in_order(pair: Pair) -> None:
    _, name = pair.cross()
    pair.b.claim()
    os.rename(pair.b.root / "claimed" / name, pair.b.root / "archive" / name)
    pair.b.tick()
    assert pair.b.outcome()["reason"] == "completed"
    assert pair.b.outcome()["delivered"] == "claimed"


@pytest.mark.parametrize("field", ["rejection_reason", "reject_reason", "rejected_reason", "error"])
def test_a_rejecting_agents_words_become_the_detail(pair: Pair, field: str) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    pair.b.write(f"rejected/{name}", final(data, **{field: "x" * 600}))
    (root / "claimed" / name).unlink()
    pair.b.tick()
    assert pair.b.outcome()["detail"] == "x" * 500


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (b'{"detail": "no time"}', "no time"),
        (b'{"reason": "expired"}', "expired"),
        (b'{"detail": "no time", "reason": "expired"}', "no time"),
        (b"no \xff time\n", "no \ufffd time"),
    ],
)
def test_words_beside_the_file_become_the_detail(pair: Pair, reason: bytes, words: str) -> None:
    _, name, root = claimed(pair)
    pair.b.write(f"rejected/{name}.reason", reason)
    os.rename(root / "claimed" / name, root / "rejected" / name)
    pair.b.tick()
    assert (pair.b.outcome()["reason"], pair.b.outcome()["detail"]) == ("rejected_by_agent", words)


def test_the_hint_of_the_name_that_left_shows_a_claim_too(pair: Pair) -> None:
    tid, _ = pair.cross()
    pair.b.engine.look([{"handoff": {pair.b.claim()}}])
    assert state(pair.b, tid) is State.CLAIMED


def changed(directory: Path, at_s: float) -> None:
    """Let names have come and gone there at this time, long enough ago to count."""
    os.utime(directory, (at_s, at_s))


def listings(pair: Pair, seconds: float) -> int:
    """Let time pass at B; return how often it listed one of the agents' last directories."""
    before = pair.b.faults.calls["names"]
    pair.b.tick(seconds)
    return pair.b.faults.calls["names"] - before - 1  # handoff/, once a tick


def test_the_last_directories_are_listed_for_what_is_unaccounted_for_two_seconds_and_again_when_they_change(
    pair: Pair,
) -> None:
    _, name = pair.cross()
    (pair.b.root / "handoff" / name).unlink()
    for directory in ("archive", "rejected", "claimed"):
        changed(pair.b.root / directory, START - 3_600.0)
    assert [listings(pair, seconds) for seconds in (0.0, 1.0, 0.5)] == [0, 0, 0]
    assert listings(pair, 4.5) == 3
    assert listings(pair, 1.0) == 0
    (pair.b.root / "archive/another.json").write_bytes(b"{}")
    changed(pair.b.root / "archive", START - 1_800.0)
    assert listings(pair, 1.0) == 1


def test_a_very_long_name_ends_it_at_both_ends(pair: Pair) -> None:
    data = payload()
    tid, name, root = claimed(pair, data)
    pair.b.write(f"archive/{'x' * 210}.json", final(data, transcript=[{"role": "user", "text": "bye"}]))
    (root / "claimed" / name).unlink()
    pair.b.tick()
    pair.b.tick(2.5)
    pair.follow()
    assert [host.outcome()["reason"] for host in (pair.a, pair.b)] == ["completed", "completed"]
    assert state(pair.b, tid) is State.COMPLETED


# ---------------------------------------------------------------- gone


def test_a_file_nobody_has_is_looked_for_three_times_over_thirty_seconds(pair: Pair) -> None:
    _, name, root = claimed(pair)
    (root / "claimed" / name).unlink()
    pair.b.tick()
    for _ in range(29):
        pair.b.tick(1.0)
    assert pair.b.outcomes() == []
    pair.b.tick(1.0)
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == ("vanished_at_target", "claimed")


def test_a_file_that_vanished_unclaimed_is_never_published_again(pair: Pair) -> None:
    _, name = pair.cross()
    (pair.b.root / "handoff" / name).unlink()
    for _ in range(40):
        pair.b.tick(1.0)
        assert pair.b.names("handoff") == []
    assert (pair.b.outcome()["reason"], pair.b.outcome()["delivered"]) == ("vanished_at_target", "unknown")


def test_a_file_that_turns_up_within_the_thirty_seconds_ends_as_it_lies(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    (root / "claimed" / name).unlink()
    for _ in range(25):
        pair.b.tick(1.0)
    pair.b.write("archive/late.json", final(data, transcript=[]))
    pair.b.tick(1.0)
    assert pair.b.outcome()["reason"] == "completed"


def test_a_name_that_came_within_one_tick_of_the_disks_clock_is_found(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    (root / "claimed" / name).unlink()
    pair.b.tick()
    pair.b.tick(5.0)  # archive/ was listed
    before = os.stat(root / "archive")
    pair.b.write("archive/end.json", final(data, transcript=[{"role": "user", "text": "bye"}]))
    os.utime(root / "archive", ns=(before.st_atime_ns, before.st_mtime_ns))
    for _ in range(35):
        pair.b.tick(1.0)
    assert pair.b.outcome()["reason"] == "completed"


def test_a_directory_that_cannot_be_read_for_a_moment_does_not_make_it_vanish(pair: Pair) -> None:
    data = payload()
    _, name, root = claimed(pair, data)
    pair.b.write("archive/end.json", final(data, transcript=[{"role": "user", "text": "bye"}]))
    (root / "claimed" / name).unlink()
    pair.b.faults.failing = Failing(frozenset({"read"}), 1, 3, 24)
    for _ in range(35):
        pair.b.tick(1.0)
    assert pair.b.outcome()["reason"] == "completed"


@pytest.mark.parametrize("restart", [False, True])
def test_what_was_archived_after_the_clock_went_back_is_found(pair: Pair, restart: bool) -> None:
    data = payload(ttl_s=7200.0)
    _, name, root = claimed(pair, data)
    pair.b.clock.wall_s -= 3600.0
    pair.b.tick()
    pair.b.write("archive/end.json", final(data, transcript=[{"role": "user", "text": "bye"}]))
    (root / "claimed" / name).unlink()
    if restart:
        pair.b.restart()
    for _ in range(35):
        pair.b.tick(1.0)
    assert pair.b.outcome()["reason"] == "completed"


def test_a_claim_that_stays_silent_is_one_event_and_nothing_else(pair: Pair) -> None:
    tid, _, _ = claimed(pair)
    for _ in range(5):
        pair.b.tick(1800.0)
    assert pair.b.journal.words().count("stale_claim") == 1
    assert state(pair.b, tid) is State.CLAIMED


@pytest.mark.parametrize("place", ["archive", "rejected", "claimed"])
def test_other_peoples_files_mean_nothing(pair: Pair, place: str) -> None:
    tid, _, _ = claimed(pair)
    for name, data in {"a.json": b"{}", "b.json": payload(), "c.txt": b"", ".d.json": b"{}"}.items():
        (pair.b.root / place / name).write_bytes(data)
    os.symlink("/etc/passwd", pair.b.root / place / "e.json")
    os.mkfifo(pair.b.root / place / "f.json")
    pair.b.engine.look([{place: set()}])
    pair.b.tick(5.0)
    assert state(pair.b, tid) is State.CLAIMED


def test_a_file_that_only_begins_like_an_archived_one_ends_nothing(pair: Pair) -> None:
    """Agents archive as `{unix}-{from}-{to}-{handoff_id}.json`; of that nothing may be missing."""
    pair.cross()
    pair.b.claim()
    pair.b.tick()
    for name in ("1795168801-note.json", "note-bob-alice.json"):
        pair.b.write(f"archive/{name}", b"{}")
        pair.b.engine.look([{"archive": {name}}])
    assert pair.b.outcomes() == []
