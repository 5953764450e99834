"""What `send` and `listen` share: which root, and what to say when it cannot be used.

It knows options and exit codes, nothing of handoffs. Agents need no configuration: --root is enough.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from handoffd.agent import AgentName, BadName, BadSecret, FlushFailed, agent_name
from handoffd.cli.failure import ExitCode, Failure, unusable
from handoffd.config import Config, ConfigError, load, locate
from handoffd.custody.layout import AGENTS_DIRECTORIES, HANDOFF, RELAY


def root_of(config: Path | None, root: Path | None) -> Path:
    """Return the shared root: --root, else the configuration's. Raises Failure."""
    return configured(config).root if root is None else root


def root_for(config: Path | None, root: Path | None, agent: str) -> Path:
    """Return the same for one who waits for handoffs, with a warning if none can come. Raises Failure."""
    if root is not None:
        return root
    found = configured(config)
    warn_of_stranger(found, agent, "from other hosts nothing comes for it here")
    return found.root


def warn_of_stranger(config: Config, agent: str, so: str) -> None:
    """Warn of an agent that the configuration does not call one of this host; `so`: what follows."""
    if agent not in config.agents:
        known = ", ".join(sorted(config.agents)) or "none"
        words = f"{agent} does not live on this host (agents in {config.path}: {known}); {so}"
        print(f"handoffd: warning: {words}", file=sys.stderr)


_OF_A_ROOT = frozenset({*AGENTS_DIRECTORIES, RELAY})
_FULL = (errno.ENOSPC, errno.EDQUOT)


def configured(named: Path | None) -> Config:
    """Return the daemon's configuration. Raises Failure."""
    try:
        return load(locate(named, os.environ))
    except ConfigError as error:
        raise unusable(error, "or name the shared directory itself: --root DIRECTORY") from None


def agent_of(option: str, text: str) -> AgentName:
    """Return the agent an option names. Raises Failure."""
    try:
        return agent_name(text)
    except BadName as error:
        raise Failure(f"{option}: {error}", ExitCode.USAGE) from None


@contextmanager
def explained(root: Path, done: str = "nothing more was done") -> Iterator[None]:
    """Turn what goes wrong in a shared root into a failure that names the remedy; first of all that it is none.

    `done`: how far the command came, in words, when the disk takes no more.
    """
    try:
        _refuse_mistyped(root)
        yield
    except (BadSecret, BadName) as error:
        raise Failure(f"--secret-file: {error}", ExitCode.USAGE) from None
    except FlushFailed as error:
        raise Failure(f"{error}; nothing more was done, look at the disk (dmesg)", ExitCode.FLUSH_FAILED) from None
    except PermissionError as error:
        raise Failure(_who_may(root, error), ExitCode.PERMISSION) from None
    except (FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise Failure(f"{error.filename}: {error.strerror}", ExitCode.USAGE) from None
    except OSError as error:
        if error.errno not in _FULL:
            raise
        remedy = f"{done}; make room (df -h {root}; df -i {root}), then run this again"
        raise Failure(f"{error.filename or root}: {error.strerror}; {remedy}") from None


def _refuse_mistyped(root: Path) -> None:
    """Refuse a directory that no agents share, before its four directories are made in it. An empty one may be new."""
    names = _names_in(root)
    if not names.isdisjoint(_OF_A_ROOT):
        return
    place = root.absolute()
    if place.name in _OF_A_ROOT and not _names_in(place.parent).isdisjoint(_OF_A_ROOT - {place.name}):
        raise Failure(f"{root} lies inside of a shared directory; give that one: --root {place.parent}", ExitCode.USAGE)
    if names:
        words = f"{root} is not a directory that agents share: it holds other things, and no {HANDOFF}/"
        raise Failure(f"{words}; correct --root, or if it shall be one: mkdir {root / HANDOFF}", ExitCode.USAGE)


def _names_in(directory: Path) -> set[str]:
    """Return the names in it; none if it cannot be listed: whoever uses it tells that, or may enter it all the same."""
    with suppress(OSError):
        return set(os.listdir(directory))
    return set()


def _who_may(root: Path, error: PermissionError) -> str:
    places = f"{root}/{{handoff,claimed,archive,rejected}}"
    return (
        f"{error.filename}: {error.strerror}; run this as the agents' user, or share one group with them: "
        f"chgrp handoff {root} {places} && chmod 3770 {root} && chmod 2770 {places}, and umask 007"
    )
