"""The journal: what a line holds, rotation, and that no disk can stop anything."""

import json
import logging
import os
import resource
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from handoffd.journal import CROWD, Journal, rotated
from handoffd.protocol.reason import State
from handoffd.protocol.record import DETAIL_LIMIT

TID = "8ca3f14c9532d80fbfe5c5f482c66fbada0b243c0e0d1b88f96238309ba33cae"
START_S = 1_795_168_800.0  # 2026-11-20T10:00:00Z


class SteppingClock:
    """A clock that moves by a millisecond each time it is read."""

    def __init__(self) -> None:
        self.now = START_S

    def wall(self) -> float:
        self.now += 0.001
        return self.now


def journal_in(directory: Path, *, max_bytes: int = 1 << 20, keep: int = 2) -> Journal:
    return Journal(directory / "events.jsonl", "bob-vm", max_bytes, keep, SteppingClock())


def lines_of(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def every_line(directory: Path) -> list[dict[str, object]]:
    files = sorted(directory.glob("events.jsonl*"), key=lambda path: path.name, reverse=True)
    return [line for file in files for line in lines_of(file)]


@contextmanager
def no_file_larger_than(limit_bytes: int) -> Iterator[None]:
    """Let the kernel refuse what a full disk would refuse."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


# ---------------------------------------------------------------- lines


def test_a_line_holds_what_is_known_and_leaves_out_what_is_not(tmp_path):
    journal = journal_in(tmp_path)
    journal.write("published", tid=TID, sender="bob", to="alice", state=State.PUBLISHED, reason=None, detail="")
    journal.flush()
    assert lines_of(tmp_path / "events.jsonl") == [
        {
            "at": "2026-11-20T10:00:00.001Z",
            "event": "published",
            "host": "bob-vm",
            "tid": TID,
            "from": "bob",
            "to": "alice",
            "state": "published",
        }
    ]


def test_zero_is_written_because_it_is_known(tmp_path):
    journal = journal_in(tmp_path)
    journal.write("claimed", clock_offset_ms=0)
    journal.flush()
    assert lines_of(tmp_path / "events.jsonl")[0]["clock_offset_ms"] == 0


def test_nothing_is_written_before_the_flush_and_its_time_is_that_of_the_event(tmp_path):
    journal = journal_in(tmp_path)
    journal.write("started")
    assert not (tmp_path / "events.jsonl").exists()
    journal.write("stored")
    journal.flush()
    assert [line["at"][-5:] for line in lines_of(tmp_path / "events.jsonl")] == [".001Z", ".002Z"]


def test_a_flush_of_nothing_makes_no_file(tmp_path):
    journal_in(tmp_path).flush()
    assert list(tmp_path.iterdir()) == []


def test_a_crowd_is_flushed_by_its_writer(tmp_path):
    journal = journal_in(tmp_path, max_bytes=64 << 20)
    for _ in range(CROWD):
        journal.write("started")
    assert len(lines_of(tmp_path / "events.jsonl")) == CROWD


def test_only_its_owner_may_read_the_file_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        journal = journal_in(tmp_path)
        journal.write("started")
        journal.flush()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "events.jsonl").stat().st_mode) == 0o600


def test_a_long_text_is_cut_to_the_length_a_detail_may_have(tmp_path):
    journal = journal_in(tmp_path)
    journal.write("rejected", detail="x" * 100_000)
    journal.flush()
    assert len(str(lines_of(tmp_path / "events.jsonl")[0]["detail"])) == DETAIL_LIMIT


@given(st.text(), st.text())
def test_any_text_makes_one_ascii_line(tmp_path_factory, detail, file):
    directory = tmp_path_factory.mktemp("any")
    journal = journal_in(directory)
    journal.write("rejected", detail=detail, file=file)
    journal.flush()
    written = (directory / "events.jsonl").read_bytes()
    assert written.isascii()
    assert written.count(b"\n") == 1
    assert json.loads(written).get("detail", "") == detail[:DETAIL_LIMIT]


def test_threads_lose_no_line_and_tear_none(tmp_path):
    journal = journal_in(tmp_path, max_bytes=16 << 10, keep=1_000)

    def write_some(name: int) -> None:
        for number in range(500):
            journal.write("started", file=f"{name}-{number}")
            if number % 7 == 0:
                journal.flush()

    threads = [threading.Thread(target=write_some, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.flush()
    assert {line["file"] for line in every_line(tmp_path)} == {f"{name}-{n}" for name in range(4) for n in range(500)}
    assert journal.dropped == 0


# ---------------------------------------------------------------- rotation


def test_a_full_file_moves_aside_and_the_oldest_goes(tmp_path):
    journal = journal_in(tmp_path, max_bytes=100, keep=2)
    for number in range(5):
        journal.write("started", file=f"{number}")
        journal.flush()
    path = tmp_path / "events.jsonl"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    assert [lines_of(rotated(path, number))[0]["file"] for number in (0, 1, 2)] == ["4", "3", "2"]


def test_a_smaller_keep_removes_what_an_older_daemon_kept(tmp_path):
    for number in range(1, 7):
        rotated(tmp_path / "events.jsonl", number).write_text("{}\n")
    journal = journal_in(tmp_path, max_bytes=100, keep=1)
    for _ in range(2):
        journal.write("started", file="x" * 80)
        journal.flush()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["events.jsonl", "events.jsonl.1"]


def test_no_file_exceeds_its_size_by_more_than_one_group(tmp_path):
    journal = journal_in(tmp_path, max_bytes=1_000, keep=50)
    for number in range(100):
        journal.write("started", file=f"{number}")
        journal.flush()
    sizes = [file.stat().st_size for file in tmp_path.iterdir()]
    assert len(sizes) > 5
    assert max(sizes) <= 1_000


def test_a_file_that_was_deleted_appears_again(tmp_path):
    journal = journal_in(tmp_path)
    journal.write("started")
    journal.flush()
    (tmp_path / "events.jsonl").unlink()
    journal.write("stored")
    journal.flush()
    assert [line["event"] for line in lines_of(tmp_path / "events.jsonl")] == ["stored"]


# ---------------------------------------------------------------- a disk that refuses


def test_a_full_disk_stops_nothing_and_is_counted():
    journal = Journal(Path("/dev/full"), "bob-vm", 1 << 20, 2, SteppingClock())
    for _ in range(3):
        journal.write("started")
        journal.flush()
    assert journal.dropped == 3


def test_a_failure_is_logged_once_and_so_is_the_recovery(tmp_path, caplog):
    blocked = tmp_path / "events.jsonl"
    blocked.mkdir()
    journal = journal_in(tmp_path)
    for _ in range(3):
        journal.write("started")
        journal.flush()
    blocked.rmdir()
    for _ in range(3):
        journal.write("stored")
        journal.flush()
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "cannot write" in warnings[0]
    assert "3 lines were lost" in warnings[1]


def test_the_gap_is_told_once_when_the_disk_takes_lines_again(tmp_path):
    blocked = tmp_path / "events.jsonl"
    blocked.mkdir()
    journal = journal_in(tmp_path)
    for _ in range(4):
        journal.write("started")
        journal.flush()
    blocked.rmdir()
    for _ in range(2):
        journal.write("stored")
        journal.flush()
    lines = lines_of(blocked)
    assert [line["event"] for line in lines] == ["journal_gap", "stored", "stored"]
    assert lines[0]["dropped"] == 4


def test_a_line_torn_by_a_full_disk_harms_neither_neighbour(tmp_path):
    journal = journal_in(tmp_path)
    path = tmp_path / "events.jsonl"
    journal.write("started")
    journal.flush()
    first = path.stat().st_size
    with no_file_larger_than(first + 10):
        journal.write("stored")
        journal.flush()
    assert path.stat().st_size == first + 10
    journal.write("claimed")
    journal.flush()
    rows = path.read_text().splitlines()
    assert [json.loads(row)["event"] for row in (rows[0], *rows[2:])] == ["started", "journal_gap", "claimed"]
    assert journal.dropped == 1


def test_a_line_torn_by_a_crash_is_ended_by_the_next_daemon(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text('{"at": "2026-11-20T09:')
    journal = journal_in(tmp_path)
    journal.write("daemon_started")
    journal.flush()
    assert json.loads(path.read_text().splitlines()[1])["event"] == "daemon_started"


def test_lines_that_got_to_the_disk_before_it_was_full_are_not_counted_as_lost(tmp_path):
    journal = journal_in(tmp_path)
    with no_file_larger_than(250):
        for _ in range(10):
            journal.write("started")
        journal.flush()
    whole = (tmp_path / "events.jsonl").read_bytes().count(b"\n")
    assert whole > 0
    assert journal.dropped == 10 - whole


def test_a_pipe_that_nobody_reads_in_the_journals_place_stops_nothing(tmp_path):
    os.mkfifo(tmp_path / "events.jsonl")
    journal = journal_in(tmp_path)
    for _ in range(1_000):  # more than a pipe holds
        journal.write("started", detail="x" * DETAIL_LIMIT)
    journal.flush()
    assert journal.failing
    assert journal.dropped == 1_000


def test_a_link_in_the_journals_place_is_not_followed(tmp_path):
    target = tmp_path / "elsewhere"
    (tmp_path / "events.jsonl").symlink_to(target)
    journal = journal_in(tmp_path)
    journal.write("started")
    journal.flush()
    assert not target.exists()
    assert journal.dropped == 1


# ---------------------------------------------------------------- the log


def test_each_event_is_logged_with_its_fields(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    journal = journal_in(tmp_path)
    journal.write("claimed", tid=TID, peer="alice-vm", detail="two words")
    journal.flush()
    assert [record.getMessage() for record in caplog.records] == [f'claimed tid={TID} peer=alice-vm detail="two words"']


def test_the_words_of_an_agent_cannot_forge_a_second_line_of_the_log(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    journal = journal_in(tmp_path)
    journal.write("rejected", detail="no\nclaimed tid=0 \x1b[2J")
    journal.flush()
    (message,) = (record.getMessage() for record in caplog.records)
    assert message == 'rejected detail="no\\nclaimed tid=0 \\u001b[2J"'


def test_a_full_disk_does_not_silence_the_log(caplog):
    caplog.set_level(logging.INFO)
    journal = Journal(Path("/dev/full"), "bob-vm", 1 << 20, 2, SteppingClock())
    journal.write("claimed")
    journal.flush()
    assert "claimed" in [record.getMessage() for record in caplog.records]


def test_a_line_that_cannot_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    """As a number of more digits than Python prints."""
    journal = journal_in(tmp_path)
    journal.write("claimed", tid=TID, clock_offset_ms=10**5_000)
    journal.write("completed", tid=TID)
    journal.flush()
    first, second = lines_of(tmp_path / "events.jsonl")
    assert first["event"] == "claimed"
    assert "cannot be written" in str(first["detail"])
    assert second["event"] == "completed"
