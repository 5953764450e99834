import errno
import json
import os
import threading
import time
from collections.abc import Callable
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
import typer

from handoffd.__main__ import outcome
from handoffd.agent import AgentName, Mailbox
from handoffd.cli import invoke, send
from handoffd.cli.failure import ExitCode, Failure
from handoffd.identity import make_identity
from handoffd.protocol.signature import verify

Send = Callable[..., int]


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "pair.secret"
    path.write_text("s3cret\n")
    path.chmod(0o600)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def run(root: Path, secret: Path) -> Send:
    """Send from bob to alice with further arguments, and return the exit code."""
    app = typer.Typer()
    app.callback()(lambda: None)
    send.register(app)
    base = ["send", "--root", str(root), "--from", "bob", "--to", "alice", "--secret-file", str(secret)]
    return lambda *more: int(app([*base, *more], standalone_mode=False) or 0)


def payload(root: Path) -> dict[str, Any]:
    (path,) = (root / "handoff").iterdir()
    fields: dict[str, Any] = json.loads(path.read_bytes())
    return fields


def refusal(run: Send, *arguments: str) -> str:
    with pytest.raises(Failure) as caught:
        run(*arguments)
    assert caught.value.code == ExitCode.USAGE
    return str(caught.value)


def answering(root: Path, answer: Callable[[Mailbox, Any], object]) -> threading.Thread:
    """Let alice answer the first handoff that comes, in a thread."""
    alice = Mailbox(root, AgentName("alice"), {"*": b"s3cret"})

    def claim() -> None:
        while (found := alice.claim_next()) is None:
            threading.Event().wait(0.01)
        answer(alice, found)

    thread = threading.Thread(target=claim)
    thread.start()
    return thread


class Pauses:
    """The clock and the sleep of one who waits for an outcome: the first pause lasts until the other has answered."""

    time_ns = staticmethod(time.time_ns)

    def __init__(self, other: threading.Thread) -> None:
        self._other = other
        self._now_s = 0.0

    def monotonic(self) -> float:
        return self._now_s

    def sleep(self, seconds: float) -> None:
        self._other.join()
        self._now_s += seconds


def test_a_signed_handoff_is_written_with_every_option(run: Send, root: Path, tmp_path: Path) -> None:
    (tmp_path / "turns.json").write_text('[{"role": "user", "text": "hej"}]')
    code = run(
        *("--reason", "asked for alice", "--caller", "+46 70 123", "--ttl-s", "30", "--summary", "S"),
        *("--transcript", str(tmp_path / "turns.json"), "--field", "urgent=true", "--field", 'resume_hint="ask"'),
    )
    fields = payload(root)
    assert code == 0
    assert (fields["from_agent"], fields["to_agent"], fields["reason"]) == ("bob", "alice", "asked for alice")
    assert (fields["context_summary"], fields["resume_hint"], fields["urgent"]) == ("S", "ask", True)
    assert fields["transcript"] == [{"role": "user", "text": "hej"}]
    assert verify(next((root / "handoff").iterdir()).read_bytes(), b"s3cret")


def test_one_caller_has_one_hash(run: Send, root: Path) -> None:
    run("--caller", "+46 70 123")
    run("--caller", "+46 70 123")
    first, second = sorted(os.listdir(root / "handoff"))
    assert first.removesuffix("-0.json") == second.removesuffix("-1.json")


def test_the_hash_can_be_given(run: Send, root: Path) -> None:
    run("--caller-hash", "b275013166a65f69")
    assert os.listdir(root / "handoff") == ["b275013166a65f69-0.json"]


def test_the_transcript_can_come_from_standard_input(run: Send, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", TextIOWrapper(BytesIO(b'[{"role": "system", "text": "x"}]')))
    run("--transcript", "-")
    assert payload(root)["transcript"] == [{"role": "system", "text": "x"}]


def test_the_answer_names_the_handoff(run: Send, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("--json")
    said = json.loads(capsys.readouterr().out)
    assert said["handoff_id"] == payload(root)["handoff_id"]
    assert (root / "handoff" / said["file"]).exists()
    assert (said["from"], said["to"], said["state"]) == ("bob", "alice", "written")


def test_wait_tells_completion(run: Send, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thread = answering(root, lambda alice, claim: alice.complete(claim))
    assert run("--wait", "--json") == ExitCode.OK
    thread.join()
    assert json.loads(capsys.readouterr().out)["state"] == "completed"


def test_wait_tells_rejection(run: Send, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    thread = answering(root, lambda alice, claim: alice.reject(claim, "no line\x1b[2J free"))
    assert run("--wait") == ExitCode.FAILED
    thread.join()
    said = capsys.readouterr().out
    assert "rejected" in said
    assert "\x1b" not in said


def test_a_directory_that_is_not_there_is_not_made(run: Send, root: Path) -> None:
    root.rmdir()
    assert refusal(run) == f"{root}: there is no such directory; correct the name, or make it: mkdir {root}"
    assert not root.exists()


def test_a_directory_of_other_things_is_no_root_until_somebody_makes_it_one(run: Send, root: Path) -> None:
    (root / "photos").mkdir()
    words = refusal(run)
    assert words.startswith(f"{root} is not a directory that agents share: it holds other things, and no handoff/;")
    assert os.listdir(root) == ["photos"]
    *_, remedy = words.split(": ")
    assert remedy == f"mkdir {root}/handoff"
    (root / "handoff").mkdir()
    assert run() == ExitCode.OK


def test_a_directory_inside_of_a_root_is_not_made_one(run: Send, root: Path) -> None:
    assert run() == ExitCode.OK
    words = refusal(run, "--root", str(root / "claimed"))
    assert words == f"{root}/claimed lies inside of a shared directory; give that one: --root {root}"
    assert os.listdir(root / "claimed") == []


@pytest.mark.parametrize("name", ["handoff", "relay"])
def test_a_new_root_may_be_called_like_a_part_of_one(
    run: Send, root: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = root / name
    new.mkdir()
    assert run("--root", str(new)) == ExitCode.OK
    assert os.listdir(root) == [name]
    (root / "claimed").mkdir()
    (root / "archive").mkdir()
    monkeypatch.chdir(root / "archive")
    assert refusal(run, "--root", ".") == f". lies inside of a shared directory; give that one: --root {root}"


def test_a_root_that_may_be_entered_and_not_listed_serves(
    run: Send, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listdir = os.listdir

    def closed(place: Path) -> list[str]:
        if place == root:
            raise PermissionError(13, "Permission denied", str(place))
        return listdir(place)

    assert run() == ExitCode.OK
    monkeypatch.setattr(os, "listdir", closed)
    assert run() == ExitCode.OK


@pytest.mark.parametrize(("place", "state"), [("handoff", "written"), ("claimed", "claimed"), ("elsewhere", "taken")])
def test_wait_without_an_outcome_says_where_it_is(
    run: Send, root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, place: str, state: str
) -> None:
    (root / place).mkdir()

    def move(mailbox: Mailbox, claim: Any) -> None:
        os.rename(claim.shown, root / place / claim.hold.name)

    thread = answering(root, move)
    monkeypatch.setattr("handoffd.agent.outcome.time", Pauses(thread))
    code = run("--wait", "--timeout-s", "1")
    assert code == ExitCode.TRY_AGAIN
    assert f"no outcome yet: {state}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["--from", "Bob"], "--from"),
        (["--to", "../alice"], "--to"),
        (["--to", "bob"], "the same"),
        (["--ttl-s", "-1"], "expires_at"),
        (["--ttl-s", "nan"], "nothing was written: the lifetime, initiated_at to expires_at, is nan s"),
        (["--ttl-s", "inf"], "is inf s; it must be more than 0 and at most 604800 s"),
        (["--ttl-s", "1e300"], "is 1e+300 s; it must be more than 0 and at most 604800 s"),
        (["--caller-hash", "xyz"], "caller_hash"),
        (["--caller", "x", "--caller-hash", "b275013166a65f69"], "--caller-hash"),
        (["--field", "urgent"], "NAME=JSON"),
        (["--field", "=1"], "NAME=JSON"),
        (["--field", "urgent=yes"], "is not JSON"),
        (["--field", "hmac=1"], "hmac"),
        (["--field", "x=NaN"], "NaN"),
        (["--transcript", "/no/such/file"], "/no/such/file"),
        (["--transcript", "/etc/hostname"], "not JSON"),
        (["--root", "/no/such/root"], "/no/such/root"),
        (["--secret-file", "/no/such/secret"], "/no/such/secret"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(run: Send, root: Path, arguments: list[str], place: str) -> None:
    assert place in refusal(run, *arguments)
    assert not (root / "handoff").exists() or os.listdir(root / "handoff") == []


def test_a_transcript_that_is_no_list_is_refused(run: Send, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text("{}")
    assert "not a JSON list" in refusal(run, "--transcript", str(tmp_path / "t.json"))


def test_a_secret_that_others_can_read_is_refused(run: Send, secret: Path) -> None:
    secret.chmod(0o644)
    assert f"chmod 600 {secret}" in refusal(run)


def test_without_root_and_configuration_both_remedies_are_named(
    secret: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    send.register(app)
    missing = str(tmp_path / "none.yaml")
    with pytest.raises(Failure, match="--root DIRECTORY"):
        app(
            ["send", "--config", missing, "--from", "bob", "--to", "alice", "--secret-file", str(secret)],
            standalone_mode=False,
        )


def test_who_stops_waiting_is_told_that_the_handoff_goes_on(
    root: Path, secret: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(time, "sleep", interrupt)  # the first pause between two looks at the directories
    pair = ("--from", "bob", "--to", "alice", "--secret-file", str(secret))
    assert invoke(["send", "--root", str(root), *pair, "--wait"]) == ExitCode.INTERRUPTED
    said = capsys.readouterr().err
    assert "the handoff is written and goes on" in said
    assert payload(root)["handoff_id"] in said
    assert "nothing was changed" not in said


def test_a_wrong_option_names_the_help_of_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["send", "--adress", "x"]) == ExitCode.USAGE
    assert "see `handoffd send --help`" in capsys.readouterr().err


def test_a_full_disk_is_named_with_what_to_do(run: Send, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Mailbox, draft: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(root / "handoff/x.json"))

    monkeypatch.setattr(Mailbox, "write_handoff", full)
    with pytest.raises(Failure, match=rf"handoff/x.json: No space left on device; .* make room \(df -h {root};"):
        run()


@pytest.mark.parametrize(("sender", "warned"), [("zoe", True), ("bob", False)])
def test_an_agent_that_does_not_live_here_is_warned_of(
    tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str], sender: str, warned: bool
) -> None:
    where = tmp_path / "etc"
    made = ["init", "--dir", str(where), "--host", "bob-vm", "--root", str(tmp_path / "shared"), "--agent", "bob"]
    assert invoke([*made, "--agent", "sven"]) == 0
    capsys.readouterr()
    words = ["--from", sender, "--to", "sven", "--secret-file", str(secret)]
    assert invoke(["send", "--config", str(where / "handoffd.yaml"), *words]) == 0
    assert (f"warning: {sender} does not live on this host" in capsys.readouterr().err) is warned
    words = ["wait", "--agent", sender, "--timeout-s", "0", "--config", str(where / "handoffd.yaml")]
    assert invoke(words) == ExitCode.TRY_AGAIN
    assert (f"{sender} does not live on this host" in capsys.readouterr().err) is warned


@pytest.mark.parametrize(("to", "warned"), [("alcie", True), ("alice", False), ("sven", False)])
def test_a_receiver_that_the_configuration_does_not_know_is_warned_of(
    tmp_path: Path, secret: Path, capsys: pytest.CaptureFixture[str], to: str, warned: bool
) -> None:
    where = tmp_path / "etc"
    made = ["init", "--dir", str(where), "--host", "bob-vm", "--root", str(tmp_path / "shared")]
    pair = ["--peer", "alice-vm", "--peer-url", "https://alice-vm:8788", "--peer-agent", "alice"]
    assert invoke([*made, "--agent", "bob", "--agent", "sven", *pair]) == 0
    (where / "peers/alice-vm.pem").write_bytes(make_identity("alice-vm", time.time())[0])
    (where / "peers/alice-vm.in.sha256").write_text("0" * 64 + "\n")
    capsys.readouterr()
    words = ["--from", "bob", "--to", to, "--secret-file", str(secret)]
    assert invoke(["send", "--config", str(where / "handoffd.yaml"), *words]) == 0
    assert (f"no agent is called {to} in" in capsys.readouterr().err) is warned
    assert len(list((tmp_path / "shared/handoff").iterdir())) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--reason", "\udcff"], "--reason: it is not UTF-8; give text"),
        (["--summary", "\udcff"], "--summary: it is not UTF-8; give text"),
        (["--field", "a=NaN"], "--field a: 'NaN' is not JSON"),
        (["--field", "a=1e999"], "--field a: '1e999' is not JSON"),
        (["--field", 'a="\\ud800"'], "--field a: "),
        (["--field", "a=1", "--field", "a=2"], "--field a: given twice; keep one"),
        (["--transcript", "/dev/zero"], "--transcript /dev/zero: it has more than 1048576 bytes"),
        (["--transcript", "/dev/null"], "--transcript /dev/null: it has nothing in it"),
    ],
)
def test_what_cannot_be_sent_is_named_by_its_option(run: Send, root: Path, words: list[str], named: str) -> None:
    assert refusal(run, *words).startswith(named)
    assert not (root / "handoff").exists()


@pytest.mark.parametrize("time", ["nan", "inf", "-1"])
def test_a_time_that_is_none_is_refused_before_anything_is_written(
    root: Path, secret: Path, time: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--root", str(root), "--from", "bob", "--to", "alice", "--secret-file", str(secret)]
    assert outcome(["send", *words, "--wait", "--timeout-s", time]) == ExitCode.USAGE
    assert "--timeout-s" in capsys.readouterr().err
    assert not (root / "handoff").exists()


def test_a_file_in_the_place_of_a_root_is_told_as_one(run: Send, root: Path) -> None:
    file = root / "file"
    file.touch()
    assert refusal(run, "--root", str(file)) == f"{file}: it is no directory; correct the name"
