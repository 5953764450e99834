"""`handoffd invite`: print one string, wait until another host has used it, and become its peer.

It owns the inviting side of the conversation. The rules that must stay true: the secret is on standard output and
nowhere else; nothing is written before the other side has shown that it has kept its half; and however it ends, the
invite is of no use afterwards.
"""

import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import ask
from handoffd.cli.picture import duration
from handoffd.cli.root import CONFIG, wall_s
from handoffd.cli.side import Half, Side, Unfit, told_pairing
from handoffd.cli.uninterrupted import ended_as_by_ctrl_c, uninterrupted
from handoffd.config import load, locate
from handoffd.pairing.dial import Unreached, digest_of, reach
from handoffd.pairing.invite import LIFETIME_S, MOST_URLS, SECRET_BYTES, Invite, encode
from handoffd.pairing.proof import Conversation, Step, WrongProof
from handoffd.pairing.store import Before
from handoffd.pairing.terms import BadTerms, Terms, https_url, read_terms
from handoffd.pairing.trust import new_token
from handoffd.protocol.name import BadName, host_name

NEXT_S = 20.0
"""One wait for news; the daemon cuts it at 25 s."""
_SLACK_S = 15.0
_ENDINGS = {
    "expired": "the invite has expired and nobody used it; make a new one",
    "wrong_tries": "the invite is dead after too many wrong tries: somebody guesses, or a damaged copy is about; "
    "make a new one and carry it another way",
    "withdrawn": "the invite was withdrawn; make a new one",
    "failed": "the invite has failed; make a new one",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("invite")(invite)


def invite(
    peer: Annotated[str, typer.Argument(help="The other host's name: its `host`.", metavar="PEER")],
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the other host reaches this one: https://HOST:8788; repeat for more.",
            show_default="this host's name and addresses",
        ),
    ] = None,
    expires: Annotated[float, typer.Option(help="Seconds it is good for.", min=10, max=3600)] = LIFETIME_S,
    hub: Annotated[bool, typer.Option("--hub", help="The other host is the hub: it carries for all others.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Pair anew with a peer that is there.")] = False,
    config: Path | None = CONFIG,
) -> None:
    """Print an invite for another host, wait until `handoffd join` has used it there, and pair with it.

    The invite is a secret, good once and for ten minutes. It is printed on standard output and everything else on
    standard error, so this pairs two hosts at once: handoffd invite PEER | ssh PEER handoffd join -
    """
    side = Side(load(locate(config, os.environ)))
    _check(side, peer, replace)
    check_urls(url or [])
    made = Invite(side.place(url or side.urls()), int(wall_s() + expires), secrets.token_bytes(SECRET_BYTES))
    party = Inviting(side, peer, made, hub)
    text = encode(made)
    with ended_as_by_ctrl_c():
        _offer(side, party, peer, expires, text)


def _offer(side: Side, party: "Inviting", peer: str, expires_s: float, text: str) -> None:
    """Open the invite and wait; from the first moment on, whatever ends this ends the invite."""
    opened: dict[str, object] = {"invite": party.ident, "peer": peer, "lifetime_s": expires_s}
    try:
        with uninterrupted():
            ask(side.config.root, "POST", "/operator/invite/open", opened)
        print(text, flush=True)
        say(f"an invite for {peer}, good once and for {duration(expires_s)}. On {peer}, within that time:")
        say("    handoffd join        # and paste the line above")
        say("Waiting; Ctrl-C withdraws it.")
        party.wait()
    except KeyboardInterrupt:
        if party.is_kept:
            raise party.untold(Failure("interrupted", ExitCode.INTERRUPTED)) from None
        party.end("withdrawn")
        raise Failure("the invite is withdrawn; nothing was changed here", ExitCode.INTERRUPTED) from None
    except BaseException:
        party.end("failed")
        raise


def say(words: str) -> None:
    """Tell the person, beside what standard output is for."""
    print(words, file=sys.stderr, flush=True)


def check_urls(urls: list[str]) -> None:
    """See that `--url` gives what the other host can take. Raises Failure."""
    if len(urls) > MOST_URLS:
        raise Failure(f"--url: {len(urls)} addresses; at most {MOST_URLS} are told", ExitCode.USAGE)
    for text in urls:
        try:
            https_url(text)
        except BadTerms:
            words = f"--url: {text[:80]!r} is not an https address such as https://HOST:8788"
            raise Failure(words, ExitCode.USAGE) from None


def _check(side: Side, peer: str, replace: bool) -> None:
    try:
        host_name(peer)
    except BadName as error:
        raise Failure(f"PEER: {error}", ExitCode.USAGE) from None
    if peer == side.config.host:
        raise Failure(f"{peer} is this host itself; name the other one", ExitCode.USAGE)
    if side.listener() is None:
        words = "no address with TLS is listened on, so nobody can come with an invite; add one under `listen`"
        raise Failure(f"{words}, such as {{address: 0.0.0.0, port: 8788, tls: true}}, or invite on the other host")
    if peer in side.config.peers:
        if not side.stanza(peer).exists():
            raise Failure(f"{peer} is configured by hand in {side.config.path}; take it out there to pair by invite")
        if not replace:
            raise Failure(f"{peer} is a peer already; to pair anew: handoffd invite --replace {peer}")
    side.check_writable()


class Inviting:
    """The inviting side of one conversation."""

    def __init__(self, side: Side, peer: str, made: Invite, hub: bool) -> None:
        self._side, self._peer, self._made, self._hub = side, peer, made, hub
        self._talk = Conversation(made.secret)
        self._half: Half | None = None
        self._ours: Terms | None = None
        self._over = False
        self.ident = made.ident
        self.is_kept = False
        """This half is on the disk and in force."""

    def wait(self) -> None:
        """Answer what comes until the pairing is done. Raises Failure."""
        while not self._over:
            came = self._tell("next", wait=NEXT_S)["came"]
            for words in came.get("notes", ()):
                say(f"warning: {words}")
            if "ended" in came:
                self._over = True
                raise Failure(_ENDINGS.get(came["ended"], "the invite has ended"), ExitCode.TRY_AGAIN)
            if "knock" in came:
                self._answer(came["knock"], came["origin"])

    def end(self, word: str, detail: str = "") -> None:
        """Make the invite useless."""
        if not self._over:
            self._over = True
            try:
                self._tell("end", word=word, detail=detail)
            except Failure:
                return  # the daemon has ended, and the invite with it

    def _tell(self, verb: str, **fields: object) -> dict[str, Any]:
        told = {"invite": self._made.ident, **fields}
        try:
            return ask(self._side.config.root, "POST", f"/operator/invite/{verb}", told, patience_s=NEXT_S + _SLACK_S)
        except Failure as failure:
            if failure.code is not ExitCode.UNREACHABLE:
                raise
            words = f"the daemon has ended, and the invite with it ({failure}); start it, and make a new invite"
            raise Failure(words, ExitCode.UNREACHABLE) from None

    # ------------------------------------------------------------ the two steps

    def _answer(self, knock: dict[str, Any], origin: str) -> None:
        steps: dict[object, Callable[[dict[str, Any]], dict[str, str]]] = {
            Step.JOIN.value: self._hear_join,
            Step.CONFIRM.value: self._hear_confirm,
        }
        try:
            answer: dict[str, Any] = steps.get(knock.get("step"), _nonsense)(knock)
        except WrongProof:
            words = "The proof is wrong: it was not made with this invite."
            answer = {"refused": words, "wrong": True}
            say(f"warning: {origin} came with a wrong proof for this invite")
        except (Unfit, BadTerms) as error:
            answer = {"refused": str(error)}
            say(f"refused {origin}: {error}")
        if answer.get("step") == Step.DONE:
            self._finish(answer)
        else:
            self._tell("reply", answer=answer)

    def _hear_join(self, knock: dict[str, Any]) -> dict[str, str]:
        talk = Conversation(self._made.secret)
        fields = talk.hear(Step.JOIN, knock)
        theirs = read_terms(fields)
        if theirs.host != self._peer:
            raise Unfit(
                f"this invite is for {self._peer}, and {theirs.host} came with it: invite {theirs.host}, "
                f"or set `host: {self._peer}` there"
            )
        url = self._reached(theirs, bool(fields.get("running")), bool(fields.get("sure")))
        half = Half(theirs, url, new_token(), "invite", self._made.ident, self._hub)
        self._side.check(half)
        self._half, self._talk = half, talk
        self._ours = self._side.terms(half.token, list(self._made.place.urls))
        return talk.say(Step.OFFER, {**self._ours.fields(), "calls": url})

    def _hear_confirm(self, knock: dict[str, Any]) -> dict[str, str]:
        half = self._half
        if half is None:
            raise WrongProof
        self._talk.hear(Step.CONFIRM, knock)
        before: list[Before] = []
        try:
            with uninterrupted():
                before = self._side.keep(half)
            problems = self._side.reload()
        except (OSError, Unfit) as error:
            self._side.store().undo(before)
            raise self._broken(str(error)) from None
        except Failure as failure:
            raise self.untold(failure) from None
        except KeyboardInterrupt:
            self._take_back(before)
            raise
        if problems:
            self._side.store().undo(before)
            raise self._broken(problems[0])
        self.is_kept = True
        return self._talk.say(Step.DONE, {"host": self._side.config.host})

    def _broken(self, why: str) -> Failure:
        words = f"this host could not keep its half of the pairing: {why}"
        self._tell("reply", answer={"refused": f"{self._side.config.host} could not keep its half: {why}"})
        self.end("failed", words)
        return Failure(f"{words}; nothing was changed here; mend that and make a new invite")

    def _take_back(self, before: list[Before]) -> None:
        """Undo this half, which the daemon may have taken up. Raises Failure if the daemon does not say that it has."""
        with uninterrupted():
            self._side.store().undo(before)
        self.end("withdrawn")
        try:
            problems = self._side.reload()
        except Failure as failure:
            problems = [str(failure)]
        if problems:
            words = (
                "the invite is withdrawn and this host's files are as they were, but the daemon has not taken that up"
            )
            raise Failure(f"{words}: {problems[0]}; have it reload", ExitCode.INTERRUPTED)

    def untold(self, failure: Failure) -> Failure:
        """Return how it ends when the other side may not know that this half is kept.

        The invite is not ended: that would tell the other side to undo its half. Nobody answers it any more.
        """
        self._over = True
        words = f"this host has kept its half of the pairing, and {self._peer} was not told: {failure}"
        remedy = f"start the daemon, and on {self._peer} run the same `handoffd join` again: it tells what is missing"
        return Failure(f"{words}; {remedy}", failure.code)

    def _reached(self, theirs: Terms, is_running: bool, is_sure: bool) -> str | None:
        """Return where to call the other host, None if it must dial in."""
        if not theirs.urls:
            return None
        try:
            return reach(theirs.urls, digest_of(theirs.certificate)).url
        except Unreached as error:
            if is_running and not is_sure:
                say(f"{theirs.host} cannot be called from here, so it will dial in ({error})")
                return None
            why = "as it was told to be called" if is_sure else "its daemon does not run, so this could not be tried"
            say(f"{theirs.host} will be called at {theirs.urls[0]}: {why} ({error})")
            return theirs.urls[0]

    def _finish(self, answer: dict[str, Any]) -> None:
        assert self._half is not None
        assert self._ours is not None
        theirs = self._half.theirs
        try:
            self._tell("reply", answer=answer)
        except Failure as failure:
            raise self.untold(failure) from None
        self.end("used")
        where = f"called at {self._half.url}" if self._half.url else "it dials in"
        self._side.note("paired", theirs.host, f"{theirs.fingerprint}, agents {', '.join(theirs.agents)}, {where}")
        say(f"paired with {theirs.host} ({where}):")
        for line in told_pairing(self._ours, theirs):
            say(line)


def _nonsense(knock: dict[str, Any]) -> dict[str, str]:
    raise WrongProof
