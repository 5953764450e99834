"""SIGHUP: what a good configuration brings at once, and that a bad one brings nothing (docs/operations.md)."""

import hashlib
import os
import signal
import socket
import stat
from pathlib import Path

import pytest
from tests.spec.daemon.rig import Host, Pair, payload, tid_of, until

pytestmark = pytest.mark.slow


def reload(host: Host) -> str:
    """Send SIGHUP, wait for its end, return the event it ended with."""
    before = len(_reloads(host))
    host.signal(signal.SIGHUP)
    until("it was reloaded", lambda: len(_reloads(host)) > before)
    return _reloads(host)[-1]


def _reloads(host: Host) -> list[str]:
    return [line["event"] for line in host.journal() if line["event"].startswith("config_")]


def pending(host: Host, number: signal.Signals) -> bool:
    status = Path(f"/proc/{host.pid}/status").read_text()
    return bool(int(status.partition("ShdPnd:")[2].split()[0], 16) >> (number - 1) & 1)


def hash_into(file: Path, *tokens: str) -> None:
    file.write_text("".join(hashlib.sha256(token.encode()).hexdigest() + "\n" for token in tokens))


def test_a_new_agent_token_works_at_once_and_the_old_one_no_more(lone: Host) -> None:
    lone.start().ready()
    old, new = lone.token(), "n" * 43
    assert lone.ask("GET", "/api/v1/handoffs/poll?agent=bob", token=old).status == 204
    hash_into(lone.directory / "tokens" / "bob.sha256", new)
    assert reload(lone) == "config_reloaded"
    assert lone.ask("GET", "/api/v1/handoffs/poll?agent=bob", token=new).status == 204
    assert lone.ask("GET", "/api/v1/handoffs/poll?agent=bob", token=old).status == 401


def test_a_bad_configuration_is_refused_in_clear_words_and_the_old_one_goes_on(pair: Pair) -> None:
    good = pair.bob.config.read_text()
    pair.bob.add("agnets: [bob]\n")
    assert reload(pair.bob) == "config_refused"
    line = pair.bob.journal("config_refused")[-1]["detail"]
    assert str(pair.bob.config) in line
    assert "agnets" in line
    assert [words for words in pair.bob.log().splitlines() if "reload refused" in words and line in words]
    assert "`handoffd check`, then SIGHUP again" in pair.bob.log()
    pair.deliver()
    pair.bob.config.write_text(good)
    assert reload(pair.bob) == "config_reloaded"
    pair.deliver()


def test_no_file_however_odd_ends_the_daemon_or_keeps_it_from_its_end(pair: Pair) -> None:
    odd = pair.bob.directory / "peers.d" / "odd.yaml"
    odd.write_text('peers: {odd-vm: {agents: [odd], token: "peers/\\0"}}\n')
    assert reload(pair.bob) == "config_refused"
    odd.unlink()
    os.mkfifo(odd)
    assert reload(pair.bob) == "config_refused"
    pair.deliver()
    pair.bob.signal(signal.SIGHUP)
    assert pair.bob.stop() == 0


def test_a_peer_s_token_is_rotated_without_a_gap(pair: Pair) -> None:
    secret = pair.bob.directory / "peers" / "alice-vm.out"
    accepts = pair.alice.directory / "peers" / "bob-vm.in.sha256"
    old, new = secret.read_text().strip(), "r" * 43
    hash_into(accepts, old, new)
    assert reload(pair.alice) == "config_reloaded"
    pair.deliver()
    secret.write_text(f"{new}\n")
    assert reload(pair.bob) == "config_reloaded"
    pair.deliver()
    hash_into(accepts, new)
    assert reload(pair.alice) == "config_reloaded"
    pair.deliver()
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert pair.bob.journal("link_down", reason="wrong_token") == []


def test_a_peer_that_comes_goes_and_comes_back(pair: Pair) -> None:
    stanza = pair.bob.directory / "peers.d" / "alice-vm.yaml"
    aside = stanza.with_suffix(".off")
    stanza.rename(aside)
    assert reload(pair.bob) == "config_reloaded"
    name = "aside-0.json"
    data = payload("bob", "alice")
    pair.bob.write(data, name)
    pair.bob.told("unroutable", file=name)
    aside.rename(stanza)
    assert reload(pair.bob) == "config_reloaded"
    pair.alice.archive(pair.alice.claim(tid_of(data)))
    assert pair.bob.ended(tid_of(data))["reason"] == "completed"


def test_what_needs_a_restart_is_named_and_stays_as_it_was(pair: Pair) -> None:
    pair.bob.edit("host: bob-vm", "host: other-vm")
    pair.bob.add("identity: {certificate: identity/bob-vm.pem, key: identity/bob-vm.key}\n")
    assert reload(pair.bob) == "config_reloaded"
    assert "host has changed; it takes effect at the next restart" in pair.bob.log()
    tid = pair.bob.hand_over("alice", context_summary="x" * (1 << 20))
    assert pair.bob.ended(tid)["by"] == "bob-vm"
    pair.deliver()


def test_reloads_that_crowd_each_other_and_a_stop_among_them_do_no_harm(pair: Pair) -> None:
    stanza = pair.bob.directory / "peers.d" / "alice-vm.yaml"
    text = stanza.read_text()
    for number in range(30):
        # Each changes the link, so that each reload drops one and makes another.
        stanza.write_text(text.replace("agents: [alice]", f"agents: [alice, agent{number}]"))
        pair.bob.signal(signal.SIGHUP)
        until("the signal was taken", lambda: not pending(pair.bob, signal.SIGHUP))
    pair.deliver()
    pair.bob.signal(signal.SIGHUP)
    assert pair.bob.stop() == 0
    pair.bob.start().ready()
    pair.deliver()


def test_a_stop_during_a_reload_that_brings_a_peer_ends_the_daemon(stopped_pair: Pair) -> None:
    bob = stopped_pair.bob
    stanza = bob.directory / "peers.d" / "alice-vm.yaml"
    text = stanza.read_text()
    for _ in range(3):
        stanza.unlink()
        bob.start().ready()
        stanza.write_text(text)
        with socket.socket(socket.AF_UNIX) as operator:
            operator.connect(str(bob.root / "relay" / "handoffd.sock"))
            operator.sendall(b"POST /operator/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            assert bob.stop() == 0


def test_a_hang_up_during_the_start_does_not_end_it(lone: Host) -> None:
    lone.start()
    until("it begins", (lone.root / "relay").exists)
    lone.signal(signal.SIGHUP)
    lone.ready()
