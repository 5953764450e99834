"""What is said of a canary, by what the daemon tells of it."""

from pathlib import Path
from typing import Any

import pytest

from handoffd.cli.doctor import roundtrip
from handoffd.cli.doctor.finding import Finding, Level
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.failure import ExitCode, Failure

AT = {"asked": "2026-11-20T10:00:00.000Z", "taken": "2026-11-20T10:00:00.004Z", "home": "2026-11-20T10:00:00.030Z"}
EDGES = {"stored": "2026-11-20T10:00:02.010Z", "claimed": "2026-11-20T10:00:02.014Z"}


def patient(*links: tuple[str, str], **more: Any) -> Patient:
    status = {"host": "bob-vm", "peers": [{"peer": name, "state": state} for name, state in links]}
    config: Any = type("Config", (), {"peers": dict(links)})()
    known = {"config": config, "status": status, **more}
    return Patient(Path("/x"), known["config"], (), Path("/root"), "bob-vm", 1, known["status"], 0.0)


def told(state: str = "completed", **record: Any) -> dict[str, Any]:
    known = {"state": state, "edges": EDGES, "clock_offset_ms": 2000, **record}
    return {"tid": "ab" * 32, "state": state, "record": known, "at": {**AT, "posted": record.get("posted")}}


def found(monkeypatch: pytest.MonkeyPatch, answer: Any, *links: tuple[str, str]) -> list[Finding]:
    asked: list[str] = []

    def ask(root: Path, method: str, path: str, **more: Any) -> dict[str, Any]:
        asked.append(path)
        assert b'"from_agent":"handoffd-canary"' in more["data"]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(roundtrip, "ask", ask)
    said = list(roundtrip.round_trips(patient(*(links or (("alice-vm", "up"),)))))
    assert asked == [f"/operator/canary?peer={name}" for name, state in links or [("alice-vm", "up")] if state == "up"]
    return said


def test_the_peers_times_are_corrected_by_its_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = found(monkeypatch, told())
    assert one.level is Level.FINE
    assert one.facts["ms"] == {"taken": 4, "stored": 10, "claimed": 14, "home": 30}
    assert one.message == "alice-vm in 30 ms: taken +4, stored +10, claimed +14, home +30 (clock +2000 ms)"


def test_a_clock_that_was_not_measured_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = found(monkeypatch, told(clock_offset_ms=None))
    assert one.message.endswith("(clock not measured)")


@pytest.mark.parametrize(
    ("state", "reason", "message", "remedy"),
    [
        ("refused", "refused_policy", "refused the canary", "update handoffd on alice-vm"),
        ("refused", "unroutable", "refused the canary", "update handoffd on alice-vm"),
        ("expired", "expired", "did not reach alice-vm", "compare the clocks"),
        ("unknown", "outcome_unknown", "no word of it came back", "run handoffd doctor there"),
        ("queued", None, "no word of it came back", "run handoffd doctor there"),
    ],
)
def test_one_that_does_not_come_home(
    monkeypatch: pytest.MonkeyPatch, state: str, reason: str | None, message: str, remedy: str
) -> None:
    (one,) = found(monkeypatch, told(state, reason=reason, detail="so it was"))
    assert (one.level, one.word) == (Level.FAILURE, "round_trip")
    assert message in one.message
    assert "so it was" in one.message
    assert remedy in one.remedy


def test_one_that_cannot_be_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = found(monkeypatch, Failure("There is no such path"))
    assert (one.level, one.word) == (Level.FAILURE, "round_trip")
    assert "an older daemon wants a restart" in one.remedy


def test_another_doctors_canary_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = found(monkeypatch, Failure("on its way", ExitCode.TRY_AGAIN))
    assert one.level is Level.UNCHECKED


def test_none_is_sent_over_a_link_that_is_not_up(monkeypatch: pytest.MonkeyPatch) -> None:
    said = found(monkeypatch, told(), ("carol-vm", "down"), ("alice-vm", "up"))
    assert [(one.level, one.message.split()[0]) for one in said] == [
        (Level.UNCHECKED, "not"),
        (Level.FINE, "alice-vm"),
    ]


@pytest.mark.parametrize("status", [None, {"host": "other-vm", "peers": []}])
def test_without_the_daemon_of_this_configuration_there_is_none(status: Any) -> None:
    (one,) = roundtrip.round_trips(patient(("alice-vm", "up"), status=status))
    assert one.level is Level.UNCHECKED
