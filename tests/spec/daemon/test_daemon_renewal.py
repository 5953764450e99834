"""Tokens and certificates that are renewed or taken away while everything runs (docs/pairing.md)."""

import contextlib
import re
import stat
import threading
from pathlib import Path

import pytest
from tests.spec.daemon.rig import STOP_LIMIT_S, Host, until
from tests.spec.daemon.strangers import files

pytestmark = pytest.mark.slow


class Load:
    """Requests with whatever token a file holds, one after another from several threads; `failed` are those refused."""

    def __init__(self, host: Host, token: Path, threads: int = 3) -> None:
        self.failed: list[int] = []
        self.served = 0
        self._host, self._token = host, token
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self) -> None:
        while not self._over.is_set():
            token = self._token.read_text().strip()
            status = self._host.ask("GET", f"/api/v1/handoffs/poll?agent={self._host.agent}", token=token).status
            if status in (200, 204, 429):
                self.served += 1
            else:
                self.failed.append(status)

    def close(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(STOP_LIMIT_S)


def test_no_request_of_an_agent_fails_while_its_token_is_renewed(two):
    token = two.bob.directory / "tokens/bob.token"
    old = token.read_text()
    load = Load(two.bob, token)
    with contextlib.closing(load):
        until("it is under load", lambda: load.served > 10)
        assert two.bob.command("token", "rotate", "bob").returncode == 0
        assert token.read_text() != old
        seen = load.served
        until("the new token is in use", lambda: load.served > seen + 20)
        assert two.bob.ask("GET", "/api/v1/handoffs/poll?agent=bob", token=old.strip()).status in (204, 429)
        assert two.bob.command("token", "rotate", "--settle", "bob").returncode == 0
        seen = load.served
        until("it goes on", lambda: load.served > seen + 20)
    assert load.failed == []
    until(
        "the old one is out",
        lambda: two.bob.ask("GET", "/api/v1/handoffs/poll?agent=bob", token=old.strip()).status == 401,
    )
    assert stat.S_IMODE(token.stat().st_mode) == 0o600


def refusals(host: Host) -> list[str]:
    """How often a token was not known."""
    metrics = host.ask("GET", "/metrics", token=None).data.decode()
    return re.findall(r'^handoffd_refusals_total\{reason="unauthorized"\} (\S+)', metrics, re.MULTILINE)


def test_no_handoff_and_no_request_fails_while_a_peers_token_is_renewed(two):
    two.pair()
    two.linked()
    since, refused = len(two.bob.journal("link_down")), refusals(two.alice)
    secret = two.bob.directory / "peers/alice-vm.out"
    accepts = two.alice.directory / "peers/bob-vm.in.sha256"
    old, over, tids = secret.read_text(), threading.Event(), []

    def write() -> None:
        while not over.wait(0.005):
            tids.append(two.bob.hand_over("alice"))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        until("it is under load", lambda: len(tids) > 20)
        done = two.bob.command("token", "rotate", "alice-vm", "--overlap", "27", limit_s=27 + STOP_LIMIT_S)
        assert done.returncode == 0, done.stderr
        seen = len(tids)
        until("it goes on", lambda: len(tids) > seen + 50)
    finally:
        over.set()
        writer.join(STOP_LIMIT_S)
    for tid in tids:
        two.alice.published(tid)
    assert secret.read_text() != old
    assert len(accepts.read_text().split()) == 1
    assert len(two.bob.journal("link_down")) == since
    assert two.alice.journal("token_added")
    assert two.alice.told("token_settled")
    assert refusals(two.alice) == refused, "but for what came before both had taken up the pairing"


def test_a_renewal_that_cannot_reach_the_peer_changes_nothing(two):
    two.pair()
    before = files(two.bob)
    two.alice.stop()
    done = two.bob.command("token", "rotate", "alice-vm")
    assert done.returncode == 69
    assert "the token in use stays" in done.stderr
    assert files(two.bob) == before


def test_a_peer_whose_configuration_is_closed_to_its_daemon_refuses_a_renewal(two):
    two.pair()
    accepts = two.alice.directory / "peers/bob-vm.in.sha256"
    accepts.symlink_to(
        accepts.rename(accepts.with_suffix(".aside"))
    )  # stands in for a read-only directory, for root too
    done = two.bob.command("token", "rotate", "alice-vm")
    assert done.returncode == 1
    assert "may not write its peers' files" in done.stderr
    assert len(accepts.read_text().split()) == 1
    two.deliver(two.bob, two.alice)


def test_a_token_that_is_taken_away_ends_an_open_poll_at_once(two):
    answers: list[int] = []
    token = two.alice.token()

    def poll() -> None:
        answers.append(two.alice.ask("GET", "/api/v1/handoffs/poll?agent=alice&wait=30", token=token).status)

    waiting = threading.Thread(target=poll)
    waiting.start()
    until("it waits", lambda: two.alice.clients() == 1)
    assert two.alice.command("token", "revoke", "alice").returncode == 0
    waiting.join(20.0)  # of the 30 s that it may wait
    assert answers == [401]
    assert two.alice.ask("GET", "/api/v1/handoffs/poll?agent=alice", token=token).status == 401
    assert two.alice.command("token", "rotate", "alice").returncode == 0
    assert two.alice.ask("GET", "/api/v1/handoffs/poll?agent=alice").status == 204


def test_a_peer_whose_token_is_taken_away_is_out_and_pairs_anew(two):
    two.pair()
    assert two.alice.command("token", "revoke", "bob-vm").returncode == 0
    two.bob.told("link_down", reason="wrong_token")
    waiting = two.invite("--replace", "bob-vm", host=two.alice)
    joined = two.join(waiting.text, host=two.bob)
    assert joined.returncode == 0, joined.stderr
    two.linked()
    two.deliver(two.bob, two.alice)


def test_a_name_that_has_no_token_is_told_which_have(two):
    for verb in ("rotate", "revoke"):
        refused = two.bob.command("token", verb, "nobody")
        assert refused.returncode == 2
        assert "there are: bob" in refused.stderr


def shown(host: Host) -> str:
    line = next(line for line in host.command("check").stdout.splitlines() if line.startswith("identity"))
    return line.split()[-1]


def test_a_certificate_is_renewed_without_a_moment_in_which_the_peer_refuses_it(two):
    two.pair()
    old = shown(two.bob)
    done = two.bob.command("cert", "rotate")
    assert done.returncode == 0, done.stderr
    assert shown(two.bob) != old
    pins = (two.alice.directory / "peers/bob-vm.pem").read_text()
    assert pins.count("BEGIN CERTIFICATE") == 2
    two.deliver(two.alice, two.bob)
    assert two.bob.command("cert", "settle").returncode == 0
    assert (two.alice.directory / "peers/bob-vm.pem").read_text().count("BEGIN CERTIFICATE") == 1
    two.alice.stop()
    two.alice.start().ready()
    two.linked()
    two.deliver(two.alice, two.bob)
    assert not two.alice.journal("link_down", reason="wrong_certificate")
    assert len(two.alice.journal("link_down", reason="tls_failed")) == 0


def test_a_certificate_stays_while_a_peer_cannot_be_told(two):
    two.pair()
    old = shown(two.bob)
    two.alice.stop()
    refused = two.bob.command("cert", "rotate")
    assert refused.returncode == 1
    assert "alice-vm could not be told" in refused.stderr
    assert shown(two.bob) == old
    forced = two.bob.command("cert", "settle", "--force")
    assert "the peers of bob-vm but alice-vm believe SHA256:" in forced.stdout
    two.alice.start().ready()
    two.linked()
