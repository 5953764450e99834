"""Two rotations of one token at once: the second would end what the first has just made."""

import fcntl
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from tests.unit.pairing.test_unpair import Own

from handoffd.cli import invoke
from handoffd.cli.bond import Bond
from handoffd.identity import fingerprint
from handoffd.pairing.dial import Turned


@pytest.fixture
def own(tmp_path: Path) -> Own:
    return Own(tmp_path)


def rotate(own: Own, name: str) -> int:
    return invoke(["token", "rotate", name, "--settle", "--config", str(own.config)])


def test_the_second_is_refused_with_one_line_and_nothing_is_asked_of_the_peer(
    own: Own, capsys: pytest.CaptureFixture[str]
) -> None:
    with (own.base / "peers.d/alice-vm.yaml").open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert rotate(own, "alice-vm") == 75
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "another `handoffd token rotate` is under way for alice-vm; run this again when it has ended" in said
    rotate(own, "alice-vm")
    assert "alice-vm does not answer" in capsys.readouterr().err


def test_peers_are_rotated_side_by_side(own: Own, capsys: pytest.CaptureFixture[str]) -> None:
    own.peer("carol-vm", token="keys/to-carol", accepts="keys/of-carol")
    with (own.base / "peers.d/alice-vm.yaml").open("rb") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        rotate(own, "carol-vm")
        assert "carol-vm does not answer" in capsys.readouterr().err


def test_a_peer_that_was_asked_too_often_is_told_apart(
    own: Own, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(bond: Bond, what: str, fields: dict[str, object]) -> dict[str, object]:
        raise Turned(429, "rate_limited", "More than 0.1 requests a second; at most 4 at once.")

    monkeypatch.setattr(Bond, "ask", ask)
    assert invoke(["cert", "settle", "--config", str(own.config)]) == 1
    said = capsys.readouterr()
    assert said.out.endswith("at most 4 at once. Wait ten seconds.\n")
    assert "run this again when it can be" in said.err


# ---------------------------------------------------------------- for scripts


@pytest.fixture
def told_as_json(own: Own, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command with --json beside a peer that agrees to everything; its steps are on standard error."""
    monkeypatch.setattr(Bond, "ask", lambda bond, what, fields: {})

    def run(*words: str) -> Any:
        assert invoke([*words, "--json", "--config", str(own.config)]) == 0
        out, err = capsys.readouterr()
        assert (words[1] == "revoke") == (err == "")
        return json.loads(out)

    return run


def test_a_script_learns_where_an_agents_new_token_is_and_never_the_token(own: Own, told_as_json: Any) -> None:
    digest = hashlib.sha256(b"t" * 43).hexdigest()
    own.write("tokens/bob.sha256", f"{digest}\n")
    token = own.write("tokens/bob.token", "t" * 43)
    fields = {"host": "bob-vm", "root": "root", "agents": ["bob"], "agent_tokens": {"bob": "tokens/bob.sha256"}}
    own.write("handoffd.yaml", json.dumps(fields))
    assert told_as_json("token", "rotate", "bob") == {"name": "bob", "settled": False, "token_file": str(token)}
    assert token.read_text() != "t" * 43
    told = told_as_json("token", "rotate", "bob", "--settle")
    assert told == {"name": "bob", "settled": True, "token_file": str(token)}
    assert told_as_json("token", "revoke", "bob") == {"name": "bob", "revoked": True, "running": False}


def test_a_script_learns_that_a_peers_token_is_renewed(own: Own, told_as_json: Any) -> None:
    told = told_as_json("token", "rotate", "alice-vm", "--overlap", "0")
    assert told == {"name": "alice-vm", "settled": True, "token_file": str(own.base / "keys/to-alice")}


def test_a_script_learns_the_new_fingerprint_and_who_knows_it(own: Own, told_as_json: Any) -> None:
    told = told_as_json("cert", "rotate")
    assert told["fingerprint"] == fingerprint((own.base / "identity/bob-vm.pem").read_text())
    facts = {"host": "bob-vm", "told": ["alice-vm"], "untold": []}
    assert told == {**facts, "fingerprint": told["fingerprint"], "settled": False}
    assert told_as_json("cert", "settle") == {**told, "settled": True}
