"""`ls`, `show`, `trace` and `events` over roots made by hand, with no daemon anywhere."""

import importlib
import json
import os
import pwd
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.unit.handmade import (
    DATA,
    HANDOFF_ID,
    QUEUED,
    RECEIPT,
    SECRET_WORDS,
    SENT,
    START_S,
    Ground,
    N,
    SetClock,
    T,
    X,
    payload,
)

from handoffd.__main__ import outcome
from handoffd.cli import events, ls, show, trace
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.picture import duration, printable, table
from handoffd.journal import Journal, rotated
from handoffd.protocol.moment import format_moment
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.protocol.record import Artefact
from handoffd.view.chronicle import Chronicle, about, recent


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


@pytest.fixture
def handoffd(ground, capsys):
    """Return a function that runs a command on the root and returns its lines."""
    app = application()

    def run(*arguments: str) -> list[str]:
        capsys.readouterr()
        app([*arguments, "--root", str(ground.root)], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    return run


@pytest.fixture
def handoffd_json(handoffd):
    """Return a function that runs a command on the root and returns its JSON document."""

    def run(*arguments: str) -> Any:
        return json.loads("\n".join(handoffd(*arguments, "--json")))

    return run


def application() -> typer.Typer:
    app = typer.Typer()
    for module in (ls, show, trace, events):
        module.register(app)
    return app


# ---------------------------------------------------------------- ls


def test_ls_shows_each_open_handoff_with_its_way_and_peer(ground, handoffd):
    ground.put(SENT)
    head, line = handoffd("ls")
    assert head.split() == ["STATE", "FROM", "->", "TO", "HANDOFF_ID", "AGE", "EXPIRES", "PEER", "T"]
    assert re.fullmatch(rf"\S.*  bob -> alice  {HANDOFF_ID}  .*  alice-vm  {T[:12]}", line)


def test_ls_of_an_empty_root_says_so(handoffd):
    assert handoffd("ls") == ["nothing is open, and nothing has ended yet that fits"]


def test_a_directory_called_like_a_handoff_hides_no_other(ground, handoffd, handoffd_json):
    ground.put(SENT)
    (ground.root / "handoff/d.json").mkdir()
    assert [entry["tid"] for entry in handoffd_json("ls")] == [T]
    assert handoffd_json("show", HANDOFF_ID)["tid"] == T


@pytest.mark.parametrize(
    "words",
    [["ls", "--limit", str(1 << 63)], ["events", "--limit", str(1 << 63)], ["status", "--watch", "--interval", "inf"]],
)
def test_a_number_that_nothing_could_be_done_with_is_refused_by_its_option(ground, words, capsys):
    assert outcome([*words, "--root", str(ground.root)]) == ExitCode.USAGE
    assert f"'{words[-2]}'" in capsys.readouterr().err


def test_ls_puts_the_oldest_open_first_and_the_last_ended_after_them(ground, handoffd_json):
    for number, seconds in ((1, 300), (2, 100), (3, 200)):
        data = payload(f"open-{number}")
        ground.put(f"relay/outbox/alice-vm/{transfer_id(data)}~{X}", data, written_s=seconds)
    ground.end(Reason.COMPLETED, State.COMPLETED)
    assert [row["handoff_id"] for row in handoffd_json("ls")] == ["open-2", "open-3", "open-1", HANDOFF_ID]


def test_ls_tells_doubt_and_its_age(ground, handoffd, handoffd_json):
    long_ago = payload(expires_s=0)
    ground.put(f"relay/outbox/alice-vm/{transfer_id(long_ago)}~{X}", long_ago)
    (row,) = handoffd_json("ls", "--state", "in_doubt")
    assert row["in_doubt"] is True
    assert row["in_doubt_s"] == pytest.approx(-row["expires_in_s"], abs=0.01)
    assert handoffd("ls")[1].startswith("in doubt for ")


def test_ls_chooses_by_state_peer_and_agent(ground, handoffd_json):
    ground.put(SENT)
    other = payload("other", to_agent="gordon")
    ground.put(f"handoff/{X}", other)

    def ids(*options: str) -> list[str]:
        return [row["handoff_id"] for row in handoffd_json("ls", *options)]

    assert ids("--state", "untaken") == ids("--agent", "gordon") == ["other"]
    assert ids("--peer", "alice-vm") == ids("--state", "stored") == [HANDOFF_ID]
    assert sorted(ids("--agent", "bob")) == sorted(["other", HANDOFF_ID])
    assert ids("--state", "claimed") == ids("--peer", "nobody") == []


def test_ls_shows_few_of_many_and_says_that_there_are_more(ground, handoffd_json, capsys):
    for number in range(15):
        ground.end(Reason.COMPLETED, State.COMPLETED, payload(f"ended-{number}"))
        data = payload(f"open-{number}")
        ground.put(f"relay/outbox/alice-vm/{transfer_id(data)}~{X}", data)
    assert len(handoffd_json("ls", "--limit", "3")) == 6
    assert len(handoffd_json("ls")) == 15 + ls.ENDED_LIMIT
    assert len(handoffd_json("ls", "--all")) == 30


def test_ls_and_show_tell_of_what_was_never_taken(ground, handoffd, handoffd_json):
    ended = payload(resume_hint="taken")
    ground.end(Reason.COMPLETED, State.COMPLETED, ended)
    ground.refuse()
    ground.put("rejected/of-an-agent.json.reason", b"wrong department")
    assert {entry["tid"] for entry in handoffd_json("ls")} == {T, transfer_id(ended)}
    for ident in (T, T[:12]):
        document = handoffd_json("show", ident)
        assert (document["tid"], document["state"], document["to"]) == (T, "refused", "carol")
        assert {each["path"] for each in document["files"]} == {f"rejected/{X}", f"rejected/{X}.reason"}
    assert "nobody knows to_agent 'carol'" in "\n".join(handoffd("show", T))


def test_what_was_never_taken_has_no_peer(ground, handoffd, handoffd_json):
    ground.refuse()
    assert handoffd("ls")[1].split()[-2:] == ["-", T[:12]]
    assert handoffd_json("ls", "--peer", ground.host) == []
    document = handoffd_json("show", T)
    assert (document["peer"], document["role"]) == (None, "local")
    assert "route      bob -> carol; in no daemon's custody" in handoffd("show", T)


def test_what_was_handed_over_twice_and_never_taken_is_one(ground, handoffd, handoffd_json):
    ground.refuse()
    reason = ground.root / f"rejected/{X}.reason"
    ground.put("rejected/again.json.reason", reason.read_bytes())
    assert [entry["tid"] for entry in handoffd_json("ls")] == [T]
    assert handoffd_json("show", T)["tid"] == T


def test_ls_reads_no_reason_that_is_older_than_all_it_shows(ground, handoffd_json):
    ground.refuse()
    os.utime(ground.root / f"rejected/{X}.reason", (1.0, 1.0))
    ground.end(Reason.COMPLETED, State.COMPLETED, payload(resume_hint="newer"))
    assert [entry["state"] for entry in handoffd_json("ls", "--limit", "1")] == ["completed"]
    assert [entry["state"] for entry in handoffd_json("ls")] == ["completed", "refused"]
    assert list(ground.reading.newest_reasons(since_s=2.0)) == []


def test_an_outcome_is_told_once_whatever_reason_lies_beside_it(ground, handoffd_json):
    ground.refuse()
    ground.end(Reason.COMPLETED, State.COMPLETED)
    (entry,) = handoffd_json("ls")
    assert entry["state"] == handoffd_json("show", T)["state"] == "completed"


def test_ls_says_on_standard_error_what_it_left_out(ground, capsys):
    for number in range(2):
        data = payload(f"open-{number}")
        ground.put(f"relay/outbox/alice-vm/{transfer_id(data)}~{X}", data)
    application()(["ls", "--limit", "1", "--root", str(ground.root)], standalone_mode=False)
    assert capsys.readouterr().err == "handoffd: more than 1 are open; --all or a larger --limit shows them\n"


def test_ls_refuses_a_state_that_does_not_exist(handoffd):
    with pytest.raises(Failure, match=r"no such state; one of .*claimed") as failure:
        handoffd("ls", "--state", "lost")
    assert failure.value.code is ExitCode.USAGE


def test_no_text_of_an_agent_steers_the_terminal(ground, handoffd):
    ground.put(f"handoff/{X}", payload("evil\x1b[2J\nid", from_agent="b\x9bob"))
    lines = handoffd("ls")
    assert len(lines) == 2
    assert lines[1].isprintable()


def test_json_carries_such_text_escaped(ground, handoffd):
    ground.put(f"handoff/{X}", payload("evil\x1b[2J"))
    text = "\n".join(handoffd("ls", "--json"))
    assert json.loads(text)[0]["handoff_id"] == "evil\x1b[2J"
    assert text.isascii()
    assert "\x1b" not in text


# ---------------------------------------------------------------- show


def test_show_tells_of_the_payload_but_not_a_word_of_its_transcript(ground, handoffd):
    ground.put(SENT)
    text = "\n".join(handoffd("show", T))
    assert SECRET_WORDS not in text
    assert "1 transcript entries" in text
    assert "reason scheduling_capability" in text
    assert f"relay/sent/alice-vm/{T}~{X}: the peer has it" in text


def test_show_json_tells_no_word_of_the_transcript_either(ground, handoffd_json):
    ground.put(SENT)
    document = handoffd_json("show", T[:8])
    assert SECRET_WORDS not in json.dumps(document)
    assert document["payload"]["transcript_entries"] == 1
    assert document["state"] == "stored"


@pytest.mark.parametrize("path", [QUEUED, f"archive/{X}", RECEIPT])
def test_show_payload_prints_the_exact_bytes(ground, capfdbinary, path):
    ground.put(path)
    if path.startswith("archive/"):
        ground.end(Reason.COMPLETED, State.COMPLETED)
    application()(["show", T, "--payload", "--root", str(ground.root)], standalone_mode=False)
    assert capfdbinary.readouterr().out == DATA


def test_show_payload_of_a_handoff_whose_bytes_are_gone_fails(ground, handoffd):
    ground.end(Reason.COMPLETED, State.COMPLETED)
    with pytest.raises(Failure, match="no file here holds the payload"):
        handoffd("show", T, "--payload")


def test_show_tells_reason_edges_artefact_and_files_of_an_ended_one(ground, handoffd):
    final = payload(transcript=[])
    name = f"1795168802-bob-alice-{HANDOFF_ID}.json"
    ground.end(
        Reason.REJECTED_BY_AGENT,
        State.REJECTED,
        detail="not my department",
        artefact=Artefact(name, transfer_id(final), len(final)),
        clock_offset_ms=-90_000,
        edges={"claimed": "2026-11-20T09:58:31.000Z"},
    )
    ground.put(f"archive/{name}", final)
    text = "\n".join(handoffd("show", HANDOFF_ID))
    assert "rejected (not my department)" in text
    assert "rejected_by_agent; delivered: claimed" in text
    assert "2026-11-20T09:58:31.000Z by the clock of alice-vm" in text
    assert "alice-vm is 90000 ms behind this host" in text
    assert f"archive/{name}: the final artefact" in text


def test_show_of_one_name_among_several_takes_the_newest_and_says_so(ground, handoffd_json, capsys):
    other = payload(resume_hint="a second call within the second")
    for number, data in enumerate((DATA, other)):
        ground.put(f"relay/outbox/alice-vm/{transfer_id(data)}~{X}", data, written_s=number)
    document = handoffd_json("show", HANDOFF_ID)
    assert (document["tid"], document["others"]) == (transfer_id(other), [T])


def test_show_says_on_standard_error_that_others_bear_the_name(ground, capsys):
    other = payload(resume_hint="again")
    for data in (DATA, other):
        ground.put(f"relay/outbox/alice-vm/{transfer_id(data)}~{X}", data)
    application()(["show", HANDOFF_ID, "--root", str(ground.root)], standalone_mode=False)
    assert f"2 handoffs answer to {HANDOFF_ID}; this is the newest" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "trace"])
def test_what_is_not_there_fails_and_says_where_one_looked(handoffd, command):
    with pytest.raises(Failure, match=r"^no-such-handoff: no such handoff \(looked in .*outcome\)") as failure:
        handoffd(command, "no-such-handoff")
    assert failure.value.code is ExitCode.FAILED
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize("ident", [T, T[:12]])
def test_an_end_that_cannot_be_read_is_told_so(ground, handoffd, ident):
    ground.put(f"relay/outcome/{T}.json", b"{}")
    with pytest.raises(Failure, match=rf"relay/outcome/{T}.json is no record that can be read; `handoffd fsck`"):
        handoffd("show", ident)


def test_a_prefix_that_is_too_short_is_told_so(ground, handoffd):
    ground.put(QUEUED)
    with pytest.raises(Failure, match="give at least 8 digits of T"):
        handoffd("show", T[:7])


def test_a_payload_that_is_no_json_is_shown_by_its_size(ground, handoffd_json):
    ground.put(f"relay/outbox/alice-vm/{transfer_id(b'x')}~{X}", b"x")
    assert handoffd_json("show", transfer_id(b"x"))["payload"] == {"size": 1}


# ---------------------------------------------------------------- trace


def ended_over_two_hosts(
    ground: Ground, *, offset_ms: int | None = 90_000, journal: bool = True, known_ms: int = 2
) -> None:
    """A whole life as the sender holds it: alice-vm's clock is offset_ms ahead, edges are by her clock.

    `known_ms`: how long after it happened this host wrote that it knew.
    """

    def at_peer(after_ms: int) -> str:
        return format_moment(START_S + (after_ms + (offset_ms or 0)) / 1000)

    happened = {"stored": 3, "published": 4, "claimed": 40, "completed": 2_000}
    ground.end(
        Reason.COMPLETED,
        State.COMPLETED,
        clock_offset_ms=offset_ms,
        edges={state: at_peer(after_ms) for state, after_ms in happened.items()},
    )
    if journal:
        ground.note("started", 0, peer="alice-vm", file=X, role="sender")
        for state, after_ms in happened.items():
            known = {"role": "sender", "peer": "alice-vm", "state": state, "peer_at": at_peer(after_ms)}
            ground.note(state, after_ms + known_ms, clock_offset_ms=offset_ms, **known)


def test_trace_tells_both_hosts_story_in_this_hosts_time(ground, handoffd_json):
    ended_over_two_hosts(ground)
    document = handoffd_json("trace", T)
    told = [(step["host"], step["event"], step["after_ms"], step["known_here_ms"]) for step in document["timeline"]]
    assert told == [
        ("bob-vm", "started", 0, None),
        ("alice-vm", "stored", 3, 2),
        ("alice-vm", "published", 4, 2),
        ("alice-vm", "claimed", 40, 2),
        ("alice-vm", "completed", 2_000, 2),
    ]
    assert all(step["corrected"] for step in document["timeline"])
    assert document["clocks"][0]["offset_ms"] == 90_000


def test_trace_prints_one_line_for_each_step_and_the_clock_it_used(ground, handoffd):
    ended_over_two_hosts(ground)
    lines = handoffd("trace", T[:10])
    assert lines[0] == f"{HANDOFF_ID}  bob -> alice  completed"
    assert [line.split()[4] for line in lines[3:8]] == ["started", "stored", "published", "claimed", "completed"]
    assert lines[6].split()[:4] == ["+40", "ms", "2026-11-20T10:00:00.040Z", "alice-vm"]
    assert lines[6].endswith("(known here 2 ms later)")
    assert re.match(
        r"clock: alice-vm is 90000 ms ahead of this host, measured 20.*Z; its times are corrected", lines[8]
    )
    assert len(lines) == 9


@pytest.mark.parametrize(
    ("known_ms", "words"),
    [
        (1_500, "1,500 ms later"),
        (1, "1 ms later"),
        (0, "at once"),
        (-1, "at once"),
        (-trace.ROUNDING_MS, "at once"),
        (-30, "at once; the measured offset is wrong by at least 30 ms"),
    ],
)
def test_trace_never_calls_what_is_known_too_early_later(ground, handoffd, known_ms, words):
    ended_over_two_hosts(ground, known_ms=known_ms)
    (claimed,) = (line for line in handoffd("trace", T) if " claimed " in line)
    assert claimed.endswith(f"  claimed      (known here {words})")


def test_trace_without_a_journal_tells_what_the_outcome_holds(ground, handoffd_json):
    ended_over_two_hosts(ground, journal=False)
    document = handoffd_json("trace", T)
    assert [(step["event"], step["after_ms"]) for step in document["timeline"]] == [
        ("stored", 0),
        ("published", 1),
        ("claimed", 37),
        ("completed", 1_997),
    ]
    assert {step["source"] for step in document["timeline"]} == {"outcome"}
    assert any("no line of it here any more" in note for note in document["notes"])


def test_trace_marks_times_of_a_clock_that_was_never_compared(ground, handoffd):
    ended_over_two_hosts(ground, offset_ms=None)
    lines = handoffd("trace", T)
    assert [" ms? " in line for line in lines[3:8]] == [False, True, True, True, True]
    assert "how far it is from ours was never measured" in lines[8]


def test_trace_of_an_open_handoff_tells_how_far_it_is_known_to_be(ground, handoffd):
    ground.put(SENT)
    ground.note("started", 0, role="sender", peer="alice-vm")
    ground.note("stored", 5, role="sender", peer="alice-vm", state="stored", clock_offset_ms=12)
    lines = handoffd("trace", HANDOFF_ID)
    assert [line.split()[4] for line in lines[3:5]] == ["started", "stored"]
    assert lines[-1] == "files: the peer has it, at the least stored"
    assert "alice-vm is 12 ms ahead" in lines[-2]


def test_trace_at_the_receiver_needs_no_correction(ground, handoffd_json):
    ground.host = "alice-vm"
    edges = {"stored": "2026-11-20T10:00:00.003Z", "claimed": "2026-11-20T10:00:00.040Z"}
    ground.end(Reason.COMPLETED, State.COMPLETED, by="alice-vm", peer="bob-vm", file=N, edges=edges)
    ground.note("started", 3, role="receiver", peer="bob-vm")
    ground.note("claimed", 40, role="receiver", peer="bob-vm")
    document = handoffd_json("trace", T)
    assert [(step["host"], step["event"], step["after_ms"]) for step in document["timeline"]] == [
        ("alice-vm", "started", 0),
        ("alice-vm", "stored", 0),
        ("alice-vm", "claimed", 37),
    ]
    assert document["clocks"] == []


def test_trace_of_one_that_we_ended_alone_keeps_the_peers_earlier_times_apart(ground, handoffd_json):
    edges = {"stored": "2026-11-20T10:00:10.003Z", "unknown": "2026-11-20T10:05:00.000Z"}
    edges_by = {"stored": "alice-vm"}
    ground.end(Reason.PEER_LOST_STATE, State.UNKNOWN, by="bob-vm", edges=edges, edges_by=edges_by)
    ground.note("stored", 5, role="sender", peer="alice-vm", peer_at=edges["stored"], clock_offset_ms=10_000)
    document = handoffd_json("trace", T)
    assert [(step["host"], step["event"], step["at"]) for step in document["timeline"]] == [
        ("alice-vm", "stored", "2026-11-20T10:00:00.003Z"),
        ("bob-vm", "unknown", "2026-11-20T10:05:00.000Z"),
    ]


def test_trace_tells_what_the_journal_remembers_of_a_forgotten_handoff(ground, handoffd):
    ground.note("started", 0, role="sender", peer="alice-vm")
    ground.note("expired", 60_000, role="sender", state="expired", reason="expired")
    lines = handoffd("trace", HANDOFF_ID)
    assert lines[0] == f"{HANDOFF_ID}  bob -> alice  expired"
    assert lines[-1] == "files: none in handoff/ or relay/ of this host any more; this is what the journal remembers"


def test_trace_keeps_two_handoffs_of_one_handoff_id_apart(ground, handoffd_json):
    ended_over_two_hosts(ground)
    ground.note("started", 500, tid=transfer_id(b"other"))
    assert len(handoffd_json("trace", T)["timeline"]) == 5


# ---------------------------------------------------------------- events


def test_events_are_aligned_lines_oldest_first(ground, handoffd):
    ground.note("started", 0, peer="alice-vm", role="sender")
    ground.note("rejected", 900, reason="rejected_by_agent", detail="no\x1b[2J")
    lines = handoffd("events")
    assert lines[0] == (
        f"2026-11-20T10:00:00.000Z  started      bob -> alice       {T[:12]} {HANDOFF_ID}  peer=alice-vm role=sender"
    )
    assert lines[1].endswith("reason=rejected_by_agent detail=no\N{REPLACEMENT CHARACTER}[2J")
    assert lines[0].index(T[:12]) == lines[1].index(T[:12])


def test_events_json_gives_the_lines_as_they_are(ground, handoffd):
    ground.note("started", 0, peer="alice-vm")
    assert handoffd("events", "--json") == ground.journal_path.read_text().splitlines()


@pytest.mark.parametrize("ident", [T, T[:8], HANDOFF_ID])
def test_events_of_one_handoff_are_chosen_by_any_of_its_names(ground, handoffd, ident):
    ground.note("started", 0)
    ground.note("started", 1, tid=transfer_id(b"other"), handoff_id="other")
    ground.note("link_up", 2, tid=None, handoff_id=None, sender=None, to=None, peer="alice-vm")
    assert len(handoffd("events", "--handoff", ident)) == 1


def test_events_limit_keeps_the_youngest_over_rotated_files(ground, handoffd):
    for number in (3, 2, 1, 0):
        ground.note("started", 10 - number, file=f"{number}.json")
        if number:
            ground.journal_path.rename(rotated(ground.journal_path, number))
    assert [line[-6:] for line in handoffd("events", "--limit", "3")] == ["2.json", "1.json", "0.json"]
    assert len(handoffd("events", "--limit", "0")) == 4


@pytest.mark.parametrize("since", ["2026-11-20T10:00:01Z", "2026-11-20T11:00:01+01:00"])
def test_events_since_a_time_leaves_out_what_is_older(ground, handoffd, since):
    for after_ms in (0, 999, 1_000, 5_000):
        ground.note("started", after_ms)
    assert len(handoffd("events", "--since", since)) == 2


def test_a_span_counts_back_from_now():
    assert [events.since_s(span, 100_000.0) for span in ("30s", "10m", "2h", "1d")] == [99_970, 99_400, 92_800, 13_600]


def test_a_span_longer_than_time_itself_begins_with_it(ground, handoffd):
    ground.note("started", 0)
    assert events.since_s("999999999999d", 100_000.0) == 0
    assert len(handoffd("events", "--since", "999999999999d")) == 1


@pytest.mark.parametrize("since", ["yesterday", "1" * 5_000 + "d", "10", "10w", "2026-11-20", "2026-11-20T10:00:00"])
def test_a_since_that_means_nothing_is_refused_with_an_example(handoffd, since):
    with pytest.raises(Failure, match="10m") as failure:
        handoffd("events", "--since", since)
    assert failure.value.code is ExitCode.USAGE


def test_events_without_a_journal_are_none(handoffd):
    assert handoffd("events") == []


def test_lines_that_are_none_are_passed_over(ground, handoffd):
    ground.journal_path.write_bytes(b'{"at": "torn\n\n[]\n{}\n{"at": 1, "event": "x"}\n\xff\xfe\n')
    ground.note("started", 0)
    assert len(handoffd("events")) == 1


@pytest.mark.parametrize("block_bytes", [1, 7, 100, 1_000])
def test_the_past_is_read_in_portions(ground, handoffd, monkeypatch, block_bytes):
    monkeypatch.setattr("handoffd.view.chronicle.BLOCK_BYTES", block_bytes)
    for number in range(4):
        ground.note("started", number, file=f"{number}.json")
    ground.put("relay/events.jsonl", ground.journal_path.read_bytes() + b'{"at": "unfin')
    assert [line[-6:] for line in handoffd("events")] == ["0.json", "1.json", "2.json", "3.json"]


def test_the_end_of_a_journal_of_any_size_is_there_at_once(ground, handoffd):
    with ground.journal_path.open("wb") as file:
        file.truncate(1 << 37)  # 128 GiB of nothing
        file.seek(0, os.SEEK_END)
        file.write(b"\n")
    ground.note("started", 0, file="last.json")
    assert [line[-9:] for line in handoffd("events", "--limit", "1")] == ["last.json"]


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_in_the_journals_place_is_no_journal(ground, handoffd, make):
    make(ground.journal_path)
    assert handoffd("events") == []
    with pytest.raises(Failure, match="no such handoff"):
        handoffd("trace", T)


def test_a_file_that_is_rotated_while_it_is_listed_is_read_once(ground, handoffd, monkeypatch):
    ground.note("started", 0)
    other = rotated(ground.journal_path, 1)
    other.hardlink_to(ground.journal_path)
    assert len(handoffd("events", "--limit", "0")) == 1


# ---------------------------------------------------------------- following


def files_told(chronicle: Chronicle) -> list[str]:
    return [line["file"] for line in chronicle.more()]


def test_following_begins_where_the_past_ended(ground):
    ground.note("started", 0, file="old")
    chronicle = Chronicle(ground.journal_path)
    assert [line["file"] for line in chronicle.backwards()] == ["old"]
    assert files_told(chronicle) == []
    ground.note("started", 1, file="new")
    assert files_told(chronicle) == ["new"]
    assert files_told(chronicle) == []


def test_following_begins_where_all_of_the_past_ended(ground):
    for number in (2, 1, 0):
        ground.note("started", 10 - number, file=f"{number}")
        if number:
            ground.journal_path.rename(rotated(ground.journal_path, number))
    with ground.journal_path.open("ab") as file:
        file.write(b'{"at": "2026-11-20T10:00:09.000Z", "event": "started", ')
    chronicle = Chronicle(ground.journal_path)
    assert [line["file"] for line in chronicle.forwards()] == ["2", "1", "0"]
    with ground.journal_path.open("ab") as file:
        file.write(b'"file": "new"}\n')
    assert files_told(chronicle) == ["new"]


def test_all_that_is_young_is_told_also_after_the_clock_was_set_back(ground, handoffd):
    for after_ms in (5_000, 9_000, 0, 6_000):
        ground.note("started", after_ms)
    assert len(handoffd("events", "--limit", "0", "--since", "2026-11-20T10:00:05Z")) == 3


def test_following_waits_for_a_journal_that_does_not_exist_yet(ground):
    chronicle = Chronicle(ground.journal_path)
    assert list(chronicle.backwards()) == []
    assert files_told(chronicle) == []
    ground.note("started", 0, file="first")
    assert files_told(chronicle) == ["first"]


def test_following_tells_a_line_only_when_it_is_finished(ground):
    chronicle = Chronicle(ground.journal_path)
    whole = b'{"at": "2026-11-20T10:00:00.000Z", "event": "started", "file": "x"}\n'
    ground.put("relay/events.jsonl", whole[:20])
    assert files_told(chronicle) == []
    ground.put("relay/events.jsonl", whole)
    assert files_told(chronicle) == ["x"]


def test_following_loses_nothing_over_several_rotations(ground):
    clock = SetClock()
    journal = Journal(ground.journal_path, "bob-vm", 200, 9, clock)
    chronicle = Chronicle(ground.journal_path)
    told: list[str] = []
    for number in range(40):
        journal.write("started", file=f"{number}")
        journal.flush()
        if number % 7 == 0:
            told += files_told(chronicle)
    told += files_told(chronicle)
    assert told == [f"{number}" for number in range(40)]
    assert len(list(ground.journal_path.parent.glob("events.jsonl.*"))) > 3


def test_following_starts_again_when_the_file_was_cut_short(ground):
    for number in range(3):
        ground.note("started", number, file=f"{number}")
    chronicle = Chronicle(ground.journal_path)
    assert len(list(chronicle.backwards())) == 3
    ground.journal_path.write_bytes(b"")
    ground.note("started", 9, file="after")
    assert files_told(chronicle) == ["after"]


def test_following_goes_on_when_the_file_was_deleted(ground):
    for number in range(3):
        ground.note("started", number, file=f"{number}")
    chronicle = Chronicle(ground.journal_path)
    assert len(list(chronicle.backwards())) == 3
    ground.journal_path.unlink()
    assert files_told(chronicle) == []
    ground.note("started", 9, file="after")
    assert files_told(chronicle) == ["after"]


def test_the_past_is_chosen_from_the_young_end(ground):
    for number in range(10):
        ground.note("started", number, file=f"{number}")
    lines = Chronicle(ground.journal_path).backwards()
    assert [line["file"] for line in recent(lines, about(T), None, 2)] == ["8", "9"]


def test_events_follow_prints_what_happens_until_interrupted(ground):
    ground.note("started", 0)
    command = "import typer; from handoffd.cli import events; app = typer.Typer(); events.register(app); app()"
    arguments = [sys.executable, "-c", command, "-f", "--json", "--root", str(ground.root)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "started"
        ground.note("claimed", 40)
        assert json.loads(process.stdout.readline())["event"] == "claimed"
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=20)
    assert (process.returncode, complaints) == (0, "")


# ---------------------------------------------------------------- roots that cannot be read


@pytest.mark.parametrize("arguments", [["ls"], ["show", T], ["trace", T], ["events"]])
def test_a_root_no_daemon_has_run_on_is_told_so(tmp_path, arguments):
    with pytest.raises(Failure, match="no handoffd has run on") as failure:
        application()([*arguments, "--root", str(tmp_path / "nowhere")], standalone_mode=False)
    assert failure.value.code is ExitCode.USAGE


def test_a_root_that_no_daemon_has_served_yet_is_shown_and_told_so(tmp_path, capsys):
    ground = Ground(tmp_path)
    for directory in ("handoff", "claimed", "archive", "rejected"):
        (tmp_path / directory).mkdir()
    ground.put(f"handoff/{X}")
    told = f"handoffd: no daemon has served {tmp_path} yet, so this is what the agents' directories say; start one with"
    for command, code in (["ls"], 0), (["show", HANDOFF_ID], 0), (["status"], ExitCode.UNREACHABLE):
        assert outcome([*command, "--root", str(tmp_path)]) == code
        out, err = capsys.readouterr()
        assert "untaken" in out
        assert err.startswith(told)
    assert "warning: stopped: no daemon runs on" in out


@contextmanager
def root_of_another_user() -> Iterator[Path]:
    """Yield a root whose relay/ this process may not enter."""
    with tempfile.TemporaryDirectory() as name:
        root, before = Path(name), os.geteuid()
        (root / "relay/outcome").mkdir(parents=True)
        root.chmod(0o755)
        (root / "relay").chmod(0o700 if before == 0 else 0)
        os.seteuid(65534 if before == 0 else before)
        try:
            yield root
        finally:
            os.seteuid(before)
            (root / "relay").chmod(0o700)


@pytest.mark.parametrize("arguments", [["ls"], ["show", T], ["trace", T], ["events"]])
def test_a_user_who_may_not_look_learns_whom_to_become(arguments):
    owner = pwd.getpwuid(os.geteuid()).pw_name
    with root_of_another_user() as root, pytest.raises(Failure, match=f"run this with sudo -u {owner}") as failure:
        application()([*arguments, "--root", str(root)], standalone_mode=False)
    assert failure.value.code is ExitCode.PERMISSION


def test_a_configuration_that_is_closed_to_this_user_is_a_matter_of_permission(capsys):
    for module in ("app", *(f"cli.{name}" for name in ("ls", "check", "send"))):
        importlib.import_module(f"handoffd.{module}")  # Python's own files may be closed to that user too
    with root_of_another_user() as root:
        for command in (["ls"], ["check"], ["send", "--from", "bob", "--to", "alice", "--secret-file", "x"], ["run"]):
            assert outcome([*command, "--config", str(root / "relay/handoffd.yaml")]) == ExitCode.PERMISSION
            first, *_ = capsys.readouterr().err.splitlines()
            assert first.startswith(
                f"handoffd: {root}/relay/handoffd.yaml: can't be read (Permission denied); run this as"
            )


def test_a_broken_configuration_does_not_hide_a_named_root(ground, handoffd, monkeypatch, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("host: [")
    monkeypatch.setenv("HANDOFFD_CONFIG", str(broken))
    assert handoffd("ls") == ["nothing is open, and nothing has ended yet that fits"]


def test_without_root_a_broken_configuration_is_told_with_the_way_out(monkeypatch, tmp_path):
    broken = tmp_path / "broken.yaml"
    broken.write_text("host: [")
    with pytest.raises(Failure, match="--root DIRECTORY") as failure:
        application()(["ls", "--config", str(broken)], standalone_mode=False)
    assert failure.value.code is ExitCode.USAGE


# ---------------------------------------------------------------- how things look


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0.0s"), (0.44, "0.4s"), (1, "1s"), (59.9, "59s"), (60, "1m00s"), (3_725, "1h02m"), (900_000, "10d10h")],
)
def test_a_duration_is_short(seconds, text):
    assert duration(seconds) == text


def test_a_table_is_as_wide_as_its_widest_cell():
    assert table(["A", "B"], [["xxx", "y"], ["z", "yy"]], []) == ["A    B", "xxx  y", "z    yy"]


def test_printable_leaves_words_alone_and_nothing_else():
    assert (
        printable("för\tAlice\r\n\u202e\x9b1m")
        == "för\N{REPLACEMENT CHARACTER}Alice" + "\N{REPLACEMENT CHARACTER}" * 4 + "1m"
    )
    assert printable(None) == "-"


def test_what_waits_for_several_homes_names_none_of_them_and_then_the_one_that_leased_it(ground, handoffd):
    ground.put(f"relay/inbox/bob-vm/{N}.routed", written_s=START_S)
    ground.put(f"relay/outbox/@alice/{T}~{N}", written_s=START_S)
    assert "bob-vm > any home of alice" in handoffd("ls")[1]
    os.remove(ground.root / f"relay/outbox/@alice/{T}~{N}")
    ground.put(f"relay/sent/desk/{T}~{N}", written_s=START_S)
    assert "bob-vm > desk" in handoffd("ls", "--peer", "desk")[1]
    assert "this host is its relay; peer bob-vm > desk" in "\n".join(handoffd("show", T))
