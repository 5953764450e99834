"""The process around a daemon: lock, disk, signals' default, exit code.

It owns what must happen before and after the event loop. The rule that must stay true: nothing in a root is touched
before the lock is held and the file system is known to be one we can be safe on.
"""

import asyncio
import contextlib
import logging
import os
import resource
from collections.abc import Callable
from pathlib import Path

from handoffd.app.daemon import Daemon
from handoffd.app.wiring import custody_settings, is_shared, set_up_log
from handoffd.clock import SystemClock, boot_id
from handoffd.config import Config, load
from handoffd.custody import layout
from handoffd.custody.filesystem import FlushFailed, LinuxFilesystem
from handoffd.custody.layout import UnsafeRoot
from handoffd.journal import Journal
from handoffd.link.watch import WatchLost, WatchUnavailable

log = logging.getLogger(__name__)

EXIT_OK, EXIT_FAILED, EXIT_CONFIG, EXIT_FLUSH_FAILED, EXIT_IN_USE = 0, 1, 2, 74, 75


def run(path: Path) -> int:
    """Run the daemon of this configuration until SIGTERM or SIGINT; return the exit code. Raises ConfigError."""
    config = load(path)
    set_up_log(config)
    _raise_descriptor_limit()
    try:
        return _run_locked(config)
    except layout.RootInUse as error:
        log.error("%s", error)
        return EXIT_IN_USE
    except (UnsafeRoot, WatchUnavailable, ValueError) as error:
        log.error("%s", error)
        return EXIT_CONFIG
    except FlushFailed as error:
        log.critical("%s; nothing more was answered; the next start decides what is durable", error)
        return EXIT_FLUSH_FAILED
    except (OSError, WatchLost) as error:
        log.error("%s", error)
        return EXIT_FAILED


def _run_locked(config: Config) -> int:
    _check_root(config.root)
    shared = is_shared(config.root)
    os.umask(0o007 if shared else 0o077)
    lock = layout.lock(config.root)
    fs = LinuxFilesystem(config.root, file_mode=0o660 if shared else 0o600)
    clock = SystemClock()
    journal = Journal(
        config.root / layout.RELAY / "events.jsonl", config.host, config.journal.max_bytes, config.journal.keep, clock
    )
    daemon = Daemon(config, fs, clock, journal, custody_settings(config))
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
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ImportError):  # it exists on CPython only
        import uvloop  # noqa: PLC0415

        factory = uvloop.new_event_loop
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(daemon.serve())
    except BaseExceptionGroup as group:
        raise _first(group) from group


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return what ended the daemon: a failed flush before anything else, then the first cause."""
    found: list[BaseException] = []
    for error in group.exceptions:
        found.append(_first(error) if isinstance(error, BaseExceptionGroup) else error)
    return next((error for error in found if isinstance(error, FlushFailed)), found[0])


def _check_root(root: Path) -> None:
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
