"""Which root a command looks at, and what to say to a user who may not look.

It owns --config and --root; --root wins, so that a broken configuration never hides a root. It reads no handoff.
"""

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure, unusable
from handoffd.clock import SystemClock
from handoffd.config import Config, ConfigError, load, locate
from handoffd.custody.layout import HANDOFF, OUTCOME, RELAY
from handoffd.custody.reading import Reading

# Every option that names a path is `readable=False`: whether this user may read it is told with its remedy and its own
# exit code by what reads it, not by the parser.
CONFIG = typer.Option(None, "--config", help="Configuration file.", show_default=False, readable=False)
ROOT = typer.Option(
    None, "--root", help="Look at this root, whatever the configuration says.", show_default=False, readable=False
)
JSON = typer.Option(False, "--json", help="Print JSON.")

JOURNAL = "events.jsonl"


@dataclass(frozen=True, slots=True)
class Root:
    """A root that can be read. `config` is None if only --root was given; `now` is POSIX seconds."""

    path: Path
    config: Config | None
    now: float

    @property
    def host(self) -> str | None:
        """Return this host's name, None if nothing said it."""
        return None if self.config is None else self.config.host

    @property
    def reading(self) -> Reading:
        """Return the view of its directories."""
        return Reading(self.path)

    @property
    def journal(self) -> Path:
        """Return where its journal is."""
        return self.path / RELAY / JOURNAL


@contextmanager
def opened(config: Path | None, root: Path | None, *, unserved: bool = False) -> Iterator[Root]:
    """Find the root and explain what keeps this user from reading it. Raises Failure.

    `unserved`: also one that agents use and no daemon has served yet; that is said.
    """
    path, loaded = _chosen(config, root)
    try:
        _look(path, unserved=unserved)
        yield Root(path, loaded, wall_s())
    except PermissionError as error:
        raise Failure(who_may(path, error), ExitCode.PERMISSION) from None


def wall_s() -> float:
    """Return POSIX seconds; views show ages, and decide nothing by them."""
    return SystemClock().wall()


def _chosen(config: Path | None, root: Path | None) -> tuple[Path, Config | None]:
    if root is not None:
        return root, None
    try:
        loaded = load(locate(config, os.environ))
    except ConfigError as error:
        raise unusable(error, "or name the root itself: --root DIRECTORY") from None
    return loaded.root, loaded


def _look(path: Path, *, unserved: bool) -> None:
    try:
        os.listdir(path / OUTCOME)
    except (FileNotFoundError, NotADirectoryError) as error:
        if unserved and isinstance(error, FileNotFoundError) and (path / HANDOFF).is_dir():
            words = f"no daemon has served {path} yet, so this is what the agents' directories say"
            typer.echo(f"handoffd: {words}; start one with `handoffd run`", err=True)
            return
        raise Failure(
            f"{path / OUTCOME} does not exist: no handoffd has run on {path}; name another root with --root, "
            "or start it with `handoffd run`",
            ExitCode.USAGE,
        ) from None


def user_name(uid: int) -> str:
    """Return a user's name, or its number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"#{uid}"  # as sudo -u takes it


def who_may(path: Path, error: PermissionError) -> str:
    """Return what to say to a user whom a root is closed to."""
    try:
        owner = user_name(os.stat(path / RELAY).st_uid)
    except OSError:  # the root itself is closed
        return (
            f"{error.filename}: {error.strerror}; only the daemon's user may look into {RELAY}/: run this as that user"
        )
    return f"{error.filename}: {error.strerror}; only {owner} may look into {RELAY}/: run this with sudo -u {owner}"
