"""The board of the status page over roots made by hand, with no daemon anywhere."""

import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.a_status import a_status
from tests.unit.handmade import (
    EXPIRES_S,
    HANDOFF_ID,
    QUEUED,
    RECEIPT,
    SECRET_WORDS,
    SENT,
    START_S,
    Ground,
    N,
    T,
    payload,
)

from handoffd.protocol.payload import transfer_id
from handoffd.protocol.reason import Reason, State
from handoffd.status.latency import History, Step
from handoffd.view import board as module
from handoffd.view.board import Board
from handoffd.view.words import CELL_LIMIT


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


@pytest.fixture
def history() -> History:
    return History()


@pytest.fixture
def board(ground: Ground, history: History) -> Board:
    ground.clock.now = START_S + 1
    return Board(ground.root, "bob-vm", ground.clock.wall, history)


def handoffs(board: Board) -> dict[str, Any]:
    return board.look(a_status())["handoffs"]


def states(rows: list[dict[str, Any]]) -> list[str]:
    return [row["state"] for row in rows]


def test_an_empty_root_has_an_empty_board(board: Board) -> None:
    told = handoffs(board)
    assert (told["open"], told["ended"], told["counts"]) == ([], [], {})


def test_a_row_says_that_any_of_several_homes_may_have_it(board: Board, ground: Ground) -> None:
    ground.put(QUEUED.replace("alice-vm", "@alice"), written_s=START_S)
    (row,) = handoffs(board)["open"]
    assert (row["state"], row["peer"]) == ("queued", "any home of alice")


def test_the_links_tell_what_waits_for_whichever_home(board: Board) -> None:
    told = board.look(a_status(homes={"alice": ("desk", "kitchen")}))["links"]
    assert told["shared"] == [
        {"agent": "alice", "homes": ["desk", "kitchen"], "count": 0, "oldest_s": None, "oldest_tid": None}
    ]


def test_a_row_says_what_the_files_say(board: Board, ground: Ground) -> None:
    ground.put(SENT, written_s=START_S)
    told = handoffs(board)
    assert told["counts"] == {"stored": 1}
    (row,) = told["open"]
    assert row == {
        "tid": T,
        "handoff_id": HANDOFF_ID,
        "from": "bob",
        "to": "alice",
        "peer": "alice-vm",
        "role": "sender",
        "state": "stored",
        "reason": None,
        "detail": "",
        "means": "the peer has it, at the least stored",
        "ended": False,
        "in_doubt": False,
        "since": "2026-11-20T10:00:00.000Z",
        "expires_at": "2026-11-20T10:01:00.000Z",
    }


def test_names_of_any_length_make_no_long_row(board: Board, ground: Ground) -> None:
    long = "\x1b" + "\N{GRINNING FACE}" * 300_000
    for number in range(3):
        more = {"from_agent": long, "to_agent": "x\ny", "caller_hash": f"{number:016x}"}
        ground.put(f"handoff/{number}.json", payload(long, **more))
    told = handoffs(board)
    assert len(told["open"]) == 3
    for row in told["open"]:
        assert len(row["handoff_id"]) == len(row["from"]) == module.TEXT_LIMIT
        assert (row["from"][0], row["from"][-1]) == ("\N{REPLACEMENT CHARACTER}", "\N{HORIZONTAL ELLIPSIS}")
        assert row["to"] == "x\N{REPLACEMENT CHARACTER}y"
    assert len(json.dumps(told)) < 3 * 12 * 3 * module.TEXT_LIMIT
    story = board.handoff(told["open"][0]["tid"], with_payload=False)
    assert story is not None
    assert len(json.dumps(story)) < 100_000
    assert {len(entry.sender or "") for entry in board._open.values()} == {CELL_LIMIT + 1}


def test_a_handoff_moves_over_the_board(board: Board, ground: Ground) -> None:
    ground.put(QUEUED)
    assert states(handoffs(board)["open"]) == ["queued"]
    (ground.root / QUEUED).rename(ground.root / SENT)
    assert states(handoffs(board)["open"]) == ["stored"]
    ground.end(Reason.COMPLETED, State.COMPLETED)
    (ground.root / SENT).unlink()
    told = handoffs(board)
    assert (told["open"], told["counts"], states(told["ended"])) == ([], {}, ["completed"])


def test_a_receivers_handoff_is_published_until_an_agent_takes_it(board: Board, ground: Ground) -> None:
    ground.put(RECEIPT)
    ground.link(RECEIPT, f"handoff/{N}")
    assert states(handoffs(board)["open"]) == ["published"]
    (ground.root / "handoff" / N).rename(ground.root / "claimed" / N)
    assert states(handoffs(board)["open"]) == ["claimed"]


def test_an_agents_file_of_the_same_name_may_be_another_handoff(board: Board, ground: Ground) -> None:
    ground.put("handoff/x.json")
    (before,) = handoffs(board)["open"]
    other = payload("another-one")
    ground.put("handoff/x.json", other)
    ground.clock.now += module.LOOK_ANYWAY_S  # overwritten in place: no directory has changed
    (after,) = handoffs(board)["open"]
    assert (before["tid"], after["tid"]) == (T, transfer_id(other))


def test_doubt_comes_by_the_clock_alone(board: Board, ground: Ground) -> None:
    ground.put(QUEUED)
    assert not handoffs(board)["open"][0]["in_doubt"]
    ground.clock.now = EXPIRES_S + 1
    assert handoffs(board)["open"][0]["in_doubt"]


def test_what_rests_is_no_news(board: Board, ground: Ground) -> None:
    ground.put(QUEUED)
    first = json.dumps(handoffs(board))
    for later in (0.5, module.LOOK_ANYWAY_S, 20.0):
        ground.clock.now = START_S + 1 + later
        assert json.dumps(handoffs(board)) == first


def test_directories_are_not_read_again_while_they_rest(
    board: Board, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    ground.put(QUEUED)
    handoffs(board)
    monkeypatch.setattr(module.Reading, "standings", lambda _: pytest.fail("looked again"))
    ground.clock.now += module.LOOK_ANYWAY_S / 2
    assert states(handoffs(board)["open"]) == ["queued"]


def test_it_shows_the_oldest_and_the_newest_and_counts_all(
    board: Board, ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "OPEN_LIMIT", 3)
    monkeypatch.setattr(module, "ENDED_LIMIT", 2)
    for number in range(5):
        data = payload(f"open-{number}")
        ground.put(f"relay/outbox/alice-vm/{transfer_id(data)}~{number}.json", data, written_s=START_S + number)
    for number in range(4):
        done = payload(f"done-{number}")
        ground.end(Reason.COMPLETED, State.COMPLETED, done, handoff_id=f"done-{number}")
        ground.put(
            path := f"relay/outcome/{transfer_id(done)}.json",
            (ground.root / path).read_bytes(),
            written_s=START_S + number,
        )
    told = handoffs(board)
    assert [row["handoff_id"] for row in told["open"]] == ["open-0", "open-1", "open-2"]
    assert [row["handoff_id"] for row in told["ended"]] == ["done-3", "done-2"]
    assert told["counts"] == {"queued": 5}


def test_a_root_whose_directories_come_and_go_is_no_error(board: Board, ground: Ground) -> None:
    (ground.root / "relay/sent/alice-vm").rmdir()
    (ground.root / "relay/sent").rmdir()
    assert handoffs(board)["open"] == []


@pytest.mark.parametrize("state", ["open", "ended"])
def test_no_word_of_a_payload_is_on_the_board_or_in_a_story(board: Board, ground: Ground, state: str) -> None:
    data = payload(context_summary=f"{SECRET_WORDS} again", **{SECRET_WORDS: 1})
    ground.put(f"relay/sent/alice-vm/{transfer_id(data)}~x.json", data)
    if state == "ended":
        ground.end(Reason.COMPLETED, State.COMPLETED, data)
        ground.put("archive/x.json", data)
    told = json.dumps([board.look(a_status()), board.handoff(transfer_id(data), False)])
    assert transfer_id(data) in told
    for word in (SECRET_WORDS, "scheduling_capability", "m1KsJfzR5Hc8"):
        assert word not in told


def test_a_payload_is_shown_byte_for_byte_when_asked_for(board: Board, ground: Ground) -> None:
    ground.put(SENT)
    story = board.handoff(T, True)
    assert story is not None
    assert story["payload"] == payload().decode()


def test_a_payload_that_is_gone_is_none(board: Board, ground: Ground) -> None:
    ground.end(Reason.COMPLETED, State.COMPLETED)
    story = board.handoff(T, True)
    assert story is not None
    assert story["payload"] is None


def test_a_story_is_the_one_of_trace_with_the_facts_of_a_row(board: Board, ground: Ground) -> None:
    ground.put(SENT)
    ground.note("started", 0)
    ground.note("stored", 5, peer="alice-vm", state="stored", peer_at="2026-11-20T10:00:00.014Z", clock_offset_ms=12)
    story = board.handoff(T[:8], False)
    assert story is not None
    assert [(step["event"], step["host"], step["after_ms"]) for step in story["timeline"]] == [
        ("started", "bob-vm", 0),
        ("stored", "alice-vm", 2),
    ]
    assert (story["state"], story["in_doubt"], story["peer"]) == ("stored", False, "alice-vm")


def test_the_journal_alone_still_tells_a_story_and_nothing_tells_none(board: Board, ground: Ground) -> None:
    assert board.handoff(T, True) is None
    ground.note("started", 0)
    story = board.handoff(T, True)
    assert story is not None
    assert [step["event"] for step in story["timeline"]] == ["started"]


def test_links_warnings_and_ends_are_those_of_the_status(board: Board) -> None:
    told = board.look(a_status())
    assert told["host"]["host"] == "bob-vm"
    assert told["host"]["warnings"] == []
    assert [link["peer"] for link in told["links"]["links"]] == ["alice-vm"]
    assert sum(told["handoffs"]["since_start"].values()) >= 0


def test_latencies_of_the_day_are_told_slot_by_slot(board: Board, ground: Ground, history: History) -> None:
    for ago_s, seconds in ((4000.0, 0.002), (0.0, 0.02)):
        history.add(Step.TAKE_TO_STORED, seconds, START_S - ago_s)
    told = board.look(a_status())["latency"]
    assert [slot["steps"]["take_to_stored"]["count"] for slot in told["history"]] == [1, 1]
    history.add(Step.TAKE_TO_STORED, 0.02, START_S + 1)
    again = board.look(a_status())["latency"]
    assert [slot["steps"]["take_to_stored"]["count"] for slot in again["history"]] == [1, 2]
    assert again["history"][0] == told["history"][0]
    assert set(told["meaning"]) == set(Step)
