"""Are the secrets in use secret? Those of the links, those of the agents as far as files show them, and signatures.

It knows where secrets lie and what handoffs lie about; what makes one weak is `weakness`. The rule that must stay true:
no secret is printed, and a payload is opened to check its signature and for nothing else.
"""

import heapq
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from handoffd.agent.secret import BadSecret, read_secret
from handoffd.cli.doctor.finding import Finding, failure, fine, unchecked
from handoffd.cli.doctor.patient import Patient
from handoffd.cli.doctor.weakness import is_published, published_digests, signed_with_published, weakness
from handoffd.config import Config
from handoffd.custody.layout import AGENTS_DIRECTORIES, OUTBOX, SENT
from handoffd.custody.reading import read_file
from handoffd.protocol.payload import route
from handoffd.protocol.timing import DAY_S

NEWEST = 50
NEWER_THAN_S = 7 * DAY_S
"""Handoffs of a directory whose signature is looked at: a secret in use shows in the newest ones."""
LISTED = 20_000
"""Names of a directory that are looked at to find the newest."""
PAYLOAD_LIMIT_BYTES = 128 << 10
_BESIDE = ("*.secret", "secrets/*", "*.psk")
_NEW_SECRET = "make a new one for both agents: (umask 077; head -c 32 /dev/urandom | base64 > FILE)"


def secrets(patient: Patient) -> Iterator[Finding]:
    """Look at tokens, at secret files named or beside the configuration, and at signatures of recent handoffs."""
    found = [*_tokens(patient.config), *_files(patient), *_signatures(patient)]
    yield from found
    files = len(_secret_files(patient))
    if not found:
        looked = f"{files} secret file{'s' * (files != 1)} looked at" if files else "tokens, recent signatures"
        yield fine("secrets", f"none is published or easily guessed ({looked})")
    if not files:
        yield unchecked("agents' secrets", "handoffd never has them; name their files with --secret-file")


def _tokens(config: Config | None) -> Iterator[Finding]:
    if config is None:
        return
    for peer in config.peers.values():
        if peer.token and (why := weakness(peer.token)):
            word = "published_secret" if is_published(peer.token) else "weak_secret"
            message = f"the token this host shows {peer.name} {why}"
            yield failure(word, message, f"handoffd token rotate {peer.name}")
        if peer.accepts & published_digests():
            message = f"the token accepted from {peer.name} is a published one"
            yield failure("published_secret", message, f"on {peer.name}: handoffd token rotate {config.host}")
    for agent, hashes in config.agent_tokens.items():
        if hashes & published_digests():
            remedy = f"give {agent} a new token: handoffd token rotate {agent}"
            yield failure("published_secret", f"the token of agent {agent} is a published one", remedy)


def _secret_files(patient: Patient) -> list[Path]:
    beside = (file for pattern in _BESIDE for file in sorted(patient.path.parent.glob(pattern)) if file.is_file())
    return list(dict.fromkeys((*patient.secret_files, *beside)))


def _files(patient: Patient) -> Iterator[Finding]:
    for file in _secret_files(patient):
        try:
            secret = read_secret(file)
        except BadSecret as error:
            message, _, remedy = str(error).rpartition("; ")
            yield failure(
                "open_secret", message or str(error), remedy.removeprefix("run: ") if message else f"ls -l {file}"
            )
            continue
        if why := weakness(secret):
            yield failure("published_secret" if is_published(secret) else "weak_secret", f"{file} {why}", _NEW_SECRET)


def _signatures(patient: Patient) -> Iterator[Finding]:
    told: set[tuple[str, str]] = set()
    for data in _recent(patient.root, patient.now_s - NEWER_THAN_S) if patient.root else ():
        way = route(data)
        pair = (way.sender, way.to) if way else None
        if pair is not None and pair not in told and signed_with_published(data):
            told.add(pair)
            yield failure("published_secret", f"{pair[0]} signs for {pair[1]} with a published secret", _NEW_SECRET)


def _recent(root: Path, since_s: float) -> Iterator[bytes]:
    places = [root / name for name in AGENTS_DIRECTORIES]
    for kind in (OUTBOX, SENT):
        with suppress(OSError):
            places += (root / kind / peer for peer in os.listdir(root / kind))
    for place in places:
        for path in _newest(place, since_s):
            read = read_file(path, PAYLOAD_LIMIT_BYTES)
            if read is not None:
                yield read[0]


def _newest(place: Path, since_s: float) -> list[Path]:
    dated = []
    with suppress(OSError), os.scandir(place) as listing:
        for number, item in enumerate(listing):
            if number >= LISTED:
                break
            if item.name.endswith(".json") and not item.name.startswith("."):
                with suppress(OSError):
                    dated.append((item.stat(follow_symlinks=False).st_mtime, item.path))
    return [Path(path) for changed_s, path in heapq.nlargest(NEWEST, dated) if changed_s > since_s]
