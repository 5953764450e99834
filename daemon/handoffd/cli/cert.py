"""`handoffd cert`: another key pair for this host, without a moment in which a peer refuses it.

It owns the order: every peer pins the new certificate beside the old one, then this host shows it, then the peers
forget the old one. The rules that must stay true: a certificate is shown only when every peer has pinned it, unless the
operator says otherwise; and whenever this is cut short, a daemon that starts finds a certificate with its key.
"""

import http.client
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import typer

from handoffd.cli.bond import Bond
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.picture import print_json, print_steps
from handoffd.cli.root import CONFIG, JSON, wall_s
from handoffd.cli.side import Side
from handoffd.cli.uninterrupted import uninterrupted
from handoffd.config import KeyPair, load, locate
from handoffd.identity import BadCertificate, fingerprint, is_pair, make_identity, successor, vouch
from handoffd.pairing.dial import NoAnswer, Turned, Unreached
from handoffd.pairing.store import Kept

FORCE = typer.Option(False, "--force", help="Even if a peer could not be told; it will refuse this host.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="Renew the key pair this host is known by.")
    group.command("rotate")(rotate)
    group.command("settle")(settle)
    app.add_typer(group, name="cert")


def rotate(force: bool = FORCE, as_json: bool = JSON, config: Path | None = CONFIG) -> None:
    """Make a new key pair, have every peer pin it beside the present one, and show it from now on."""
    side, say = Side(load(locate(config, os.environ))), print_steps(as_json=as_json)
    identity = side.config.identity
    shown = side.listener()
    if shown is not None and shown.key_pair != identity:
        raise Failure("`listen` shows a certificate of your own: have peers pin its successor by hand, then replace it")
    _check_writable(identity.key.parent)
    certificate, key = make_identity(side.config.host, wall_s())
    try:
        if not is_pair(identity.certificate, identity.key):  # an earlier run was cut short between the two
            side.store().promote([(successor(identity.key), identity.key)])
        signature = vouch(identity.key, certificate.decode())
    except (BadCertificate, OSError) as error:
        raise Failure(f"{error}; the old key pair stays in use") from None
    untold = _tell_all(side, certificate.decode(), signature, force, say)
    problems = _show(side, identity, certificate, key)
    words = f"{side.config.host} shows {fingerprint(certificate.decode())}"
    side.note("certificate_rotated", "", words)
    say(words + ("" if problems is not None else " from its daemon's next start"))
    say("its peers believe the old one too; when all is well: handoffd cert settle")
    if as_json:
        print_json(_fields(side, certificate.decode(), untold, settled=False))


def settle(force: bool = FORCE, as_json: bool = JSON, config: Path | None = CONFIG) -> None:
    """Have every peer believe the present certificate alone: the end of a rotation."""
    side, say = Side(load(locate(config, os.environ))), print_steps(as_json=as_json)
    untold = _tell_all(side, side.certificate(), "", force, say)
    whose = f"the peers of {side.config.host}" + (f" but {', '.join(untold)}" if untold else "")
    side.note("certificate_settled", "", f"{whose} believe {fingerprint(side.certificate())} alone")
    say(f"{whose} believe {fingerprint(side.certificate())} alone")
    if as_json:
        print_json(_fields(side, side.certificate(), untold, settled=True))


def _fields(side: Side, certificate: str, untold: list[str], *, settled: bool) -> dict[str, object]:
    return {
        "host": side.config.host,
        "fingerprint": fingerprint(certificate),
        "settled": settled,
        "told": [name for name in side.config.peers if name not in untold],
        "untold": untold,
    }


def _show(side: Side, identity: KeyPair, certificate: bytes, key: bytes) -> list[str] | None:
    """Put a new key pair in the place of the old and have it shown; None: no daemon runs. Raises Failure: it is not."""
    old = identity.certificate.read_bytes(), identity.key.read_bytes()
    stays = "the old key pair stays in use"
    try:
        with uninterrupted():
            put_pair(side, identity, certificate, key)
        problems = side.reload()
        if problems:
            raise Failure("\n".join([f"the daemon refuses its configuration; {stays}:", *problems]))
    except BaseException as error:
        if (identity.certificate.read_bytes(), identity.key.read_bytes()) != old:
            with uninterrupted():
                put_pair(side, identity, *old)
        with suppress(Failure):
            side.reload()
        if isinstance(error, KeyboardInterrupt):
            raise Failure(f"interrupted; {stays}", ExitCode.INTERRUPTED) from None
        if isinstance(error, OSError):
            raise Failure(f"{error.filename}: {error.strerror}; {stays}") from None
        raise
    return problems


def put_pair(side: Side, pair: KeyPair, certificate: bytes, key: bytes) -> None:
    """Replace a certificate and its key. Raises OSError.

    Both stand beside the old ones before either is touched; the certificate goes first, and between it and the key
    the configuration's reader finds the key where it stands ready.
    """
    ready = [Kept(successor(pair.key), key, is_secret=True), Kept(successor(pair.certificate), certificate)]
    side.store().put(ready)
    side.store().promote([(successor(file), file) for file in (pair.certificate, pair.key)])


def _tell_all(side: Side, certificate: str, signature: str, force: bool, say: Callable[[str], None]) -> list[str]:
    """Have every peer pin a certificate that its predecessor's key has signed; unsigned: this one alone.

    Returns who could not be told. Raises Failure for these, unless forced.
    """
    untold = []
    for name in side.config.peers:
        why = _tell(Bond(side, name), certificate, signature)
        done = "has pinned it beside the present one" if signature else "believes it alone"
        say(f"{name}: {why or done}")
        untold += [name] if why else []
    if untold and not force:
        names = ", ".join(untold)
        remedy = "run this again when it can be, or --force and copy the certificate there by hand"
        raise Failure(f"{names} could not be told; this host shows what it showed; {remedy}")
    return untold


def _tell(bond: Bond, certificate: str, signature: str) -> str:
    """Have one peer pin a certificate; return why it could not be told."""
    if not bond.url:
        return "dials in, so it cannot be told from here"
    try:
        bond.ask("certificate", {"certificate": certificate, "signature": signature})
    except (Unreached, NoAnswer, Turned) as error:
        too_often = isinstance(error, Turned) and error.status == http.client.TOO_MANY_REQUESTS
        return f"could not be told: {error}" + (" Wait ten seconds." if too_often else "")
    return ""


def _check_writable(directory: Path) -> None:
    if not os.access(directory, os.W_OK | os.X_OK):
        raise Failure(f"{directory} cannot be written by this user; run this as the one it belongs to")
