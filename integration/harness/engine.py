"""Docker and compose as this suite uses them, and the one way of waiting.

Knows nothing of handoffs. The rule that must stay true: nothing waits for a time, everything waits for a condition with
a deadline.
"""

import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Seen = TypeVar("Seen")

LOOK_EVERY_S = 0.02
DEADLINE_S = 120.0
"""Far longer than anything takes; a busy machine's disk has been seen to stand still for 20 s."""
COMMAND_S = 300.0
"""No single docker command of this suite takes longer, builds apart."""
COMPOSE_FILE = Path(__file__).parent.parent / "compose.yaml"
PROJECT = "handoffd-suite"

_never = threading.Event()


class NotSeen(AssertionError):
    """A condition did not come true before its deadline."""


def eventually(what: str, look: Callable[[], Seen], within_s: float = DEADLINE_S) -> Seen:
    """Return the first truthy value that `look` gives. Raises NotSeen, with the last value, after `within_s`."""
    give_up = time.monotonic() + within_s
    while not (seen := look()):
        if time.monotonic() > give_up:
            raise NotSeen(f"not within {within_s:g} s: {what} (last look: {seen!r})")
        _never.wait(LOOK_EVERY_S)
    return seen


def docker(*arguments: str, check: bool = True) -> str:
    """Run one docker command and return its output. Raises AssertionError with what docker said."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"docker {' '.join(arguments)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()


def compose(*arguments: str) -> str:
    """Run one compose command, by the plugin or by the standalone program, whichever is here."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not plugin and shutil.which("docker-compose") is None:
        raise AssertionError("neither `docker compose` nor `docker-compose` is here; install one of them")
    command = ["docker", "compose"] if plugin else ["docker-compose"]
    full = [*command, "--project-name", PROJECT, "--file", str(COMPOSE_FILE), *arguments]
    done = subprocess.run(full, capture_output=True, text=True, timeout=COMMAND_S, check=False)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(full)}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout.strip()
