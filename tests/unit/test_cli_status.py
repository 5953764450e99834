"""`handoffd status`: the page and the JSON, of a daemon that answers and of directories alone."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.unit.a_status import LINK, NOW, a_status
from tests.unit.handmade import QUEUED, RECEIPT, SENT, START_S, Ground, N, T
from tests.unit.test_cli_operator import daemon

from handoffd.cli import invoke
from handoffd.custody.opened import Open
from handoffd.custody.place import Role
from handoffd.status.model import Concern, Status, fields

WRONG_TOKEN = Concern("wrong_token", "401", "exchange the tokens again", "alice-vm")


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground.make(tmp_path)


def run(ground: Ground, *more: str) -> int:
    return invoke(["status", "--root", str(ground.root), *more])


def told_of(ground: Ground, status: Status, *more: str) -> int:
    with daemon(ground, 200, fields(status)) as asked:
        code = run(ground, *more)
    assert b"GET /operator/status" in asked[0]
    return code


def queued(age_s: float = 4.0, expires_s: float = 60.0) -> Open:
    return Open(Role.SENDER, "queued", T, "alice-vm", "alice", NOW - age_s, NOW + expires_s)


def test_a_host_that_is_well_exits_0(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    assert told_of(ground, a_status()) == 0
    assert capsys.readouterr().out.splitlines() == [
        "bob-vm serves /srv/voice-shared: ready, up 1h00m, handoffd 0.1.0",
        "",
        "PEER      LINK  SINCE  LAST OK  ROUND TRIP  CLOCK  BACKLOG  OLDEST",
        "alice-vm  up    1h00m  10s      0.4 ms      -3 ms  0        -",
        "",
        "no handoff is open",
        "",
        "ended since the start: 7 completed",
        "disk: 64.0 GiB free",
    ]


def test_handoffs_are_counted_by_state_with_the_oldest(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    young = queued(1.0)._replace(tid="0" * 64)
    assert told_of(ground, a_status([young, queued(4.0)])) == 0
    out = capsys.readouterr().out
    assert f"queued    sender  2      4s      {T[:12]}" in out
    assert "alice-vm  up    1h00m  10s      0.4 ms      -3 ms  2        4s" in out


def test_what_waits_for_whichever_of_several_homes_has_a_line(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    homes = {"alice": ("desk", "kitchen"), "dora": ("desk", "hall"), "zoe": ("desk",)}
    assert told_of(ground, a_status([queued()._replace(peer="@alice")], homes=homes)) == 0
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("WHICHEVER OF   FOR    BACKLOG  OLDEST")
    assert lines[place + 1 : place + 3] == [
        "desk, kitchen  alice  1        4s",
        "desk, hall     dora   0        -",
    ]


def test_what_needs_attention_comes_first_and_exits_1(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    refused = replace(LINK, state="refused", error=WRONG_TOKEN)
    assert told_of(ground, a_status(links=(refused,))) == 1
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "warning: alice-vm: wrong_token: 401; exchange the tokens again"


def test_nothing_a_peer_wrote_steers_the_terminal(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    evil = replace(WRONG_TOKEN, detail="\x1b[2J\nwarning: none")
    told_of(ground, a_status(links=(replace(LINK, error=evil),)))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len([line for line in out.splitlines() if line.startswith("warning")]) == 1


def test_json_is_what_the_daemon_told(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    status = a_status([queued()])
    assert told_of(ground, status, "--json") == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(fields(status)))


def test_with_the_daemon_stopped_the_directories_speak(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(QUEUED, written_s=START_S)
    assert run(ground) == 69
    out = capsys.readouterr().out
    assert out.startswith("warning: stopped: no daemon runs on ")
    assert "the daemon is stopped" in out
    assert "queued    sender" in out
    assert "in doubt  sender to alice-vm" in out


def stopped(ground: Ground, capsys: pytest.CaptureFixture[str]) -> Any:
    assert run(ground, "--json") == 69
    return json.loads(capsys.readouterr().out)


def test_stopped_it_claims_nothing_it_cannot_know(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    ground.put(SENT)
    told = stopped(ground, capsys)
    assert (told["daemon"], told["ready"], told["started"], told["ended"], told["latency"]) == (
        "stopped",
        False,
        None,
        None,
        None,
    )
    (peer,) = told["peers"]
    assert (peer["peer"], peer["state"], peer["last_success"]) == ("alice-vm", "unseen", None)
    (sent,) = told["handoffs"]
    assert (sent["role"], sent["state"], sent["count"], sent["oldest_tid"]) == ("sender", "stored", 1, T)


def test_stopped_and_running_tell_the_same_keys(ground: Ground, capsys: pytest.CaptureFixture[str]) -> None:
    assert stopped(ground, capsys).keys() == fields(a_status()).keys()


def test_stopped_a_published_file_nobody_claims_is_a_concern(
    ground: Ground, capsys: pytest.CaptureFixture[str]
) -> None:
    ground.put(RECEIPT, written_s=START_S)
    ground.link(RECEIPT, f"handoff/{N}")
    words = [one["word"] for one in stopped(ground, capsys)["warnings"]]
    assert words == ["stopped", "unclaimed"]


def test_a_daemon_that_hangs_is_not_called_stopped(
    ground: Ground, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("handoffd.cli.status.PATIENCE_S", 0.1)
    ground.put(QUEUED)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(ground.root / "relay/handoffd.sock"))
        server.listen()
        assert run(ground, "--json") == 69
    told = json.loads(capsys.readouterr().out)
    assert (told["daemon"], told["warnings"][0]["word"]) == ("silent", "silent")
    assert "no answer" in told["warnings"][0]["detail"]
    assert told["handoffs"][0]["state"] == "queued"


def test_a_stranger_is_told_who_may_look(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "relay/handoffd.sock")

    monkeypatch.setattr("handoffd.cli.status.ask", refused)
    assert run(ground) == 77
