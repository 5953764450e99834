import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from handoffd.agent.bootstrap import bootstrap_path, resume_context, withdraw_bootstrap, write_bootstrap
from handoffd.protocol.payload import transfer_id

TEN = 1_795_168_800.0
TID, OTHER_TID = transfer_id(b"one"), transfer_id(b"another")


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "handoff_id": "1795168800-bob-alice-b275013166a65f69",
        "from_agent": "bob",
        "to_agent": "alice",
        "reason": "asked for alice",
        "transcript": [],
        "hmac": "H",
    } | changes


def test_the_bootstrap_holds_what_a_voice_server_reads(tmp_path: Path) -> None:
    path = write_bootstrap(tmp_path, fields(resume_hint="ask"), TID, TEN)
    assert path == tmp_path / "handoffs" / "1795168800-bob-alice-b275013166a65f69.json"
    document = json.loads(path.read_bytes())
    assert (document["protocol_version"], document["source"]) == (1, "voice_handoff")
    assert datetime.fromisoformat(document["accepted_at"]) == datetime(2026, 11, 20, 10, tzinfo=UTC)
    assert document["resume_context"]
    assert document["resume_hint"] == "ask"
    assert "hmac" not in document


def test_the_context_tells_everything_that_is_known() -> None:
    turns = [{"role": "user", "text": "får jag tala med Alice?"}, {"role": "assistant", "text": "One moment."}]
    text = resume_context(
        fields(transcript=turns, context_summary="S", resume_hint="R", pending_actions=[{"kind": "kalender på tisdag"}])
    )
    assert text.splitlines() == [
        "This conversation was handed over by bob. Reason: asked for alice.",
        "Summary: S",
        "Next: R",
        'Pending: [{"kind": "kalender på tisdag"}]',
        "Transcript so far:",
        "user: får jag tala med Alice?",
        "assistant: One moment.",
    ]


def test_the_context_is_never_empty() -> None:
    assert resume_context(fields(reason="")).strip()


@pytest.mark.parametrize(
    ("handoff_id", "name"), [("a.b_c-1", "ab_c-1.json"), ("../../etc/x", "etcx.json"), ("å☃a", "a.json")]
)
def test_other_characters_are_dropped_from_the_name(handoff_id: str, name: str) -> None:
    assert bootstrap_path(Path("/state"), handoff_id) == Path("/state/handoffs") / name


def test_a_waiting_bootstrap_is_never_replaced(tmp_path: Path) -> None:
    path = write_bootstrap(tmp_path, fields(reason="first"), TID, TEN)
    with pytest.raises(FileExistsError):
        write_bootstrap(tmp_path, fields(reason="second"), OTHER_TID, TEN)
    assert json.loads(path.read_bytes())["reason"] == "first"


def test_a_bootstrap_that_may_not_last_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("handoffd.agent.bootstrap.flush", fails)
    with pytest.raises(PermissionError):
        write_bootstrap(tmp_path, fields(), TID, TEN)
    assert list((tmp_path / "handoffs").iterdir()) == []


def test_an_unread_bootstrap_can_be_withdrawn_by_its_own_handoff_only(tmp_path: Path) -> None:
    path = write_bootstrap(tmp_path, fields(), TID, TEN)
    withdraw_bootstrap(tmp_path, fields()["handoff_id"], OTHER_TID)
    assert path.exists()
    withdraw_bootstrap(tmp_path, fields()["handoff_id"], TID)
    assert not path.exists()


def test_a_bootstrap_that_was_read_is_nothing_to_withdraw(tmp_path: Path) -> None:
    withdraw_bootstrap(tmp_path, "never-written", TID)
    assert not (tmp_path / "handoffs").exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[" * 100_000, b'{"tid": null}'])
def test_what_another_program_wrote_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = write_bootstrap(tmp_path, fields(), TID, TEN)
    path.write_bytes(content)
    withdraw_bootstrap(tmp_path, fields()["handoff_id"], TID)
    assert path.read_bytes() == content
