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

from handoffd.cli.failure import ExitCode, Failure
from handoffd.clock import SystemClock
from handoffd.config import ConfigError, load, locate
from handoffd.custody.layout import OUTCOME, RELAY
from handoffd.custody.reading import Reading

CONFIG = typer.Option(None, "--config", help="Configuration file.", show_default=False)
ROOT = typer.Option(None, "--root", help="Look at this root, whatever the configuration says.", show_default=False)
JSON = typer.Option(False, "--json", help="Print JSON.")

JOURNAL = "events.jsonl"


@dataclass(frozen=True, slots=True)
class Root:
    """A root that can be read. `host` is None if only --root was given; `now` is POSIX seconds."""

    path: Path
    host: str | None
    now: float

    @property
    def reading(self) -> Reading:
        """Return the view of its directories."""
        return Reading(self.path)

    @property
    def journal(self) -> Path:
        """Return where its journal is."""
        return self.path / RELAY / JOURNAL


@contextmanager
def opened(config: Path | None, root: Path | None) -> Iterator[Root]:
    """Find the root and explain what keeps this user from reading it. Raises Failure."""
    path, host = _chosen(config, root)
    try:
        _look(path)
        yield Root(path, host, wall_s())
    except PermissionError as error:
        raise Failure(_who_may(path, error), ExitCode.PERMISSION) from None


def wall_s() -> float:
    """Return POSIX seconds; views show ages, and decide nothing by them."""
    return SystemClock().wall()


def _chosen(config: Path | None, root: Path | None) -> tuple[Path, str | None]:
    if root is not None:
        return root, None
    try:
        loaded = load(locate(config, os.environ))
    except ConfigError as error:
        raise Failure(f"{error}\nor name the root itself: --root DIRECTORY", ExitCode.USAGE) from None
    return loaded.root, loaded.host


def _look(path: Path) -> None:
    try:
        os.listdir(path / OUTCOME)
    except (FileNotFoundError, NotADirectoryError):
        raise Failure(
            f"{path / OUTCOME} does not exist: no handoffd has run on {path}; name another root with --root, "
            "or start it with `handoffd run`",
            ExitCode.USAGE,
        ) from None


def _who_may(path: Path, error: PermissionError) -> str:
    try:
        owner = pwd.getpwuid(os.stat(path / RELAY).st_uid).pw_name
    except (OSError, KeyError):
        owner = "the daemon's user"
    return f"{error.filename}: {error.strerror}; only {owner} may look into {RELAY}/: run this with sudo -u {owner}"
