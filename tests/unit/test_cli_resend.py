"""`handoffd resend`: an earlier handoff written anew, signed and linked; never one that somebody rewrote."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from handoffd.agent import ANYONE, Draft, Mailbox, agent_name
from handoffd.cli import invoke
from handoffd.protocol.moment import parse_moment
from handoffd.protocol.payload import transfer_id
from handoffd.protocol.signature import verify

SECRET = b"pair-secret"
TURNS = [{"role": "user", "text": "grüezi"}]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "shared"
    root.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET + b"\n")
    secret.chmod(0o600)
    return root


def written(root: Path, **more: Any) -> Path:
    mailbox = Mailbox(root, agent_name("bob"), {ANYONE: SECRET})
    draft = Draft(to="alice", reason="asked for alice", transcript=TURNS, summary="the gist", ttl_s=90.0, **more)
    return mailbox.write_handoff(draft).path


def ended(root: Path, place: str, record: dict[str, Any] | None = None, **more: Any) -> tuple[Path, str, str]:
    """Write one, move it to its end; return its path there, T and handoff_id."""
    path = written(root, **more)
    data = path.read_bytes()
    target = path.rename(root / place / path.name)
    if record is not None:
        fields = {"tid": transfer_id(data), **record}
        target.with_name(target.name + ".reason").write_text(json.dumps(fields))
    return target, transfer_id(data), json.loads(data)["handoff_id"]


def run(root: Path, ident: str, *more: str) -> int:
    secret = root.parent / "secret"
    return invoke(["resend", ident, "--root", str(root), "--secret-file", str(secret), *more])


def only(root: Path) -> dict[str, Any]:
    (name,) = os.listdir(root / "handoff")
    data = (root / "handoff" / name).read_bytes()
    assert verify(data, SECRET)
    fields: dict[str, Any] = json.loads(data)
    return fields


EXPIRED = {"state": "expired", "reason": "expired", "delivered": "not_delivered"}


def test_it_says_all_the_old_one_said_and_names_it(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, tid, handoff_id = ended(root, "rejected", EXPIRED, extra={"pending_actions": ["call back"]})
    old = json.loads(path.read_bytes())
    assert run(root, handoff_id, "--json") == 0
    new = only(root)
    same = ("caller_hash", "from_agent", "to_agent", "reason", "transcript", "context_summary", "pending_actions")
    assert [new[key] for key in same] == [old[key] for key in same]
    assert new["resend_of"] == {"handoff_id": handoff_id, "tid": tid}
    assert parse_moment(new["expires_at"]) - parse_moment(new["initiated_at"]) == pytest.approx(90.0, abs=0.002)
    told = json.loads(capsys.readouterr().out)
    assert told["resend_of"] == new["resend_of"]
    assert told["tid"] != tid


def test_lifetime_and_reason_may_be_others(root: Path) -> None:
    _, tid, _ = ended(root, "rejected", EXPIRED)
    assert run(root, tid[:12], "--ttl-s", "5", "--reason", "once more") == 0
    new = only(root)
    assert new["reason"] == "once more"
    assert parse_moment(new["expires_at"]) - parse_moment(new["initiated_at"]) == pytest.approx(5.0, abs=0.002)


def test_a_resent_one_can_be_resent_and_names_the_last(root: Path) -> None:
    _, tid, _ = ended(root, "rejected", EXPIRED)
    assert run(root, tid) == 0
    (name,) = os.listdir(root / "handoff")
    second = transfer_id((root / "handoff" / name).read_bytes())
    (root / "handoff" / name).rename(root / "rejected" / f"second-{name}")
    assert run(root, second, "--yes") == 0
    assert only(root)["resend_of"]["tid"] == second


@pytest.mark.parametrize(
    ("place", "record", "words"),
    [
        ("archive", None, "was completed"),
        ("claimed", None, "somebody may be working on it"),
        ("handoff", None, "still waits to be claimed"),
        ("rejected", None, "may have been claimed"),
        ("rejected", {"delivered": "unknown"}, "may have been claimed"),
        ("rejected", {"delivered": "not_delivered", "tid": "0" * 64}, "may have been claimed"),
    ],
)
def test_what_may_have_been_claimed_is_asked_for_first(
    root: Path, capsys: pytest.CaptureFixture[str], place: str, record: dict[str, Any] | None, words: str
) -> None:
    _, tid, _ = ended(root, place, record)
    before = len(os.listdir(root / "handoff"))
    assert run(root, tid) == 2
    assert words in capsys.readouterr().err
    assert len(os.listdir(root / "handoff")) == before
    assert run(root, tid, "--yes") == 0
    assert len(os.listdir(root / "handoff")) == before + 1


def test_a_file_is_named_by_its_path(root: Path) -> None:
    path, _, _ = ended(root, "rejected", EXPIRED)
    elsewhere = path.rename(root.parent / "saved.json")
    assert run(root, str(elsewhere), "--yes") == 0
    assert only(root)["to_agent"] == "alice"


def test_what_somebody_rewrote_is_not_signed_anew(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, _, handoff_id = ended(root, "rejected")
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "rejection_reason": "busy"}))
    assert run(root, handoff_id, "--yes") == 1
    assert "rewritten since it was signed" in capsys.readouterr().err
    assert os.listdir(root / "handoff") == []


def test_the_original_beside_a_rewritten_one_is_taken(root: Path) -> None:
    path, tid, handoff_id = ended(root, "archive")
    path.with_name(f"{path.name}.original").write_bytes(path.read_bytes())
    path.write_text(json.dumps({**json.loads(path.read_bytes()), "transcript": []}))
    assert run(root, handoff_id, "--yes") == 0
    assert only(root)["resend_of"]["tid"] == tid


def test_what_is_not_there_is_told_with_what_may_be_the_matter(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(root, "1795168800-bob-alice-0011223344556677") == 1
    assert "still on its way is in relay/" in capsys.readouterr().err


def test_of_two_with_one_name_neither_is_sent_until_one_is_named_by_its_t(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clocked = Mailbox(root, agent_name("bob"), {ANYONE: SECRET}, now=lambda: 1_795_168_800.0)
    tids = []
    for second, (reason, place) in enumerate((("old", "rejected"), ("new", "archive"))):
        path = clocked.write_handoff(Draft(to="alice", reason=reason, caller_hash="0011223344556677")).path
        tids.append(transfer_id(path.read_bytes()))
        os.utime(path.rename(root / place / f"{reason}.json"), (second, second))
    assert run(root, "1795168800-bob-alice-0011223344556677", "--yes") == 2
    assert os.listdir(root / "handoff") == []
    told = capsys.readouterr().err
    assert told.startswith("handoffd: 2 handoffs answer to 1795168800-bob-alice-0011223344556677, and nothing was")
    assert told.endswith(f"name one by its T: {tids[1][:12]} (archive), {tids[0][:12]} (rejected)\n")
    assert run(root, tids[0][:12], "--yes") == 0
    assert only(root)["reason"] == "old"


def test_the_journal_gets_a_line_where_there_is_one(root: Path) -> None:
    _, tid, _ = ended(root, "rejected", EXPIRED)
    (root / "relay").mkdir(0o700)
    assert run(root, tid) == 0
    line = json.loads((root / "relay/events.jsonl").read_bytes())
    assert (line["event"], line["detail"]) == ("resent", f"again: {tid}")
