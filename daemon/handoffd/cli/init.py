"""`handoffd init`: a configuration, an identity and tokens for this host, and the first half of pairing with another.

It decides which files there are and says what is left to do. The rule that must stay true: it writes only what the
loader will accept, and nothing over anything.
"""

import hashlib
import os
import secrets
import socket
import stat
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn
from urllib.parse import urlsplit

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.newfile import DIRECTORY_MODE, SECRET_MODE, NewFile, make_directory, make_files, refuse_existing
from handoffd.cli.root import wall_s
from handoffd.cli.starter import DEFAULT_LISTEN_PORT, DEFAULT_LOCAL_PORT, configuration, pairing_steps, peer_stanza
from handoffd.config import FILE_NAME, PEER_DIRECTORY, SYSTEM_DIRECTORY, Document, read_document, user_directory
from handoffd.custody.layout import AGENTS_DIRECTORIES
from handoffd.identity import fingerprint, make_identity
from handoffd.protocol.name import BadName, host_name

ROOT_MODE = 0o3770
"""Of a root that init makes: agents of another user come in by their group, and cannot move what is not theirs."""
TOKEN_BYTES = 32
HTTPS_PORT = 443


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("init")(init)


def init(
    host: Annotated[str, typer.Option(help="This host's name, as peers call it.", show_default="host name")] = "",
    root: Annotated[
        Path | None,
        typer.Option(help="The directory your agents already use.", show_default="DIR/shared", readable=False),
    ] = None,
    agent: Annotated[list[str] | None, typer.Option(help="An agent of this host; repeat for more.")] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", help="Where to write.", show_default="~/.config/handoffd, /etc/handoffd for root", readable=False
        ),
    ] = None,
    listen_port: Annotated[
        int, typer.Option(help="TCP port for peers, with TLS.", min=1, max=65_535)
    ] = DEFAULT_LISTEN_PORT,
    local_port: Annotated[
        int, typer.Option(help="TCP port for this host, loopback only.", min=1, max=65_535)
    ] = DEFAULT_LOCAL_PORT,
    peer: Annotated[str, typer.Option(help="Another host's name, to pair with.")] = "",
    peer_url: Annotated[str, typer.Option(help="Where its daemon answers: https://HOST:8788.")] = "",
    peer_agent: Annotated[list[str] | None, typer.Option(help="An agent of that host; repeat for more.")] = None,
    run: Annotated[bool, typer.Option("--run", help="Then carry handoffs at once, as `handoffd run` does.")] = False,
) -> None:
    """Write a commented configuration, this host's identity and tokens; with --peer, pair with another host.

    Run again with --peer alone to add a peer to a configuration that is there, with --agent alone to make the token
    of an agent that it names. Nothing is ever overwritten.
    """
    where = (directory or _default_directory()).absolute()
    pairing = _pairing(where, peer, peer_url, peer_agent or [])
    again = (where / FILE_NAME).exists() and not (host or root)
    remedy = _how_to_go_on(where)
    if again and pairing and not agent:
        document, files = _addition(where, pairing)
        remedy = f"{peer} is configured already; to pair anew, move these files away first"
    elif again and agent and not pairing:
        document, files = _agents_tokens(where, agent)
        remedy = "an agent's token is changed by hand: docs/configuration.md has the command"
    else:
        name = host or socket.gethostname().partition(".")[0].lower()
        text = configuration(
            host=name,
            root=str((root or where / "shared").absolute()),
            agents=agent or [],
            listen_port=listen_port,
            local_port=local_port,
        )
        document, files = _foundation(where, text, pairing)
    for path in _made(where, files, remedy, where / document.root):
        print(f"made {path}{'  (the root: it was not there)' if path == where / document.root else ''}")
    _tell(where, document, files, pairing)
    for name in agent or []:
        if name not in document.agent_tokens:
            print(f"\nStill to do: under agent_tokens of {where / FILE_NAME}, add {name}: tokens/{name}.sha256")
    if run:
        _become_daemon(where / FILE_NAME)


def _become_daemon(config: Path) -> NoReturn:
    """Go on as `handoffd run`: this very process, so that signals and the service manager meet the daemon."""
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "handoffd", "run", "--config", str(config)])


@dataclass(frozen=True, slots=True)
class _Pairing:
    peer: str
    agents: Sequence[str]
    file: Path
    text: str


def _pairing(where: Path, peer: str, url: str, agents: Sequence[str]) -> _Pairing | None:
    if not peer:
        if url or agents:
            raise Failure("--peer-url and --peer-agent say nothing without --peer NAME", ExitCode.USAGE)
        return None
    try:
        host_name(peer)
    except BadName as error:
        raise Failure(f"--peer: {error}", ExitCode.USAGE) from None
    if not url or not agents:
        raise Failure(f"--peer {peer} needs --peer-url https://HOST:8788 and --peer-agent NAME", ExitCode.USAGE)
    text = peer_stanza(peer=peer, url=url, agents=agents)
    return _Pairing(peer, agents, where / PEER_DIRECTORY / f"{peer}.yaml", text)


def _default_directory() -> Path:
    return SYSTEM_DIRECTORY if os.geteuid() == 0 else user_directory(os.environ)


def _foundation(where: Path, text: str, pairing: _Pairing | None) -> tuple[Document, list[NewFile]]:
    """Return what a new configuration says, and the files that make it."""
    file = where / FILE_NAME
    # Read before anything is made of the names in it: this is what refuses a bad one.
    document = read_document(file, {file: text} | ({pairing.file: pairing.text} if pairing else {}))
    certificate, key = make_identity(document.host, wall_s())
    files = [
        NewFile(file, text.encode()),
        NewFile(where / f"identity/{document.host}.pem", certificate),
        NewFile(where / f"identity/{document.host}.key", key, SECRET_MODE),
    ]
    for agent in document.agents:
        files += _agent_token(where, agent)
    if pairing:
        files += _pairing_files(where, document.host, certificate, pairing)
    return document, files


def _addition(where: Path, pairing: _Pairing) -> tuple[Document, list[NewFile]]:
    """Return what the configuration says with one peer more, and the files that add it."""
    document = read_document(where / FILE_NAME, {pairing.file: pairing.text})
    certificate = _certificate(where, document).read_bytes()
    return document, _pairing_files(where, document.host, certificate, pairing)


def _agents_tokens(where: Path, agents: Sequence[str]) -> tuple[Document, list[NewFile]]:
    """Return what the configuration says, and token files of agents that it names. Raises Failure."""
    document = read_document(where / FILE_NAME)
    strangers = [agent for agent in agents if agent not in document.agents]
    if strangers:
        names = ", ".join(strangers)
        raise Failure(
            f"{names}: not in `agents` of {where / FILE_NAME}; add it there, and then run this again", ExitCode.USAGE
        )
    return document, [file for agent in dict.fromkeys(agents) for file in _agent_token(where, agent)]


def _agent_token(where: Path, agent: str) -> list[NewFile]:
    return _token(where / f"tokens/{agent}.token", where / f"tokens/{agent}.sha256")


def _how_to_go_on(where: Path) -> str:
    again = "handoffd init" if where == _default_directory() else f"handoffd init --dir {where}"
    return (
        f"to add a peer: {again} --peer NAME --peer-url URL --peer-agent AGENT; for an agent's token: "
        f"{again} --agent NAME; to start over: another --dir"
    )


def _pairing_files(where: Path, host: str, certificate: bytes, pairing: _Pairing) -> list[NewFile]:
    outgoing = where / f"for-{pairing.peer}"
    return [
        NewFile(pairing.file, pairing.text.encode()),
        *_token(where / f"peers/{pairing.peer}.out", outgoing / f"{host}.in.sha256"),
        NewFile(outgoing / f"{host}.pem", certificate),
    ]


def _token(secret_file: Path, hash_file: Path) -> list[NewFile]:
    secret = secrets.token_urlsafe(TOKEN_BYTES)
    digest = hashlib.sha256(secret.encode()).hexdigest()
    return [NewFile(secret_file, f"{secret}\n".encode(), SECRET_MODE), NewFile(hash_file, f"{digest}\n".encode())]


def _made(where: Path, files: Sequence[NewFile], remedy: str, root: Path) -> list[Path]:
    """Make the files, and what is missing of the root; return that. Raises Failure, PermissionError."""
    refuse_existing(files, remedy)
    try:
        made = _make_root(root)  # first: a file that names a root that cannot be is in the way of the next try
        make_files(files)
        # Before there is a peer: the unit opens it for the daemon only if it is there at the start.
        make_directory(where / "peers", DIRECTORY_MODE)
    except PermissionError:
        raise
    except OSError as error:
        raise Failure(f"{error.filename}: {error.strerror}; name another place with --dir or --root") from None
    return made


def _make_root(root: Path) -> list[Path]:
    """Make what is missing of a root; return that."""
    made = []
    for directory in (root, *(root / name for name in AGENTS_DIRECTORIES)):
        if not directory.is_dir():
            # Its directories get what a root in use has, the agents' own permissions; but never sticky, for there
            # they rename each other's files.
            mode = ROOT_MODE if directory == root else stat.S_IMODE(root.stat().st_mode) & ~stat.S_ISVTX
            make_directory(directory, mode)
            made.append(directory)
    return made


def _tell(where: Path, document: Document, files: Sequence[NewFile], pairing: _Pairing | None) -> None:
    for file in files:
        print(f"wrote {file.path}{'  (secret)' if file.mode == SECRET_MODE else ''}")
    print(f"\nfingerprint of {document.host}: {fingerprint(_certificate(where, document).read_text())}\n")
    if pairing:
        print(_steps(where, document, pairing))
    if not document.agents:
        print("No agent lives on this host yet: name them under `agents`.")
    if os.geteuid() == 0:
        print(f"The files belong to root. If the daemon runs as another user: chown -R USER {where}")
    named = "" if where == _default_directory() else f" --config {where / FILE_NAME}"
    print(f"Then: handoffd check{named}, and handoffd run{named}")
    if not pairing:
        print("To pair with another host: handoffd invite NAME on one of the two, handoffd join on the other")


def _steps(where: Path, document: Document, pairing: _Pairing) -> str:
    own_port = next((listen.port for listen in document.listen if listen.tls), DEFAULT_LISTEN_PORT)
    return pairing_steps(
        host=document.host,
        listen_port=own_port,
        local_agents=document.agents,
        peer=pairing.peer,
        peer_port=urlsplit(document.peers[pairing.peer].url or "").port or HTTPS_PORT,
        peer_agents=pairing.agents,
        directory=str(where),
    )


def _certificate(where: Path, document: Document) -> Path:
    return where / (document.identity.certificate or f"identity/{document.host}.pem")
