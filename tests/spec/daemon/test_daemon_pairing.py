"""Pairing by invite between two whole daemons, and everything that may go wrong with it (docs/pairing.md)."""

import os
import re
import signal
import stat
import subprocess
from pathlib import Path

import pytest
from tests.spec.daemon.rig import HANDOFFD, STOP_LIMIT_S, Host, ending
from tests.spec.daemon.strangers import Strangers, files

from handoffd.pairing.dial import Turned, ask
from handoffd.pairing.invite import Invite, decode, encode
from handoffd.pairing.proof import Conversation, Step

pytestmark = pytest.mark.slow


def exposed(pid: int) -> bytes:
    """What other programs of this machine may read of a process."""
    return b"".join(Path(f"/proc/{pid}/{name}").read_bytes() for name in ("cmdline", "environ"))


def facts(text: str) -> list[str]:
    """The lines that both sides print: name, fingerprint, agents."""
    return [line for line in text.splitlines() if re.match(r"  \S+ +SHA256:\S+  agents \S", line)]


# ---------------------------------------------------------------------------------------- as it should be


def test_one_string_pairs_two_running_daemons_and_handoffs_travel(two):
    before = {host.name: host.config.read_text() for host in two.hosts}
    waiting = two.invite()
    joined = two.join(waiting.text)
    assert joined.returncode == 0, joined.stderr
    code, said = waiting.ended()
    assert code == 0
    assert len(facts(said)) == 2
    assert facts(said) == facts(joined.stdout)
    assert {host.name: host.config.read_text() for host in two.hosts} == before
    two.linked()
    two.deliver(two.bob, two.alice)
    two.deliver(two.alice, two.bob)
    for host, peer in ((two.bob, "alice-vm"), (two.alice, "bob-vm")):
        assert peer in host.told("paired")["peer"]


def test_what_it_writes_has_the_right_modes_and_the_check_is_content(two):
    two.pair()
    for host, peer in ((two.bob, "alice-vm"), (two.alice, "bob-vm")):
        modes = {name: stat.S_IMODE((host.directory / name).stat().st_mode) for name in files(host)}
        assert modes.pop(f"peers/{peer}.out") == 0o600
        assert set(modes.values()) == {0o644}
        assert host.command("check").returncode == 0
        assert not [name for name in os.listdir(host.directory / "peers") if name.startswith(".")]


def test_no_secret_is_in_a_command_line_an_environment_a_log_or_a_journal(two):
    waiting = two.invite()
    secret = decode(waiting.text).secret
    seen = exposed(waiting.process.pid)
    assert two.join(waiting.text).returncode == 0
    waiting.ended()
    two.linked()
    tokens = [file.read_text().strip() for host in two.hosts for file in (host.directory / "peers").glob("*.out")]
    assert len(tokens) == 2
    for host in two.hosts:
        host.told("paired")
        seen += exposed(host.pid)
        seen += host.log().encode() + (host.root / "relay/events.jsonl").read_bytes() + waiting.errors.read_bytes()
    for word in (waiting.text, secret.hex(), *tokens):
        assert word.encode() not in seen
    assert secret not in seen


def test_the_string_comes_from_a_file_too(two):
    waiting = two.invite()
    (two.alice.directory / "invite").write_text(waiting.text + "\n")
    joined = two.join("", "--file", str(two.alice.directory / "invite"))
    assert (joined.returncode, waiting.ended()[0]) == (0, 0)


def test_a_joining_host_whose_daemon_is_down_is_paired_too(stopped_two):
    stopped_two.bob.start().ready()
    waiting = stopped_two.invite()
    joined = stopped_two.join(waiting.text)
    assert joined.returncode == 0, joined.stderr
    assert "handoffd does not run here yet" in joined.stdout
    assert "its daemon does not run, so this could not be tried" in waiting.ended()[1]
    stopped_two.alice.start().ready()
    stopped_two.linked()
    stopped_two.deliver(stopped_two.bob, stopped_two.alice)


def test_a_pairing_is_made_anew_only_when_asked_for(two):
    two.pair()
    refused = two.bob.command("invite", "alice-vm")
    assert refused.returncode == 1
    assert "handoffd invite --replace alice-vm" in refused.stderr
    before = files(two.bob)
    waiting = two.invite("--replace", "alice-vm")
    assert two.join(waiting.text).returncode == 0
    assert waiting.ended()[0] == 0
    assert files(two.bob)["peers/alice-vm.out"] != before["peers/alice-vm.out"]
    two.linked()
    two.deliver(two.bob, two.alice)


def test_a_host_that_cannot_be_called_dials_in(two):
    waiting = two.invite()
    joined = two.join(waiting.text, "--no-url")
    assert joined.returncode == 0, joined.stderr
    assert "it cannot call this host, which does all the calling" in joined.stdout
    assert "it dials in" in waiting.ended()[1]
    stanza = (two.bob.directory / "peers.d/alice-vm.yaml").read_text()
    assert "url:" not in stanza
    assert "alice-vm  dials in" in two.bob.command("check").stdout
    two.deliver(two.alice, two.bob)
    two.deliver(two.bob, two.alice)


def test_a_host_whose_address_leads_nowhere_while_it_runs_dials_in(two):
    two.alice.edit("address: 127.0.0.1, port: " + str(two.alice.tls_port), "address: 127.0.0.2, port: 9")
    waiting = two.invite()  # what alice-vm says of itself is no longer where its daemon answers
    assert two.join(waiting.text).returncode == 0
    assert "cannot be called from here, so it will dial in" in waiting.ended()[1]


def test_a_spoke_pairs_with_its_hub(two):
    waiting = two.invite()
    assert two.join(waiting.text, "--hub").returncode == 0
    assert waiting.ended()[0] == 0
    stanza = (two.alice.directory / "peers.d/bob-vm.yaml").read_text()
    assert 'agents: [bob, "*"]' in stanza
    assert "relay: true" in stanza
    assert "relay" not in (two.bob.directory / "peers.d/alice-vm.yaml").read_text()
    two.linked()
    two.deliver(two.bob, two.alice)


# ---------------------------------------------------------------------------------------- as it should not be


def test_one_host_is_not_two_peers(two):
    two.pair()
    two.alice.edit("host: alice-vm", "host: carol-vm")
    two.alice.edit("agents: [alice]", "agents: [carol]")
    two.alice.edit("agent_tokens: {alice: tokens/alice.sha256}", "agent_tokens: {}")
    two.alice.add("identity: {certificate: identity/alice-vm.pem, key: identity/alice-vm.key}\n")
    before = [files(host) for host in two.hosts]
    waiting = two.invite("carol-vm")
    joined = two.join(waiting.text, "--replace")
    assert joined.returncode == 1
    assert "is the certificate of peer alice-vm" in joined.stderr + waiting.ended()[1]
    assert files(two.bob) == before[0]


def test_a_second_use_fails_on_both_sides(two):
    waiting = two.invite()
    assert two.join(waiting.text).returncode == 0
    waiting.ended()
    before = [files(host) for host in two.hosts]
    again = two.join(waiting.text)
    assert again.returncode == 1
    assert "it was used already" in again.stderr
    assert two.bob.told("invite_refused", reason="used")["peer"] == "alice-vm"
    assert [files(host) for host in two.hosts] == before
    two.linked()
    two.deliver(two.bob, two.alice)


def test_an_expired_invite_fails_on_both_sides(two):
    waiting = two.invite("alice-vm", "--expires", "10")
    code, said = waiting.ended()
    assert (code, "has expired" in said) == (75, True)
    late = two.join(waiting.text)
    assert late.returncode == 1
    assert "it has expired" in late.stderr
    assert two.bob.told("invite_refused", reason="expired")
    assert not any(map(files, two.hosts))


@pytest.mark.parametrize("at", [12, -5, -20])
def test_a_mistyped_invite_fails_before_anything_is_sent(two, at):
    waiting = two.invite()
    other = "A" if waiting.text[at] != "A" else "B"
    wrong = waiting.text[:at] + other + waiting.text[at:][1:]
    joined = two.join(wrong)
    assert joined.returncode == 2
    assert "mistyped or cut" in joined.stderr
    assert not any(map(files, two.hosts))
    assert two.join(waiting.text).returncode == 0


def test_a_mistyped_secret_is_told_to_the_inviting_host(two):
    waiting = two.invite()
    joined = two.join(waiting.text[:-12] + ("A" if waiting.text[-12] != "A" else "B") + waiting.text[-11:])
    assert "(bob-vm was told)" in joined.stderr
    assert "mistyped" in two.bob.told("invite_refused")["detail"]
    waiting.said("came with a mistyped invite")


def test_an_invite_dies_after_a_few_wrong_proofs_loudly(two):
    waiting = two.invite()
    made = decode(waiting.text)
    forged = {"invite": made.ident, **Conversation(b"guess guess gues").say(Step.JOIN, {})}
    for _ in range(5):
        with pytest.raises(Turned, match="proof is wrong"):
            ask(made.place.urls[0], [made.place.digest], "/api/v1/pair", forged)
    code, said = waiting.ended()
    assert code == 75
    assert "wrong proof" in said
    assert "dead after too many wrong tries" in said
    assert two.bob.told("invite_ended", reason="wrong_tries")
    assert "dead after 5 wrong tries" in two.join(waiting.text).stderr
    assert not any(map(files, two.hosts))


def test_an_invite_to_another_host_is_never_answered(two):
    """An address that leads elsewhere: nothing is sent, for the certificate is another."""
    waiting = two.invite()
    made = decode(waiting.text)
    elsewhere = (f"https://127.0.0.1:{two.alice.tls_port}",)
    text = encode(Invite(type(made.place)(made.place.host, elsewhere, made.place.digest), made.expires_s, made.secret))
    joined = two.join(text)
    assert joined.returncode == 69
    assert "shows another certificate" in joined.stderr
    assert "nothing was sent or changed" in joined.stderr


def test_an_invite_for_another_name_is_refused_to_both(two):
    waiting = two.invite("carol-vm")
    joined = two.join(waiting.text)
    assert joined.returncode == 1
    words = "this invite is for carol-vm, and alice-vm came with it"
    assert words in joined.stderr
    waiting.said(words)
    assert not any(map(files, two.hosts))


def test_an_agent_that_lives_on_both_is_refused_to_both(place):
    bob, alice = Host(place / "a", "bob-vm", "bob"), Host(place / "b", "alice-vm", "bob")
    two = Strangers.__new__(Strangers)
    two.bob, two.alice, two.hosts, two.open = bob, alice, (bob, alice), []
    for host in two.hosts:
        host.init()
    with ending(*two.hosts):
        two.start()
        waiting = two.invite()
        joined = two.join(waiting.text)
        assert joined.returncode == 1
        assert "bob also lives at" in joined.stderr
        waiting.said("bob also lives at")
        assert not any(map(files, two.hosts))
        two.end()


def test_without_a_daemon_there_is_no_invite(stopped_two):
    refused = stopped_two.bob.command("invite", "alice-vm")
    assert refused.returncode == 69
    assert "no daemon runs" in refused.stderr


def test_a_peer_written_by_hand_is_left_to_its_hand(two):
    two.pair()
    for host, peer in ((two.bob, "alice-vm"), (two.alice, "bob-vm")):
        stanza = host.directory / "peers.d" / f"{peer}.yaml"
        host.add(stanza.read_text().partition("peers:")[2].join(["peers:", ""]))
        stanza.unlink()
        host.signal(signal.SIGHUP)
    for words in (("invite", "--replace", "alice-vm"), ("unpair", "alice-vm", "--yes")):
        refused = two.bob.command(*words)
        assert refused.returncode == 1
        assert f"alice-vm is configured by hand in {two.bob.config}" in refused.stderr


# ---------------------------------------------------------------------------------------- cut short


def test_the_daemon_ends_while_an_invite_is_open(two):
    waiting = two.invite()
    assert two.bob.stop() == 0
    code, said = waiting.ended()
    assert code == 69
    assert "the daemon has ended, and the invite with it" in said
    gone = two.join(waiting.text)
    assert gone.returncode == 69
    assert "nothing was sent or changed" in gone.stderr
    two.bob.start().ready()
    unknown = two.join(waiting.text)
    assert unknown.returncode == 1
    assert "not known here" in unknown.stderr
    assert not any(map(files, two.hosts))
    two.pair()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_waiting_command_that_ends_withdraws_its_invite(two, number):
    waiting = two.invite()
    waiting.said("Ctrl-C withdraws it")  # it may not wait yet, and then a killed one is missed only after a while
    waiting.process.send_signal(number)
    waiting.ended()
    two.bob.told("invite_ended", reason="withdrawn")
    late = two.join(waiting.text)
    assert "withdrawn" in late.stderr
    assert not any(map(files, two.hosts))
    two.pair()


CUT = """
import os, signal, sys
from handoffd.cli import {module} as command
from handoffd.cli.side import Side
from handoffd.__main__ import outcome

def cut(self, *arguments, **named):
    if {when!r} == "after":
        kept(self, *arguments, **named)
    os.kill({pid}, signal.SIGKILL)
    {then}

kept = {target}
{target} = cut
sys.exit(outcome(sys.argv[1:]))
"""


def cut_short(host: Host, words: list[str], text: str, **how: object) -> "subprocess.CompletedProcess[str]":
    program = CUT.format(**{"pid": "os.getpid()", "then": "", **how})
    command = [HANDOFFD[0], "-P", "-c", program, *words, "--config", str(host.config)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=STOP_LIMIT_S * 2, check=False)


@pytest.mark.parametrize(
    ("target", "when"),
    [
        ("command.Joining._offered", "before"),
        ("command.Joining._offered", "after"),
        ("command.Joining._keep", "after"),
        ("command.Joining._confirm", "after"),
    ],
)
def test_a_joining_command_that_is_killed_is_run_again(two, target, when):
    waiting = two.invite()
    killed = cut_short(two.alice, ["join"], waiting.text, module="join", target=target, when=when)
    assert killed.returncode == -signal.SIGKILL
    again = two.join(waiting.text)
    assert again.returncode == 0, again.stderr
    assert waiting.ended()[0] == 0
    two.linked()
    two.deliver(two.bob, two.alice)
    two.deliver(two.alice, two.bob)
    assert "not confirmed" not in (two.alice.directory / "peers.d/bob-vm.yaml").read_text()


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_inviting_command_that_is_killed_in_the_last_step_leaves_no_half_that_nobody_hears_of(two, when):
    program = CUT.format(module="invite", target="Side.keep", when=when, pid="os.getpid()", then="")
    command = [HANDOFFD[0], "-P", "-c", program, "invite", "alice-vm", "--config", str(two.bob.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as inviting:
        assert inviting.stdout is not None
        text = inviting.stdout.readline()
        joined = two.join(text)
        assert inviting.wait(STOP_LIMIT_S) == -signal.SIGKILL
    assert joined.returncode in (1, 75)
    assert "`handoffd invite` on this host did not answer" in joined.stderr
    # Whatever is there: a new invite makes it whole.
    waiting = two.invite(*(["--replace"] if when == "after" else []), "alice-vm")
    assert two.join(waiting.text).returncode == 0
    assert waiting.ended()[0] == 0
    two.linked()
    two.deliver(two.bob, two.alice)


def test_an_inviting_daemon_that_is_killed_in_the_last_step_is_told_apart_by_another_run(two):
    program = CUT.format(
        module="invite", target="Side.reload", when="before", pid=two.bob.pid, then="return kept(self)"
    )
    command = [HANDOFFD[0], "-P", "-c", program, "invite", "alice-vm", "--config", str(two.bob.config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as inviting:
        assert inviting.stdout is not None
        text = inviting.stdout.readline()
        joined = two.join(text)
        _, said = inviting.communicate(timeout=STOP_LIMIT_S)
    assert inviting.returncode == 69
    assert "this host has kept its half of the pairing, and alice-vm was not told" in said
    assert joined.returncode == 75
    assert "run the same command again" in joined.stderr
    two.bob.exit_code()
    two.bob.start().ready()
    again = two.join(text)
    assert again.returncode == 0, again.stderr
    assert "now it is complete" in again.stdout
    two.linked()
    two.deliver(two.bob, two.alice)
    two.deliver(two.alice, two.bob)


def test_a_configuration_that_was_broken_meanwhile_stops_the_pairing_until_it_is_mended(two):
    waiting, good = two.invite(), two.bob.config.read_text()
    two.bob.add("agnets: [bob]\n")
    joined = two.join(waiting.text)
    assert joined.returncode == 1
    assert "agnets: is not a known key" in joined.stderr
    waiting.said("agnets: is not a known key")
    assert not any(map(files, two.hosts))
    two.bob.config.write_text(good)
    assert two.join(waiting.text).returncode == 0
    assert waiting.ended()[0] == 0


def test_a_half_that_cannot_be_kept_is_undone_on_both_sides(two):
    waiting = two.invite()
    (two.bob.directory / "peers").mkdir(exist_ok=True)
    (two.bob.directory / "peers/alice-vm.out").symlink_to("nowhere")  # stands in for a full disk
    joined = two.join(waiting.text)
    assert joined.returncode == 1
    assert "bob-vm could not keep its half" in joined.stderr
    code, said = waiting.ended()
    assert code == 1
    assert "this host could not keep its half" in said
    assert [name for host in two.hosts for name in files(host) if not name.endswith(".out")] == []
    assert two.bob.told("invite_ended", reason="failed")


# ---------------------------------------------------------------------------------------- parting


def test_two_hosts_part_and_both_are_told(two):
    two.pair()
    done = two.bob.command("unpair", "alice-vm", "--yes")
    assert done.returncode == 0, done.stderr
    assert "on alice-vm, which was told: handoffd unpair bob-vm" in done.stdout
    assert files(two.bob) == {}
    assert two.bob.told("unpaired")["peer"] == "alice-vm"
    assert "handoffd unpair bob-vm" in two.alice.told("unpaired_by_peer")["detail"]
    down = two.alice.told("link_down", reason="unpaired")["detail"]
    assert "bob-vm has ended the pairing" in down
    assert "`handoffd unpair PEER`; or pair anew" in down
    assert two.alice.command("unpair", "bob-vm", "--yes").returncode == 0
    two.pair()
    two.deliver(two.bob, two.alice)


def test_parting_with_handoffs_open_needs_force_and_says_what_becomes_of_them(two):
    two.pair()
    tid = two.bob.hand_over("alice")
    two.alice.published(tid)
    refused = two.bob.command("unpair", "alice-vm", "--yes")
    assert refused.returncode == 1
    assert "1 sent there with alice-vm are open (handoffd ls --peer alice-vm)" in refused.stderr
    assert files(two.bob)
    there = two.alice.command("unpair", "bob-vm", "--yes")
    assert "1 received from there" in there.stderr
    forced = two.bob.command("unpair", "alice-vm", "--yes", "--force")
    assert forced.returncode == 0, forced.stderr
    assert "stays in custody" in forced.stdout
    two.alice.archive(two.alice.claim(tid))  # what was published is still one agent's to claim
    two.alice.ended(tid)


def test_parting_is_asked_for(two):
    two.pair()
    before = files(two.bob)
    assert two.bob.command("unpair", "alice-vm").returncode != 0
    assert two.bob.command("unpair", "nobody-vm", "--yes").returncode == 2
    assert files(two.bob) == before
