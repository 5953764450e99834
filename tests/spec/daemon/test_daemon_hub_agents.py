"""Agents without the shared directory: `send`, `listen`, `wait`, `claim`, `complete` and `reject` with `--hub`."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.spec.daemon.rig import HANDOFFD, SECRET, STOP_LIMIT_S, Host, ending, payload, until

from handoffd.agent.hub import Hub, Refused, Unreachable, Untrusted
from handoffd.identity import fingerprint

pytestmark = pytest.mark.slow


class Remote:
    """An agent on a machine of its own: the hub's URL, its token, the pair's secret."""

    def __init__(self, host: Host, agent: str, directory: Path) -> None:
        self.host, self.agent, self.directory = host, agent, directory
        directory.mkdir()
        for name, text in (("token", host.token(agent)), ("secret", SECRET.decode())):
            (directory / name).write_text(text)
            (directory / name).chmod(0o600)
        self.url = f"http://127.0.0.1:{host.local_port}"
        self._begun: list[subprocess.Popen[str]] = []

    def words(self, verb: str, *more: str) -> list[str]:
        named = ["--hub", self.url, "--token-file", str(self.directory / "token")]
        return [*HANDOFFD, verb, *more, *named]

    def run(self, verb: str, *more: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "XDG_STATE_HOME": str(self.directory / "state")}
        return subprocess.run(
            self.words(verb, *more), capture_output=True, text=True, timeout=60, check=False, env=environment
        )

    def begin(self, verb: str, *more: str) -> "subprocess.Popen[str]":
        environment = {**os.environ, "XDG_STATE_HOME": str(self.directory / "state")}
        begun = subprocess.Popen(
            self.words(verb, *more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._begun.append(begun)
        return begun

    def end(self) -> None:
        for begun in self._begun:
            if begun.poll() is None:
                begun.kill()
            begun.communicate()

    def send(self, to: str, *more: str) -> "subprocess.CompletedProcess[str]":
        return self.run("send", "--from", self.agent, "--to", to, "--secret-file", self.secret, *more)

    @property
    def secret(self) -> str:
        return str(self.directory / "secret")

    def listen(self, code: str, *more: str) -> "subprocess.Popen[str]":
        program = self.directory / "work.py"
        program.write_text(code)
        command = f"{sys.executable} {program}"
        return self.begin("listen", "--agent", self.agent, "--secret-file", self.secret, "--exec", command, *more)

    def memory(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "state").rglob("*.json"))


@pytest.fixture
def host(place: Path) -> Iterator[Host]:
    host = Host(place / "a", "hub-vm", "bob", "alice")
    host.init()
    with ending(host):
        yield host.start().ready()


@pytest.fixture
def bob(host: Host, tmp_path: Path) -> Iterator[Remote]:
    bob = Remote(host, "bob", tmp_path / "bob")
    yield bob
    bob.end()


@pytest.fixture
def alice(host: Host, tmp_path: Path) -> Iterator[Remote]:
    alice = Remote(host, "alice", tmp_path / "alice")
    yield alice
    alice.end()


def sent(bob: Remote, *more: str) -> dict[str, Any]:
    done = bob.send("alice", "--json", *more)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_handoff_from_send_to_complete(bob: Remote, alice: Remote) -> None:
    told = sent(bob, "--reason", "asked for alice", "--summary", "grüezi")
    assert told["state"] in ("stored", "published")
    waited = alice.run("wait", "--agent", "alice", "--json")
    assert waited.returncode == 0
    assert json.loads(waited.stdout)["tid"] == told["tid"]
    claimed = alice.run("claim", "--secret-file", alice.secret)
    assert claimed.returncode == 0, claimed.stderr
    fields = json.loads(claimed.stdout)
    assert (fields["handoff_id"], fields["context_summary"]) == (told["handoff_id"], "grüezi")
    final = alice.directory / "final"
    final.write_text(json.dumps({**fields, "transcript": [{"role": "assistant", "text": "done"}]}))
    for _ in range(2):  # again is no error
        done = alice.run("complete", told["tid"], "--final", str(final))
        assert (done.returncode, done.stdout) == (0, f"{told['tid'][:12]} completed\n")
    record = bob.host.ended(told["tid"])
    assert record["artefact"]["size"] == final.stat().st_size


def test_send_waits_for_the_outcome(bob: Remote, alice: Remote) -> None:
    listener = alice.listen("import sys; sys.exit('busy' if 'no' in sys.stdin.read() else 0)")
    done = bob.send("alice", "--reason", "yes", "--wait")
    assert (done.returncode, done.stdout.splitlines()[1]) == (0, "completed  completed")
    done = bob.send("alice", "--reason", "no", "--wait", "--json")
    assert done.returncode == 1
    told = json.loads(done.stdout)
    assert (told["state"], told["detail"]) == ("rejected", "rejected_by_agent: exit 1: busy")
    listener.terminate()
    _, complaints = listener.communicate(timeout=60)
    assert listener.returncode == 0
    assert "completed" in complaints
    assert alice.memory() == []


def test_nobody_answers_in_time(bob: Remote, alice: Remote) -> None:
    done = bob.send("alice", "--wait", "--timeout-s", "3")
    assert done.returncode == 75
    assert "no outcome yet: published" in done.stderr
    assert alice.run("claim").returncode == 0
    assert alice.run("claim").returncode == 75
    assert alice.run("wait", "--agent", "alice", "--timeout-s", "0.3").returncode == 75


def test_a_claim_is_repeated_with_its_nonce_alone(bob: Remote, alice: Remote) -> None:
    told = sent(bob)
    first = alice.run("claim", told["handoff_id"], "--nonce", "n1")
    again = alice.run("claim", told["handoff_id"], "--nonce", "n1")
    assert first.returncode == again.returncode == 0
    assert first.stdout == again.stdout
    other = alice.run("claim", told["tid"])
    assert other.returncode == 1
    assert "already_claimed" in other.stderr


def test_a_rejection_carries_its_words(bob: Remote, alice: Remote) -> None:
    told = sent(bob)
    assert alice.run("claim").returncode == 0
    done = alice.run("reject", told["handoff_id"], "--reason", "line busy")
    assert (done.returncode, done.stdout) == (0, f"{told['tid'][:12]} rejected\n")
    assert bob.host.ended(told["tid"])["detail"] == "line busy"
    assert alice.run("complete", told["tid"]).returncode == 1


def test_what_is_not_signed_with_the_secret_is_rejected_and_not_printed(bob: Remote, alice: Remote) -> None:
    told = sent(bob)
    Path(alice.secret).write_text("another secret")
    done = alice.run("claim", "--secret-file", alice.secret)
    assert (done.returncode, done.stdout) == (1, "")
    assert "bad_hmac" in bob.host.ended(told["tid"])["detail"]


def test_a_listener_that_was_killed_rejects_its_claim_and_never_runs_it_again(bob: Remote, alice: Remote) -> None:
    runs = alice.directory / "runs"
    code = f"import os, time\nopen({str(runs)!r}, 'a').write(f'{{os.getpid()}}\\n')\ntime.sleep(600)\n"
    listener = alice.listen(code)
    told = sent(bob)
    until("the command runs", lambda: runs.exists() and runs.read_text().endswith("\n"))
    assert [name[:64] for name in alice.memory()] == [told["tid"]]
    listener.kill()
    second = alice.listen(code)
    os.kill(int(runs.read_text()), signal.SIGKILL)  # it outlived its listener, and its claim was left alone
    assert "listener_interrupted" in bob.host.ended(told["tid"])["detail"]
    until("it is forgotten", lambda: alice.memory() == [])
    assert len(runs.read_text().splitlines()) == 1
    second.terminate()
    assert second.wait(60) == 0


def test_a_listener_lives_through_a_restart_of_the_hub(bob: Remote, alice: Remote) -> None:
    listener = alice.listen("pass", "--json")
    assert bob.send("alice", "--wait").returncode == 0
    bob.host.stop()
    bob.host.start().ready()
    assert bob.send("alice", "--wait").returncode == 0
    listener.terminate()
    out, complaints = listener.communicate(timeout=60)
    assert [json.loads(line)["state"] for line in out.splitlines()] == ["completed", "completed"]
    assert "Traceback" not in complaints


def test_an_idle_listener_and_an_idle_wait_stop_at_once(alice: Remote) -> None:
    listener = alice.listen("pass")
    waiting = alice.begin("wait", "--agent", "alice")
    until("both poll", lambda: alice.host.clients() == 2)
    listener.terminate()
    waiting.send_signal(signal.SIGINT)
    assert listener.wait(STOP_LIMIT_S) == 0
    assert waiting.wait(STOP_LIMIT_S) == 130


@pytest.mark.parametrize(
    ("url", "token", "code", "words"),
    [
        ("http://127.0.0.1:1", "", 69, "no answer from 127.0.0.1:1: Connection refused; does the daemon run there,"),
        ("", "x" * 43, 77, "is this the token of the agent"),
        ("http://example.org:8788", "", 2, "to this machine alone"),
        ("ftp://127.0.0.1", "", 2, "write scheme, host and port alone"),
    ],
)
def test_what_cannot_work_is_told_with_its_remedy(
    alice: Remote, monkeypatch: pytest.MonkeyPatch, url: str, token: str, code: int, words: str
) -> None:
    alice.url = url or alice.url
    if token:
        (alice.directory / "token").write_text(token)
    command = [word for word in alice.words("claim") if word]
    monkeypatch.setattr("handoffd.cli.claim.PATIENCE_S", 0.0)
    done = in_this_process(command)
    assert done[0] == code
    assert words in done[1]


@pytest.mark.parametrize("held", [b"one-token\nanother-token\n", b"t\xc3\xb6ken", b"a\0b", b"two words", b" \n"])
def test_a_file_that_does_not_hold_one_token_is_refused_and_never_printed(tmp_path: Path, held: bytes) -> None:
    file = tmp_path / "token"
    file.write_bytes(held)
    file.chmod(0o600)
    hub = ["--hub", "http://127.0.0.1:1", "--token-file", str(file)]
    code, said = in_this_process([*HANDOFFD, "wait", "--agent", "alice", *hub])
    assert code == 2
    assert said == (
        f"handoffd: --token-file: {file}: it must hold the token alone, on one line, "
        "as `handoffd init` or `token` wrote it\n"
    )


def in_this_process(command: list[str]) -> tuple[int, str]:
    import contextlib
    import io

    from handoffd.cli import invoke

    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = invoke(command[len(HANDOFFD) :])
    return code, said.getvalue()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["claim"], "claim needs --hub URL"),
        (["complete", "x"], "complete needs --hub URL"),
        (["claim", "--hub", "https://x:1"], "--hub needs --token-file"),
        (["wait", "--agent", "a", "--hub", "https://x:1", "--token-file", "x", "--root", "x"], "give one"),
        (["wait", "--agent", "alice", "--token-file", "x"], "go with --hub URL"),
        (["claim", "--hub", "https://x:1", "--token-file", "/nowhere"], "there is no such file"),
    ],
)
def test_options_that_belong_together_are_asked_for(words: list[str], complaint: str) -> None:
    code, said = in_this_process([*HANDOFFD, *words])
    assert code == 2
    assert complaint in said


# ------------------------------------------------------------------------------------------------- TLS


def test_the_hub_is_known_by_its_fingerprint_or_its_certificate(host: Host) -> None:
    url, pem = f"https://127.0.0.1:{host.tls_port}", host.directory / "identity/hub-vm.pem"
    hub = Hub(url, host.token("alice"), fingerprint=fingerprint(pem.read_text()))
    assert hub.poll(0.0) is None
    hub.close()
    with pytest.raises(Untrusted, match="give its --fingerprint or --ca"):
        Hub(url, host.token("alice")).poll(0.0)
    with pytest.raises(Untrusted, match="not the one named by --fingerprint"):
        Hub(url, host.token("alice"), fingerprint="SHA256:" + ":".join(["00"] * 32)).poll(0.0)
    with pytest.raises(Untrusted, match="IP address mismatch"):
        Hub(url, host.token("alice"), ca=pem).poll(0.0)
    assert host.journal("claimed") == []


def test_a_token_is_an_agents_own(host: Host) -> None:
    hub = Hub(f"http://127.0.0.1:{host.local_port}", host.token("bob"))
    data = payload("alice", "bob")
    with pytest.raises(Refused) as refused:
        hub.start(data, __import__("hashlib").sha256(data).hexdigest(), 0.0)
    assert (refused.value.status, refused.value.reason) == (403, "forbidden")
    hub.close()
    host.stop()
    with pytest.raises(Unreachable):
        hub.poll(0.0)


@pytest.mark.parametrize("verb", ["wait", "listen"])
def test_a_token_of_another_agent_claims_and_rejects_nothing(bob: Remote, alice: Remote, verb: str) -> None:
    told = sent(bob)
    work = ["--exec", "true", "--once", "--secret-file", alice.secret] if verb == "listen" else []
    done = alice.run(verb, "--agent", "bob", *work)
    assert (done.returncode, done.stdout) == (77, "")
    assert "This token is another agent's" in done.stderr
    assert json.loads(alice.run("wait", "--agent", "alice", "--json").stdout)["tid"] == told["tid"]


def test_a_claim_whose_bytes_were_lost_tells_how_to_get_them_again(bob: Remote, alice: Remote) -> None:
    told = sent(bob)
    with open("/dev/full", "wb") as full:
        lost = subprocess.run(
            alice.words("claim"), stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False
        )
    assert lost.returncode == 1
    (line,) = [line for line in lost.stderr.splitlines() if "once more" in line]
    words = line.partition("handoffd claim ")[2].split()
    assert words[:2] == [told["tid"], "--nonce"]
    again = alice.run("claim", *words[:3])
    assert (again.returncode, json.loads(again.stdout)["handoff_id"]) == (0, told["handoff_id"])


@pytest.mark.parametrize("nonce", ["", "a b", "ü", "x" * 65])
def test_a_nonce_that_is_none_is_refused_before_anything_is_asked(bob: Remote, alice: Remote, nonce: str) -> None:
    sent(bob)
    done = alice.run("claim", "--nonce", nonce)
    assert (done.returncode, done.stderr[:19]) == (2, "handoffd: --nonce: ")
    assert alice.run("wait", "--agent", "alice").returncode == 0


def test_final_bytes_that_name_no_handoff_are_refused(alice: Remote) -> None:
    (alice.directory / "final").write_text("{}")
    for final in (str(alice.directory / "final"), "/dev/zero"):
        done = alice.run("complete", "0" * 64, "--final", final)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)
        assert done.stderr.startswith(f"handoffd: --final {final}: ")
