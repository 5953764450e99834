"""What the agents' commands share when they speak to a hub: its options, and what to say when it does not serve.

It owns the four options that name a hub and how to know it. The rule that must stay true: with --hub no shared
directory is looked at, and without it no hub.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from handoffd.agent import BadName, BadSecret, FlushFailed, read_secret
from handoffd.agent.address import BadAddress
from handoffd.agent.hub import Hub, Refused, Unreachable, Untrusted
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.picture import printable

PATIENCE_S = 30.0
"""How long a command repeats a call to a hub that does not answer: a restart takes seconds."""

HUB = typer.Option(None, "--hub", help="URL of a hub, instead of a shared directory.", show_default=False)
TOKEN_FILE = typer.Option(
    None, "--token-file", help="With --hub: this agent's token (mode 0600).", show_default=False, readable=False
)
CA = typer.Option(
    None, "--ca", help="With --hub: PEM file to trust instead of the system's.", show_default=False, readable=False
)
FINGERPRINT = typer.Option(
    None, "--fingerprint", help="With --hub: SHA256:… of the one certificate to accept.", show_default=False
)
_NOT_YOURS = (401, 403)
_TOKEN = re.compile(rb"[!-~]+\Z")


def hub_of(
    url: str | None, token_file: Path | None, ca: Path | None, fingerprint: str | None, root: Path | None = None
) -> Hub | None:
    """Return the hub that the options name, None without --hub. Raises Failure, also for a `root` beside it."""
    if url is None:
        if token_file or ca or fingerprint:
            raise Failure("--token-file, --ca and --fingerprint go with --hub URL", ExitCode.USAGE)
        return None
    if root is not None:
        raise Failure("--hub and --root: an agent uses the one or the other; give one", ExitCode.USAGE)
    if token_file is None:
        raise Failure("--hub needs --token-file FILE, this agent's token there", ExitCode.USAGE)
    try:
        return Hub(url, _token(token_file), ca=ca, fingerprint=fingerprint)
    except BadSecret as error:
        raise Failure(f"--token-file: {error}", ExitCode.USAGE) from None
    except BadAddress as error:
        raise Failure(f"--hub: {error}", ExitCode.USAGE) from None
    except OSError as error:
        raise Failure(f"--ca {ca}: {error.strerror}", ExitCode.USAGE) from None


def _token(file: Path) -> str:
    token = read_secret(file).strip()
    if not _TOKEN.match(token):  # here: what a header cannot hold, its writer would print
        raise BadSecret(f"{file}: it must hold the token alone, on one line, as `handoffd init` or `token` wrote it")
    return token.decode("ascii")


def needed(hub: Hub | None, command: str) -> Hub:
    """Return the hub. Raises Failure: this command is for a hub alone."""
    if hub is None:
        words = "it is for agents without a shared directory; with one, `handoffd listen` claims and ends"
        raise Failure(f"{command} needs --hub URL and --token-file FILE: {words}", ExitCode.USAGE)
    return hub


@contextmanager
def served(hub: Hub) -> Iterator[None]:
    """Turn what a hub does not do into a failure that says what to do next; close the connection."""
    try:
        yield
    except Unreachable as error:
        raise Failure(f"no answer from {error}", ExitCode.UNREACHABLE) from None
    except Untrusted as error:
        raise Failure(f"{error}; nothing was sent", ExitCode.UNREACHABLE) from None
    except Refused as refused:
        code = ExitCode.PERMISSION if refused.status in _NOT_YOURS else ExitCode.FAILED
        remedy = "; is this the token of the agent, and is it in agent_tokens there?" if code != ExitCode.FAILED else ""
        raise Failure(f"{hub.name}: {printable(refused.words)} ({refused.reason}){remedy}", code) from None
    except (BadSecret, BadName) as error:
        raise Failure(f"--secret-file: {error}", ExitCode.USAGE) from None
    except FlushFailed as error:
        raise Failure(f"{error}; nothing more was done, look at the disk (dmesg)", ExitCode.FLUSH_FAILED) from None
    finally:
        hub.close()


def state_of(hub: Hub, agent: str, named: Path | None) -> Path:
    """Return the directory for what a listener must not forget: --state, else one below XDG_STATE_HOME."""
    if named is not None:
        return named
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "handoffd" / f"{hub.name.replace(':', '_')}-{agent}"
