"""The audit finds what it is there for: a handoff lost, claimed twice, altered, or left lying about."""

from harness.books import audit
from harness.engine import eventually
from harness.host import ROOT, Host, Written
from harness.pair import Pair


def note_claim(host: Host, sha256: str) -> None:
    line = f'{{"what": "claimed", "sha256": "{sha256}"}}\n'
    with (host.suite / "alice.jsonl").open("a") as ledger:
        ledger.write(line)


def written_without_daemon(strangers: Pair) -> Written:
    written = strangers.bob.hand_over_one("alice")
    (strangers.bob.root / "handoff" / written.file).unlink()
    return written


def test_a_handoff_without_an_outcome_counts_as_lost(strangers: Pair) -> None:
    written = written_without_daemon(strangers)
    assert audit(strangers).faults == [f"{written.tid[:12]}: has no outcome on bob-vm: lost"]


def test_two_claims_of_one_handoff_are_found(strangers: Pair) -> None:
    written = written_without_daemon(strangers)
    note_claim(strangers.alice, written.tid)
    note_claim(strangers.alice, written.tid)
    assert f"{written.tid[:12]}: was claimed 2 times" in audit(strangers).faults


def test_claimed_bytes_that_nobody_wrote_are_found(strangers: Pair) -> None:
    note_claim(strangers.alice, "f" * 64)
    assert audit(strangers).faults == ["ffffffffffff: was claimed, but nobody wrote it"]


def test_a_file_left_in_handoff_is_found(strangers: Pair) -> None:
    written = strangers.bob.hand_over_one("alice")
    assert f"bob-vm still has handoff/{written.file}" in audit(strangers).faults


def test_an_agent_that_crashed_is_found(strangers: Pair) -> None:
    strangers.bob.execute("mkdir", "-p", f"{ROOT}/handoff")
    strangers.bob.drop("hostile-0.json", b'{"to_agent": "bob"}')
    strangers.bob.listen()
    eventually("the listener has crashed", strangers.bob.agents_log)
    assert any("crashed" in fault for fault in audit(strangers).faults)
