"""This host as it pairs: what it tells of itself, and the files that make another host its peer.

It owns their names and who may be paired with; the conversation is for `invite` and `join`. The rules that must stay
true: what a person wrote is never touched; a peer's stanza is written last, and only if the whole would load with it.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from handoffd import __version__
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.operator import NotRunning, ask
from handoffd.cli.starter import paired_stanza
from handoffd.config import PEER_DIRECTORY, Config, ConfigError, Listener, load, read_document
from handoffd.pairing.address import own_urls
from handoffd.pairing.dial import digest_of
from handoffd.pairing.invite import MOST_URLS, Place
from handoffd.pairing.store import Before, Kept, Store
from handoffd.pairing.terms import Terms
from handoffd.pairing.trust import digest_of_token, hashes_text

RELOAD_S = 15.0
"""A reload reads a few files, and waits for one that is under way. While `invite` waits for it the daemon keeps the
other host waiting for its answer, 30 s at most (hub/invites.py)."""


UNCONFIRMED = "not confirmed by the other host yet"


class Unfit(Exception):
    """The other host cannot be a peer; the message is for both sides."""


@dataclass(frozen=True, slots=True)
class Half:
    """This host's half of a pairing: the other host, where it is called (None: it dials in), our token for it.

    `invite` is the name of the invite. `is_hub`: every agent that nobody names lives behind the other host.
    `is_confirmed`: the other side has kept its half.
    """

    theirs: Terms
    url: str | None
    token: str
    command: str
    invite: str
    is_hub: bool = False
    is_confirmed: bool = True


class Side:
    """This host's configuration as far as pairing goes."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.directory = config.path.parent

    # ------------------------------------------------------------ what it tells

    def listener(self) -> Listener | None:
        """Return the first address with TLS that is listened on."""
        return next((each for each in self.config.listen if each.key_pair is not None), None)

    def urls(self) -> list[str]:
        """Return where other hosts may reach this one."""
        found = [(each.address, each.port) for each in self.config.listen if each.key_pair is not None]
        return own_urls(self.config.host, found)[:MOST_URLS]

    def certificate(self) -> str:
        """Return the certificate that is shown to peers, PEM."""
        listener = self.listener()
        pair = listener.key_pair if listener and listener.key_pair else self.config.identity
        return pair.certificate.read_text()

    def place(self, urls: list[str]) -> Place:
        """Return this host as an invite names it."""
        return Place(self.config.host, tuple(urls), digest_of(self.certificate()))

    def terms(self, token: str, urls: list[str]) -> Terms:
        """Return what the other side is told."""
        accepts = digest_of_token(token)
        agents = self.config.agents
        return Terms(self.config.host, agents, tuple(urls), self.certificate(), accepts, __version__)

    # ------------------------------------------------------------ what it keeps

    def stanza(self, peer: str) -> Path:
        """Return the file a peer is written into."""
        return self.directory / PEER_DIRECTORY / f"{peer}.yaml"

    def is_unfinished(self, peer: str) -> bool:
        """Tell whether what is kept of a peer is a half that the other host has never confirmed."""
        try:
            return UNCONFIRMED in self.stanza(peer).read_text()
        except FileNotFoundError:
            return False

    def material(self, peer: str, kind: str) -> Path:
        """Return a file of a peer: `pem`, `out` or `in.sha256`."""
        return self.directory / "peers" / f"{peer}.{kind}"

    def check_writable(self) -> None:
        """Tell early that this user cannot keep a peer. Raises Failure."""
        for place in (self.directory / PEER_DIRECTORY, self.directory / "peers"):
            nearest = place if place.is_dir() else self.directory
            if not os.access(nearest, os.W_OK | os.X_OK):
                remedy = f"run this as the one it belongs to (ls -ld {nearest})"
                raise Failure(f"{nearest} cannot be written by this user; {remedy}", ExitCode.PERMISSION)

    def check(self, half: Half) -> None:
        """See that the configuration would load with this peer. Raises Unfit."""
        theirs = half.theirs
        if theirs.version.partition(".")[0] != __version__.partition(".")[0]:
            versions = f"{theirs.host} runs handoffd {theirs.version}, {self.config.host} {__version__}"
            raise Unfit(f"{versions}: the major versions must be the same")
        if not theirs.agents and not half.is_hub:
            words = f"no agent lives on {theirs.host}: name them under `agents` there and reload"
            raise Unfit(f"{words}, or use --hub on {self.config.host} if it carries for others")
        try:
            read_document(self.config.path, {self.stanza(theirs.host): self._text(half)})
        except ConfigError as error:
            raise Unfit(_told(theirs.host, self.config.host, error)) from None

    def keep(self, half: Half) -> list[Before]:
        """Write this side of the pairing; return what was there. Raises Unfit, OSError: then all is as it was."""
        store = self.store()
        before = store.put(self._files(half))
        try:
            load(self.config.path)
        except ConfigError as error:
            store.undo(before)
            raise Unfit(_told(half.theirs.host, self.config.host, error)) from None
        except BaseException:
            store.undo(before)
            raise
        return before

    def store(self) -> Store:
        """Return where the files of peers are written."""
        return Store(self.config.identity.key)

    def _files(self, half: Half) -> list[Kept]:
        peer = half.theirs.host
        return [
            Kept(self.material(peer, "pem"), half.theirs.certificate.encode()),
            Kept(self.material(peer, "in.sha256"), hashes_text([half.theirs.accepts])),
            Kept(self.material(peer, "out"), f"{half.token}\n".encode(), is_secret=True),
            Kept(self.stanza(peer), self._text(half).encode()),
        ]

    @staticmethod
    def _text(half: Half) -> str:
        return paired_stanza(
            command=half.command,
            invite=invite_words(half.invite, half.is_confirmed),
            peer=half.theirs.host,
            url=half.url,
            agents=half.theirs.agents,
            is_hub=half.is_hub,
        )

    # ------------------------------------------------------------ the running daemon

    def is_running(self) -> bool:
        """Tell whether a daemon runs here."""
        try:
            ask(self.config.root, "GET", "/healthz")
        except NotRunning:
            return False
        return True

    def reload(self) -> list[str] | None:
        """Let the running daemon read its configuration; return its complaints, or None if none runs."""
        try:
            told = ask(self.config.root, "POST", "/operator/reload", patience_s=RELOAD_S)
        except NotRunning:
            return None
        return [str(problem) for problem in told["problems"]]

    def note(self, event: str, peer: str, detail: str) -> None:
        """Have a line written into the journal, if a daemon runs."""
        fields: dict[str, object] = {"event": event, "peer": peer, "detail": detail}
        with suppress(NotRunning):
            ask(self.config.root, "POST", "/operator/note", fields)


def _told(peer: str, host: str, error: ConfigError) -> str:
    problems = "; ".join(f"{each.key}: {each.message}; {each.remedy}" for each in error.problems)
    return f"{host} cannot have {peer} as a peer: {problems}"


def invite_words(invite: str, is_confirmed: bool) -> str:
    """Return how a stanza tells which invite it came from, and whether the other side has its half too."""
    return f"invite {invite}" if is_confirmed else f"invite {invite}, {UNCONFIRMED}"


def told_pairing(*sides: Terms) -> list[str]:
    """Return what both hosts print, the same on both: name, fingerprint, agents."""
    ordered = sorted(sides, key=lambda side: side.host)
    width = max(len(side.host) for side in ordered)
    return [f"  {side.host:<{width}}  {side.fingerprint}  agents {', '.join(side.agents) or '-'}" for side in ordered]
