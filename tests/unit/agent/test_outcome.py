import json
import os
from pathlib import Path

import pytest
from tests.unit.agent.conftest import World

from handoffd.agent import Ends, Written


@pytest.fixture
def ends(world: World) -> Ends:
    return Ends(world.mailbox("bob").places)


def move(world: World, written: Written, target: str) -> Path:
    path = world.root / target
    os.rename(written.path, path)
    return path


def test_a_handoff_that_waits_has_no_end(world: World, ends: Ends) -> None:
    assert ends.find(world.send().envelope) is None
    assert ends.wait(world.send().envelope, 0.0) is None


def test_an_archived_file_of_any_name_is_the_end(world: World, ends: Ends) -> None:
    written = world.send()
    path = move(world, written, "archive/whatever.json")
    end = ends.find(written.envelope)
    assert end is not None
    assert (end.state, end.words, end.path) == ("completed", "", path)


def test_a_rewritten_archive_is_the_end(world: World, ends: Ends) -> None:
    written = world.send()
    longer = {**json.loads(written.path.read_bytes()), "transcript": [{"role": "user", "text": "x"}]}
    (world.root / "archive" / "x.json").write_text(json.dumps(longer))
    end = ends.find(written.envelope)
    assert end is not None
    assert end.state == "completed"


def test_an_artefact_of_other_form_is_found_by_the_payload_beside_it(world: World, ends: Ends) -> None:
    written = world.send()
    (world.root / "archive" / "x.json").write_bytes(b"the agent's own form")
    move(world, written, "archive/x.json.original")
    end = ends.find(written.envelope)
    assert end is not None
    assert end.path == world.root / "archive" / "x.json"


def test_another_handoff_of_the_same_id_is_not_ours(world: World, ends: Ends) -> None:
    ours, other = (world.send(reason=text, caller_hash="b275013166a65f69") for text in ("ours", "other"))
    move(world, other, "archive/x.json")
    assert ends.find(ours.envelope) is None
    move(world, ours, "rejected/y.json")
    (world.root / "rejected" / "y.json.reason").write_text("busy\n")
    end = ends.find(ours.envelope)
    assert end is not None
    assert (end.state, end.words) == ("rejected", "busy")


def test_a_daemon_s_record_tells_state_reason_and_detail(world: World, ends: Ends) -> None:
    written = world.send()
    record = {"state": "expired", "reason": "expired", "detail": "never claimed"}
    (world.root / "rejected" / "x.json.reason").write_text(json.dumps(record))
    move(world, written, "rejected/x.json")
    end = ends.find(written.envelope)
    assert end is not None
    assert (end.state, end.words) == ("expired", "expired: never claimed")


@pytest.mark.parametrize("text", ["[1]", "{}", "null", "17", '{"reason": 1}', "[" * 5000])
def test_a_reason_that_is_no_record_is_taken_as_words(world: World, ends: Ends, text: str) -> None:
    written = world.send()
    (world.root / "rejected" / "x.json.reason").write_text(text)
    move(world, written, "rejected/x.json")
    end = ends.find(written.envelope)
    assert end is not None
    assert (end.state, end.words) == ("rejected", text[:500])


def test_words_inside_the_file_are_read(world: World, ends: Ends) -> None:
    written = world.send()
    refused = {**json.loads(written.path.read_bytes()), "rejection_reason": "no line free"}
    (world.root / "rejected" / "x.json").write_text(json.dumps(refused))
    end = ends.find(written.envelope)
    assert end is not None
    assert end.words == "no line free"


def test_a_rejection_without_words_is_one(world: World, ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handoffd.agent.outcome.REASON_PATIENCE_S", 0.0)
    written = world.send()
    move(world, written, "rejected/x.json")
    end = ends.find(written.envelope)
    assert end is not None
    assert (end.state, end.words) == ("rejected", "")


def test_a_file_that_appears_right_after_a_look_is_seen(world: World, ends: Ends) -> None:
    # The directory's time stamp may be the same for both: it moves on only every few milliseconds.
    for number in range(50):
        written = world.send(reason=str(number))
        assert ends.find(written.envelope) is None
        move(world, written, f"archive/{number}.json")
        assert ends.find(written.envelope) is not None
