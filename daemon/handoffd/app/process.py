"""The process around a daemon: lock, disk, exit code.

It owns what must happen before and after the event loop. The rule that must stay true: nothing in a root is touched
before the lock is held and the file system is known to be one we can be safe on.
"""

import asyncio
import errno
import logging
import os
import resource
from pathlib import Path

from handoffd.app.daemon import CannotListen, Daemon
from handoffd.app.log import set_up_log
from handoffd.app.loop import make_loop
from handoffd.app.malloc import keep_little
from handoffd.app.metered import MeteredFilesystem
from handoffd.app.relay import check_relay
from handoffd.app.wiring import custody_settings
from handoffd.clock import SystemClock, boot_id
from handoffd.config import Config, load
from handoffd.custody import layout
from handoffd.custody.filesystem import FlushFailed
from handoffd.custody.layout import UnsafeRoot
from handoffd.journal import Journal
from handoffd.link.watch import WatchLost, WatchUnavailable
from handoffd.status.meter import Meters

log = logging.getLogger(__name__)

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_FLUSH_FAILED, EXIT_IN_USE, EXIT_PERMISSION = 0, 1, 2, 74, 75, 77


class Unhandled(Exception):
    """An error of the operating system that somebody should have handled."""


def run(path: Path) -> int:
    """Run the daemon of this configuration until SIGTERM or SIGINT; return the exit code. Raises ConfigError."""
    keep_little()
    config = load(path)
    set_up_log(config)
    _raise_descriptor_limit()
    try:
        return _run_locked(config)
    except layout.RootInUse as error:
        return _ended(EXIT_IN_USE, str(error))
    except (UnsafeRoot, WatchUnavailable, CannotListen) as error:
        return _ended(EXIT_CONFIG, str(error))
    except PermissionError as error:
        return _ended(EXIT_PERMISSION, _who_may(error))
    except FlushFailed as error:
        return _ended(EXIT_FLUSH_FAILED, f"{error}; nothing more was answered; the next start decides what is durable")
    except WatchLost as error:
        return _ended(EXIT_FAILED, str(error))
    except OSError as error:
        return _ended(EXIT_FAILED, _no_start(config.root, error))
    except Exception:
        log.critical("handoffd has a fault and ends; the next start recovers what is on disk", exc_info=True)
        return EXIT_FAILED


def _ended(code: int, words: str) -> int:
    log.error("%s", words)
    return code


def _who_may(error: PermissionError) -> str:
    place = error.filename or "the root"
    return f"{place}: {error.strerror or error}; run handoffd as the user the root belongs to (ls -ld {place})"


def _run_locked(config: Config) -> int:
    _check_root(config.root)
    shared = layout.is_shared(config.root)
    os.umask(0o007 if shared else 0o077)
    lock = layout.lock(config.root)
    meters = Meters()
    fs = MeteredFilesystem(config.root, meters, file_mode=0o660 if shared else 0o600)
    clock = SystemClock()
    journal = Journal(
        config.root / layout.RELAY / "events.jsonl", config.host, config.journal.max_bytes, config.journal.keep, clock
    )
    daemon = Daemon(config, fs, clock, journal, custody_settings(config), meters)
    try:
        daemon.recover(boot_id())
        _run_loop(daemon)
    finally:
        daemon.abandon()
        journal.flush()
        fs.close()
        os.close(lock)
    return EXIT_OK


def _run_loop(daemon: Daemon) -> None:
    try:
        with asyncio.Runner(loop_factory=make_loop) as runner:
            runner.run(daemon.serve())
    except BaseExceptionGroup as group:
        # What waited for the custody thread fails with it, and may be heard of first.
        daemon.abandon()
        raise daemon.cause_of_death or _cause(daemon, group) from group


def _cause(daemon: Daemon, group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended the daemon; while it served, an OSError that nobody handled is a fault of ours."""
    first = group.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _cause(daemon, first)
    return Unhandled(str(first)) if isinstance(first, OSError) and daemon.served else first


def _no_start(root: Path, error: OSError) -> str:
    """Return what the operating system refused, where, and what to do."""
    own_words = error.filename is None and error.strerror != os.strerror(error.errno or 0)
    place = root if error.filename is None else _absolute(root, os.fsdecode(error.filename))
    words = str(error.strerror or error) if own_words else f"{place}: {error.strerror}"
    if error.errno in _NO_ROOM:
        words += f"; free space on {root} (df -h {root}; df -i {root}), then start again"
    return words


def _absolute(root: Path, name: str) -> str:
    """Return a whole path; custody's own names are relative to a directory that the error does not tell."""
    return name if os.path.isabs(name) else f"{name} below {root}"


def _check_root(root: Path) -> None:
    check_relay(root)
    if not root.is_dir():
        raise UnsafeRoot(f"root {root} is no directory; create it, or name the one your agents use")
    kind = layout.filesystem_kind(root)
    if not kind.accepted:
        known = ", ".join(sorted(layout.SAFE_FILESYSTEMS))
        raise UnsafeRoot(f"root {root} is on {kind.name}; renames are not safe there, use one of {known}")
    if kind.warning:
        log.warning("root %s is on %s: %s", root, kind.name, kind.warning)
    relay = root / layout.RELAY
    relay.mkdir(mode=0o700, exist_ok=True)


def _raise_descriptor_limit() -> None:
    """1,024 descriptors, the usual soft limit, are fewer than the connections we serve."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65_536) if hard > 0 else 65_536, hard))
