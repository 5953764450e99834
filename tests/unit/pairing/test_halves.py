"""The last step of a pairing, cut short or answered with an error: nobody says that nothing was changed when it was."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from handoffd import __version__
from handoffd.cli import invite as inviting
from handoffd.cli import join as joining
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.invite import check_urls
from handoffd.cli.join import Joining
from handoffd.cli.side import RELOAD_S, Half, Side, invite_words
from handoffd.cli.uninterrupted import ended_as_by_ctrl_c, uninterrupted
from handoffd.hub.invites import ANSWER_S
from handoffd.identity import make_identity
from handoffd.pairing.dial import NoAnswer, Turned
from handoffd.pairing.invite import Invite, Place
from handoffd.pairing.proof import Conversation, Step
from handoffd.pairing.store import Before, Kept, Store
from handoffd.pairing.terms import Terms
from handoffd.pairing.trust import digest_of_token

NOW_S = 1_790_000_000.0
SECRET = bytes(16)
MADE = Invite(Place("bob-vm", ("https://bob-vm:8788",), bytes(32)), 1_790_000_600, SECRET)


class OwnSide:
    """A host whose half of the pairing is one file; `reloads` are the outcomes of its next reloads."""

    def __init__(self, base: Path, host: str) -> None:
        self.config = SimpleNamespace(host=host, root=base, peers={})
        self.stanza_file, self.key = base / "peer.yaml", base / "host.key"
        self.key.write_text("private")
        self.reloads: list[Any] = []
        self.reloaded = 0

    def terms(self, token: str, urls: list[str]) -> Terms:
        certificate = make_identity(self.config.host, NOW_S)[0].decode()
        agent = self.config.host.partition("-")[0]
        return Terms(self.config.host, (agent,), tuple(urls), certificate, digest_of_token(token), __version__)

    def check(self, half: Half) -> None:
        """See nothing wrong."""

    def store(self) -> Store:
        return Store(self.key)

    def stanza(self, peer: str) -> Path:
        return self.stanza_file

    def is_unfinished(self, peer: str) -> bool:
        return Side.is_unfinished(self, peer)  # type: ignore[arg-type]

    def keep(self, half: Half) -> list[Before]:
        return self.store().put([Kept(self.stanza_file, b"half")])

    def reload(self) -> list[str]:
        self.reloaded += 1
        outcome = self.reloads.pop(0) if self.reloads else []
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def note(self, event: str, peer: str, detail: str) -> None:
        """Forget it."""


class Box:
    """The daemon between `invite` and a joining host that says join and confirm; `told` is what the command said."""

    def __init__(self, joiner: Terms) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        self.interrupts_reply = False
        self._talk, self._joiner = Conversation(SECRET), joiner
        self._knocks = ["join", "confirm"]

    def ask(self, root: Path, method: str, path: str, fields: dict[str, Any], **_: object) -> dict[str, Any]:
        verb = path.rpartition("/")[2]
        if verb == "next":
            return {"came": {"knock": self._knock(self._knocks.pop(0)), "origin": "192.0.2.9"}}
        self.told.append((verb, fields))
        if verb == "reply" and fields["answer"].get("step") == Step.OFFER:
            self._talk.hear(Step.OFFER, fields["answer"])
        elif verb == "reply" and self.interrupts_reply:
            raise KeyboardInterrupt
        return {}

    def _knock(self, step: str) -> dict[str, Any]:
        if step == "join":
            return self._talk.say(Step.JOIN, {**self._joiner.fields(), "running": True, "sure": False})
        return self._talk.say(Step.CONFIRM, {"host": self._joiner.host})

    def ended(self) -> list[str]:
        return [fields["word"] for verb, fields in self.told if verb == "end"]


@pytest.fixture
def side(tmp_path: Path) -> OwnSide:
    return OwnSide(tmp_path, "bob-vm")


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    (tmp_path / "alice").mkdir()
    made = Box(OwnSide(tmp_path / "alice", "alice-vm").terms("a token", []))
    monkeypatch.setattr(inviting, "ask", made.ask)
    return made


def invite(side: OwnSide, monkeypatch: pytest.MonkeyPatch) -> Failure:
    """Run the command from where its configuration is loaded; return how it failed."""
    whole = SimpleNamespace(**{name: getattr(side, name) for name in ("config", "key", "terms", "check", "store")})
    whole.keep, whole.reload, whole.note = side.keep, side.reload, side.note
    whole.place, whole.urls = lambda urls: MADE.place, lambda: list(MADE.place.urls)
    monkeypatch.setattr(inviting, "Side", lambda config: whole)
    monkeypatch.setattr(inviting, "load", lambda path: None)
    monkeypatch.setattr(inviting, "locate", lambda config, environment: None)
    monkeypatch.setattr(inviting, "_check", lambda *given: None)
    monkeypatch.setattr(inviting.secrets, "token_bytes", lambda number: SECRET)
    with pytest.raises(Failure) as caught:
        inviting.invite("alice-vm", None, 600.0, False, False, None)
    return caught.value


def test_an_interrupt_while_the_inviting_half_is_taken_up_undoes_it(side, box, monkeypatch):
    side.reloads = [KeyboardInterrupt()]
    failure = invite(side, monkeypatch)
    assert "nothing was changed here" in str(failure)
    assert not side.stanza_file.exists()
    assert side.reloaded == 2  # the second lets the daemon forget it
    assert box.ended() == ["withdrawn"]  # by which the joining side is refused, and undoes its own


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_the_command_in_its_first_moment_withdraws_the_invite(side, box, monkeypatch, number):
    usual = {  # whoever runs the tests may have them ignored
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {each: signal.signal(each, handler) for each, handler in usual.items()}

    def ask(root: Path, method: str, path: str, fields: dict[str, Any], **more: object) -> dict[str, Any]:
        told = box.ask(root, method, path, fields, **more)
        if path.endswith("/open"):
            os.kill(os.getpid(), number)  # the daemon has opened it, and the command has not heard so
        return told

    monkeypatch.setattr(inviting, "ask", ask)
    try:
        failure = invite(side, monkeypatch)
        assert {each: signal.getsignal(each) for each in usual} == usual
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
    assert "the invite is withdrawn" in str(failure)
    assert failure.code is ExitCode.INTERRUPTED
    assert [verb for verb, _ in box.told] == ["open", "end"]
    assert box.ended() == ["withdrawn"]


def test_a_signal_that_whoever_started_it_has_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with ended_as_by_ctrl_c(), uninterrupted():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_an_interrupt_that_the_daemon_does_not_take_up_is_told_as_such(side, box, monkeypatch):
    side.reloads = [KeyboardInterrupt(), Failure("no answer", ExitCode.UNREACHABLE)]
    failure = invite(side, monkeypatch)
    assert "the daemon has not taken that up: no answer" in str(failure)
    assert not side.stanza_file.exists()


def test_an_interrupt_after_the_inviting_half_is_in_force_says_so(side, box, monkeypatch):
    box.interrupts_reply = True
    failure = invite(side, monkeypatch)
    assert "this host has kept its half" in str(failure)
    assert "run the same `handoffd join` again" in str(failure)
    assert failure.code is ExitCode.INTERRUPTED
    assert side.stanza_file.exists()
    assert box.ended() == []  # which would have the joining side undo its half


def test_a_reload_that_is_not_answered_leaves_the_other_side_its_half(side, box, monkeypatch):
    side.reloads = [Failure("no answer", ExitCode.UNREACHABLE)]
    assert "this host has kept its half" in str(invite(side, monkeypatch))
    assert side.stanza_file.exists()
    assert box.ended() == []


def test_a_reload_that_hangs_ends_before_the_other_host_is_answered_for_it():
    assert RELOAD_S <= ANSWER_S / 2


def agree(side: OwnSide, monkeypatch: pytest.MonkeyPatch, outcome: BaseException) -> Failure:
    """Go through the joining side's last step, which the other host answers with `outcome`."""

    def ask(*_: object) -> dict[str, Any]:
        if sent.append(True) or len(sent) == 2:
            raise outcome
        return talk.say(Step.OFFER, {**theirs.fields(), "calls": ""})

    sent: list[bool] = []
    (side.config.root / "bob").mkdir()
    theirs = OwnSide(side.config.root / "bob", "bob-vm").terms("b", list(MADE.place.urls))
    made = Invite(Place("bob-vm", theirs.urls, joining.digest_of(theirs.certificate)), MADE.expires_s, SECRET)
    talk = Conversation(SECRET)
    monkeypatch.setattr(joining, "reach", lambda urls, digest: SimpleNamespace(url=urls[0]))
    monkeypatch.setattr(joining, "ask", lambda url, digests, path, fields: (hear(fields), ask())[1])

    def hear(fields: dict[str, Any]) -> None:
        if not sent:
            talk.hear(Step.JOIN, fields)

    side.is_running = lambda: True  # type: ignore[attr-defined]
    with pytest.raises(Failure) as caught:
        Joining(side, made, False).run([], is_sure=False)  # type: ignore[arg-type]
    return caught.value


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (Turned(503, "unavailable", "`handoffd invite` on this host did not answer."), ExitCode.TRY_AGAIN),
        (Turned(500, "unavailable", "The request failed here."), ExitCode.TRY_AGAIN),
        (NoAnswer("no answer in time"), ExitCode.TRY_AGAIN),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED),
    ],
    ids=["503", "500", "silence", "Ctrl-C"],
)
def test_a_joining_side_that_does_not_know_keeps_its_half(tmp_path, monkeypatch, outcome, code):
    side = OwnSide(tmp_path, "alice-vm")
    failure = agree(side, monkeypatch, outcome)
    assert "this host has kept its own; run the same command again" in str(failure)
    assert failure.code is code
    assert side.stanza_file.exists()


def test_a_joining_side_that_is_refused_undoes_its_half(tmp_path, monkeypatch):
    side = OwnSide(tmp_path, "alice-vm")
    failure = agree(side, monkeypatch, Turned(410, "invite_void", "The invite cannot be used."))
    assert "nothing was changed here" in str(failure)
    assert not side.stanza_file.exists()


@pytest.mark.parametrize(
    ("confirmed", "words"),
    [
        (True, "the earlier pairing with it stays as it is"),
        (
            False,
            "what is here of bob-vm is the half of a pairing that it never confirmed: a new invite takes its place",
        ),
    ],
)
def test_a_refused_join_says_what_an_earlier_one_has_left(tmp_path, monkeypatch, confirmed, words):
    side = OwnSide(tmp_path, "alice-vm")
    side.config.peers["bob-vm"] = SimpleNamespace()
    side.stanza_file.write_text(f"# {invite_words('an older one', confirmed)}")
    failure = agree(side, monkeypatch, Turned(410, "invite_void", "The invite cannot be used."))
    assert words in str(failure)
    assert ("handoffd unpair bob-vm" in str(failure)) is not confirmed


@pytest.mark.parametrize("url", ["http://bob-vm:8788", "bob-vm:8788", "https://bob vm:8788", "https://" + "b" * 300])
def test_an_address_that_no_host_takes_is_refused_before_an_invite_is_made(url):
    with pytest.raises(Failure, match="--url") as caught:
        check_urls([url])
    assert caught.value.code is ExitCode.USAGE
    with pytest.raises(Failure, match="at most 8"):
        check_urls(["https://bob-vm:8788"] * 9)
    check_urls(["https://bob-vm:8788"] * 8)
