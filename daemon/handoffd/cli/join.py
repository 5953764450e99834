"""`handoffd join`: use an invite that another host has printed, and become its peer.

It owns the joining side of the conversation. The rules that must stay true: nothing is sent before the certificate that
the invite names was shown; this side's half is on the disk before the other is asked to keep its own; and a join that
was cut short is finished, or told apart, by running the same command again.
"""

import getpass
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.given import read_given
from handoffd.cli.invite import check_urls
from handoffd.cli.root import CONFIG
from handoffd.cli.side import Half, Side, Unfit, invite_words, told_pairing
from handoffd.cli.uninterrupted import uninterrupted
from handoffd.config import load, locate
from handoffd.pairing.dial import NoAnswer, Turned, Unreached, ask, digest_of, reach
from handoffd.pairing.invite import BadInvite, Invite, Mistyped, Place, decode
from handoffd.pairing.proof import Conversation, Step, WrongProof
from handoffd.pairing.store import Before, Kept
from handoffd.pairing.terms import BadTerms, Terms, read_terms
from handoffd.pairing.trust import new_token

PAIR, HELLO = "/api/v1/pair", "/api/v1/hello"
_UNAUTHORIZED = 401
_SERVER_ERROR = 500
INVITE_LIMIT_BYTES = 16 << 10


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("join")(join)


def join(
    text: Annotated[
        str, typer.Argument(help="The invite; `-` or nothing: a line of standard input.", metavar="[INVITE]")
    ] = "-",
    file: Annotated[
        Path | None, typer.Option(help="Read the invite from this file.", show_default=False, readable=False)
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(
            help="Where the other host reaches this one; repeat for more.",
            show_default="this host's name and addresses",
        ),
    ] = None,
    no_url: Annotated[bool, typer.Option("--no-url", help="It cannot: this host does all the calling.")] = False,
    hub: Annotated[bool, typer.Option("--hub", help="The other host is the hub: it carries for all others.")] = False,
    replace: Annotated[
        bool, typer.Option("--replace", help="Take the place of a peer of that name with another certificate.")
    ] = False,
    config: Path | None = CONFIG,
) -> None:
    """Pair with the host that printed an invite. Other users can read a command line, so rather paste or pipe it."""
    if url and no_url:
        raise Failure("--url and --no-url exclude each other", ExitCode.USAGE)
    check_urls(url or [])
    side = Side(load(locate(config, os.environ)))
    try:
        made = decode(_text(text, file))
    except Mistyped as error:
        raise Failure(f"{error}{_report(error.place)}", ExitCode.USAGE) from None
    except BadInvite as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    _check(side, made.place, replace)
    Joining(side, made, hub).run([] if no_url else url or side.urls(), is_sure=bool(url))


def _text(text: str, file: Path | None) -> str:
    if file is not None:
        if text != "-":
            raise Failure("an invite and --file exclude each other", ExitCode.USAGE)
        return read_given("--file", file, INVITE_LIMIT_BYTES).decode(errors="replace")
    if text != "-":
        return text
    return getpass.getpass("Invite (not shown): ") if sys.stdin.isatty() else sys.stdin.readline()


def _report(place: Place | None) -> str:
    """Tell the inviting host, if it can be found and proves to be the one, that somebody mistypes."""
    try:
        if place is not None:
            ask(reach(place.urls, place.digest).url, [place.digest], PAIR, {"step": "mistyped"})
    except Turned:
        return f" ({place.host} was told)" if place else ""
    except (Unreached, NoAnswer):
        pass
    return ""


def _check(side: Side, place: Place, replace: bool) -> None:
    if place.host == side.config.host:
        raise Failure(f"this invite was made on {place.host} itself; join on the other host", ExitCode.USAGE)
    known = side.config.peers.get(place.host)
    if known is not None and not side.stanza(place.host).exists():
        raise Failure(f"{place.host} is configured by hand in {side.config.path}; take it out there to pair by invite")
    if known is not None and not replace and known.pinned_pem and digest_of(known.pinned_pem) != place.digest:
        words = f"{place.host} is a peer already, with another certificate ({known.fingerprints[0]})"
        raise Failure(f"{words}; if that host was made anew: handoffd join --replace")
    side.check_writable()


class Joining:
    """The joining side of one conversation."""

    def __init__(self, side: Side, made: Invite, hub: bool) -> None:
        self._side, self._made, self._hub = side, made, hub
        self._peer = made.place.host
        self._talk = Conversation(made.secret)
        self._url = ""

    def run(self, urls: list[str], is_sure: bool) -> None:
        """Pair. Raises Failure."""
        try:
            reached = reach(self._made.place.urls, self._made.place.digest)
        except Unreached as error:
            words = f"{self._peer} cannot be reached, or does not show the certificate of the invite: {error}"
            remedy = f"is its daemon running, and TCP open? else `handoffd invite --url` on {self._peer}"
            raise Failure(f"{words}; {remedy}; nothing was sent or changed", ExitCode.UNREACHABLE) from None
        self._url = reached.url
        if self._was_cut_short() and self._is_known_there():
            self._mark_confirmed()
            print(
                f"{self._peer} has its half of this pairing already: an earlier run was cut short, now it is complete"
            )
            self._tell_daemon()
            return
        token = new_token()
        ours = self._side.terms(token, urls)
        theirs, calls = self._offered(ours, is_sure)
        half = Half(theirs, self._url, token, "join", self._made.ident, self._hub, is_confirmed=False)
        self._agree(half)
        self._side.note("paired", self._peer, f"{theirs.fingerprint}, agents {', '.join(theirs.agents)}, {self._url}")
        back = f"it calls this host at {calls}" if calls else "it cannot call this host, which does all the calling"
        print(f"paired with {self._peer} (called at {self._url}; {back}):")
        print("\n".join(told_pairing(ours, theirs)))
        self._tell_daemon()

    def _was_cut_short(self) -> bool:
        """Tell whether an earlier run with this very invite kept this half and did not hear of the other."""
        try:
            return invite_words(self._made.ident, False) in self._side.stanza(self._peer).read_text()
        except FileNotFoundError:
            return False

    def _mark_confirmed(self) -> None:
        stanza = self._side.stanza(self._peer)
        before, after = (invite_words(self._made.ident, confirmed) for confirmed in (False, True))
        self._side.store().put([Kept(stanza, stanza.read_text().replace(before, after).encode())])

    def _is_known_there(self) -> bool:
        token = self._side.material(self._peer, "out").read_text().strip()
        try:
            ask(self._url, [self._made.place.digest], HELLO, None, token)
        except Turned as error:
            if error.status == _UNAUTHORIZED:
                return False
            raise Failure(f"{self._peer} answers: {error.detail}") from None
        except (Unreached, NoAnswer) as error:
            raise Failure(f"{self._peer} does not answer ({error}); try again", ExitCode.UNREACHABLE) from None
        return True

    # ------------------------------------------------------------ the steps

    def _offered(self, ours: Terms, is_sure: bool) -> tuple[Terms, str]:
        """Return the other side's terms, and where it will call this host; empty: nowhere."""
        fields = {**ours.fields(), "running": self._side.is_running(), "sure": is_sure}
        try:
            offer = self._say(Step.JOIN, fields, Step.OFFER)
            theirs = read_terms(offer)
        except (BadTerms, WrongProof) as error:
            raise Failure(f"{self._peer} answered what cannot be taken: {error}; nothing was changed here") from None
        except Turned as error:
            raise self._refused(error, "nothing was changed here") from None
        except (NoAnswer, Unreached) as error:
            words = f"{self._peer} did not answer ({error}); nothing was changed here; run this again"
            raise Failure(words, ExitCode.UNREACHABLE) from None
        if theirs.host != self._peer or digest_of(theirs.certificate) != self._made.place.digest:
            raise Failure(f"{self._peer} calls itself {theirs.host}, or names another certificate; nothing was changed")
        return theirs, str(offer.get("calls") or "")

    def _keep(self, half: Half) -> list[Before]:
        try:
            self._side.check(half)
            return self._side.keep(half)
        except Unfit as error:
            raise Failure(f"{error}; nothing was changed") from None
        except OSError as error:
            raise Failure(f"{error.filename}: {error.strerror}; nothing was changed") from None

    def _agree(self, half: Half) -> None:
        """Keep this half and have the other side keep its own. Raises Failure."""
        before: list[Before] | None = None
        try:
            with uninterrupted():
                before = self._keep(half)
            self._confirm(before)
            self._mark_confirmed()
        except KeyboardInterrupt:
            if before is None:
                raise
            raise self._unsaid("interrupted", ExitCode.INTERRUPTED) from None

    def _confirm(self, before: list[Before]) -> None:
        try:
            self._say(Step.CONFIRM, {"host": self._side.config.host}, Step.DONE)
        except Turned as error:
            if error.status >= _SERVER_ERROR:  # no refusal: the other side may have kept its half
                raise self._unsaid(error.detail.rstrip("."), ExitCode.TRY_AGAIN) from None
            self._side.store().undo(before)
            raise self._refused(error, "nothing was changed here") from None
        except (NoAnswer, Unreached, WrongProof) as error:
            raise self._unsaid(str(error), ExitCode.TRY_AGAIN) from None

    def _unsaid(self, why: str, code: ExitCode) -> Failure:
        words = f"{self._peer} did not say whether it has kept its half ({why})"
        remedy = "this host has kept its own; run the same command again: it finishes, or says what is missing"
        return Failure(f"{words}; {remedy}", code)

    def _say(self, step: Step, fields: dict[str, Any], answer: Step) -> dict[str, Any]:
        sent = {"invite": self._made.ident, **self._talk.say(step, fields)}
        return self._talk.hear(answer, ask(self._url, [self._made.place.digest], PAIR, sent))

    def _refused(self, error: Turned, what: str) -> Failure:
        kept = ""
        if self._side.is_unfinished(self._peer):
            kept = (
                f"; what is here of {self._peer} is the half of a pairing that it never confirmed: a new invite takes "
                f"its place, `handoffd unpair {self._peer}` removes it"
            )
        elif self._peer in self._side.config.peers:
            kept = "; the earlier pairing with it stays as it is"
        return Failure(f"{self._peer} refuses: {error.detail.rstrip('.')}; {what}{kept}")

    def _tell_daemon(self) -> None:
        problems = self._side.reload()
        if problems:
            raise Failure("\n".join(["paired, but the daemon here refuses its configuration:", *problems]))
        if problems is None:
            print("handoffd does not run here yet: start it with `handoffd run`")
