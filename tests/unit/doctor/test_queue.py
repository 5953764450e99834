"""What stands still, by the files of a root made by hand."""

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from tests.unit.handmade import DATA, EXPIRES_S, QUEUED, RECEIPT, SENT, START_S, Ground, N, T, payload

from handoffd.cli.doctor.finding import Level
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.doctor.queue import queues
from handoffd.protocol.name import CANARY_AGENT
from handoffd.protocol.reason import Delivered, Reason, State
from handoffd.protocol.record import encode
from handoffd.protocol.timing import HOUR_S


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


def found(ground: Ground, now_s: float, *, level: Level = Level.FAILURE, **more: object) -> list[tuple[str, str]]:
    patient = Patient(ground.root / "handoffd.yaml", None, (), ground.root, "alice-vm", 0, None, now_s)
    return [(one.word, one.message) for one in queues(replace(patient, **more)) if one.level is level]


def publish(ground: Ground, data: bytes = DATA) -> None:
    ground.put(RECEIPT, data, written_s=START_S)
    ground.link(RECEIPT, f"handoff/{N}")


def test_nothing_stands_still_where_nothing_is(ground: Ground) -> None:
    assert found(ground, START_S) == []


def test_what_lies_unread_for_half_of_its_life_is_told(ground: Ground) -> None:
    publish(ground)
    assert found(ground, START_S + 29) == []
    ((word, message),) = found(ground, START_S + 31)
    assert (word, message) == ("unclaimed", "1 handoff for alice, nobody claims, the oldest for 31s")


def test_between_two_agents_of_this_host_too(ground: Ground) -> None:
    ground.put("handoff/0011223344556677-0.json", written_s=START_S)
    assert found(ground, START_S + 31) == []  # alice may live elsewhere, and the daemon has not taken it yet
    ((word, _),) = found(ground, START_S + 31, config=Living(("alice",)))
    assert word == "unclaimed"


def test_what_a_running_daemon_does_not_take_is_told_after_a_minute(ground: Ground) -> None:
    ground.put("handoff/0011223344556677-0.json", written_s=START_S)
    runs = {"config": Living(("bob",)), "status": {"host": "alice-vm"}}
    assert found(ground, START_S + 61, level=Level.WARNING) == []
    assert found(ground, START_S + 59, level=Level.WARNING, **runs) == []
    ((word, message),) = found(ground, START_S + 61, level=Level.WARNING, **runs)
    assert word == "left_alone"
    assert message == "1 in handoff/ that the daemon does not take, the oldest 0011223344556677-0.json"


def test_nobody_is_told_to_remove_what_only_waits_for_the_disk(ground: Ground) -> None:
    """Of a flush that the disk refuses the journal says nothing, and the handoff is whole."""
    ground.put("handoff/0011223344556677-0.json", written_s=START_S)
    status = {"host": "alice-vm"}
    patient = Patient(ground.root / "x", Living(("bob",)), (), ground.root, "alice-vm", 0, status, START_S + 61)
    (told,) = [one for one in queues(patient) if one.word == "left_alone"]
    assert "make room, and it goes by itself" in told.remedy
    assert "remove" not in told.remedy


@dataclass
class Living:
    agents: tuple[str, ...]


def test_the_last_ones_having_expired_unread_is_told_for_an_hour(ground: Ground) -> None:
    edges = {"published": "2026-11-20T10:00:00.000Z"}
    ended = ground.end(Reason.EXPIRED, State.EXPIRED, file=N, peer="bob-vm", edges=edges)
    ground.put(f"relay/outcome/{T}.json", encode(replace(ended, delivered=Delivered.NOT_DELIVERED)))
    written = (ground.root / f"relay/outcome/{T}.json").stat().st_mtime
    ((word, message),) = found(ground, written + 60)
    assert (word, message.partition(" within")[0]) == ("unclaimed", "1 for alice expired unread")
    assert found(ground, written + HOUR_S + 60) == []


def test_a_claim_is_called_stuck_an_hour_after_its_time(ground: Ground) -> None:
    ground.put(RECEIPT, written_s=START_S)
    ground.link(RECEIPT, f"claimed/{N}")
    assert found(ground, EXPIRES_S + HOUR_S - 1) == []
    ((word, message),) = found(ground, EXPIRES_S + 2 * HOUR_S)
    assert (word, message) == ("stuck", "alice claimed 1 handoff and has not finished, 2h00m past expiry")


def test_a_claim_between_two_agents_of_this_host_too(ground: Ground) -> None:
    ground.put("claimed/0011223344556677-0.json", payload(to_agent="carol"))
    ((word, message),) = found(ground, EXPIRES_S + 2 * HOUR_S)
    assert (word, message.split()[0]) == ("stuck", "carol")


def test_the_view_of_a_claim_elsewhere_is_no_stuck_agent_here(ground: Ground) -> None:
    ground.put(SENT, written_s=START_S)
    ground.put("claimed/b275013166a65f69-0.json")
    assert [word for word, _ in found(ground, EXPIRES_S + 2 * HOUR_S)] == []


@pytest.mark.parametrize("leased", [False, True])
def test_what_was_sent_or_leased_and_never_answered_for_is_in_doubt(ground: Ground, leased: bool) -> None:
    ground.put(SENT, written_s=START_S)
    if leased:
        ground.put(f"{RECEIPT}.routed", written_s=START_S)
    assert found(ground, EXPIRES_S + 20) == []
    ((word, message),) = found(ground, EXPIRES_S + 2 * HOUR_S)
    assert word == "in_doubt"
    assert "1 handoff past expiry without a verdict" in message


def test_a_queue_that_stands_is_told(ground: Ground) -> None:
    ground.put(QUEUED, written_s=START_S)
    assert found(ground, START_S + 20) == []
    ((word, message),) = found(ground, START_S + 40)
    assert (word, message.partition(":")[0]) == ("backlog", "alice-vm")


def test_canaries_are_nobodys_backlog(ground: Ground) -> None:
    ground.put(SENT, payload(from_agent=CANARY_AGENT, to_agent=CANARY_AGENT), written_s=START_S)
    assert found(ground, EXPIRES_S + 2 * HOUR_S) == []
