"""Parting from a peer: which files go, and that nobody is told before they are gone."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from handoffd.cli import invoke
from handoffd.cli.belonging import belongings
from handoffd.cli.bond import Bond
from handoffd.cli.failure import Failure
from handoffd.clock import SystemClock
from handoffd.config import load
from handoffd.identity import make_identity


class Own:
    """bob-vm, whose files of alice-vm have names of its own."""

    def __init__(self, base: Path) -> None:
        self.base, self.config = base, base / "handoffd.yaml"
        (base / "root").mkdir()
        certificate, key = make_identity("bob-vm", SystemClock().wall())
        self.write("identity/bob-vm.pem", certificate.decode())
        self.write("identity/bob-vm.key", key.decode())
        self.write("handoffd.yaml", json.dumps({"host": "bob-vm", "root": "root", "agents": ["bob"]}))
        self.peer("alice-vm", token="keys/to-alice", accepts="keys/of-alice")

    def write(self, name: str, text: str) -> Path:
        path = self.base / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o600)
        return path

    def stanza(self, peer: str, token: str, accepts: str) -> dict[str, Any]:
        if not (self.base / token).exists():
            self.write(token, hashlib.sha256(token.encode()).hexdigest())
        if not (self.base / accepts).exists():
            self.write(accepts, hashlib.sha256(accepts.encode()).hexdigest())
        agent = peer.partition("-")[0]
        return {"url": "http://127.0.0.1:9", "agents": [agent], "token": token, "accepts": accepts}

    def peer(self, name: str, **files: str) -> Path:
        text = json.dumps({"peers": {name: self.stanza(name, **files)}})
        return self.write(f"peers.d/{name}.yaml", text)

    def unpair(self, peer: str = "alice-vm") -> int:
        return invoke(["unpair", peer, "--yes", "--config", str(self.config)])


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path)


@pytest.fixture
def farewells(monkeypatch: pytest.MonkeyPatch, own: Own) -> list[bool]:
    """For each farewell, whether the stanza was still there."""
    told: list[bool] = []

    def ask(bond: Bond, what: str, fields: dict[str, object]) -> dict[str, Any]:
        told.append((own.base / "peers.d/alice-vm.yaml").exists())
        return {}

    monkeypatch.setattr(Bond, "ask", ask)
    return told


def test_what_the_stanza_names_goes_and_then_the_peer_is_told(own: Own, farewells: list[bool]) -> None:
    assert own.unpair() == 0
    assert farewells == [False]
    assert sorted(path.name for path in (own.base / "keys").iterdir()) == []
    assert list((own.base / "peers.d").iterdir()) == []
    assert (own.base / "identity/bob-vm.key").exists()


def test_a_half_that_cannot_be_removed_stays_whole_and_nobody_is_told(
    own: Own, farewells: list[bool], capsys: pytest.CaptureFixture[str]
) -> None:
    (own.base / "keys").rename(own.base / "elsewhere")
    (own.base / "keys").symlink_to(own.base / "elsewhere")
    before = sorted(path for path in own.base.rglob("*") if path.is_file())
    assert own.unpair() == 1
    assert "nothing was changed" in capsys.readouterr().err
    assert farewells == []
    assert sorted(path for path in own.base.rglob("*") if path.is_file()) == before


def test_who_may_not_write_there_is_told_so_at_once(
    own: Own, farewells: list[bool], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: not str(place).endswith("keys"))  # root may everything
    assert own.unpair() == 77
    assert "keys/to-alice cannot be removed by this user" in capsys.readouterr().err
    assert farewells == []
    assert (own.base / "peers.d/alice-vm.yaml").exists()


def test_files_that_lie_elsewhere_stay(
    own: Own, farewells: list[bool], tmp_path_factory: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "of-alice"
    own.peer("alice-vm", token="keys/to-alice", accepts=str(outside))
    assert own.unpair() == 0
    assert outside.exists()
    assert not (own.base / "keys/to-alice").exists()
    assert f"{outside} stays" in capsys.readouterr().out
    assert load(own.config).peers == {}


def test_a_file_with_other_peers_in_it_is_left_to_its_writer(own: Own) -> None:
    both = {name: own.stanza(name, f"keys/to-{name}", f"keys/of-{name}") for name in ("carol-vm", "dora-vm")}
    own.write("peers.d/more.yaml", json.dumps({"peers": both}))
    with pytest.raises(Failure, match=r"more.yaml configures dora-vm too; take carol-vm out there"):
        belongings(load(own.config), "carol-vm")
