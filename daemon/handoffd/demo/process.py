"""Processes of the demonstration: agents that are told what to do, and how anything started here is ended.

It owns pipes and signals. It ends only what it started, by its pid. The rule that must stay true: no process outlives
the play, not even one that SIGKILL ends: agents end with their standard input, daemons by their leash.
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Told = dict[str, Any]

CHUNK_BYTES = 65_536


@dataclass(slots=True)
class Order:
    """What an agent was asked to do; `told` is its answer, once there is one."""

    actor: "Actor"
    told: Told | None = None


class Actor:
    """An agent in a process of its own, on one of the hosts."""

    def __init__(self, name: str, host: str, script: Path, log: Path, *arguments: str) -> None:
        self.name, self.host = name, host
        # -I: the script alone, without this program's modules or anything of the user's environment.
        self.process = start([sys.executable, "-I", str(script), *arguments], log, pipes=True)
        self._unread = b""
        self._open: list[Order] = []
        os.set_blocking(self.output, False)

    @property
    def output(self) -> int:
        """Return the descriptor its answers come from."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def order(self, do: str, **fields: object) -> Order:
        """Tell it what to do next; it answers in order."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **fields}).encode() + b"\n")
        self.process.stdin.flush()
        self._open.append(Order(self))
        return self._open[-1]

    def hear(self) -> list[Told]:
        """Return what it has told since the last time; never waits."""
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.output, CHUNK_BYTES):
                self._unread += chunk
        *lines, self._unread = self._unread.split(b"\n")
        heard = [json.loads(line) for line in lines]
        for told in heard:
            self._open.pop(0).told = told
        return heard


def start(command: Sequence[str], log: Path, *, pipes: bool = False) -> "subprocess.Popen[bytes]":
    """Start a command in a session of its own, so that Ctrl-C reaches this process alone, which ends the others."""
    pipe = subprocess.PIPE if pipes else subprocess.DEVNULL
    with log.open("ab") as errors:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)


def start_leashed(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command as `start` does; the kernel kills it when this process is no more, even while it is stopped.

    Its standard input is a pipe that nobody writes to. This process alone holds the other end, and when that is closed
    the command is signalled as the owner of the pipe: with SIGKILL instead of SIGIO.
    """
    leash, held = os.pipe()
    holder = os.fdopen(held, "wb")
    try:
        with log.open("ab") as errors:
            process = subprocess.Popen(
                command, stdin=leash, stdout=subprocess.DEVNULL, stderr=errors, start_new_session=True
            )
        process.stdin = holder
        fcntl.fcntl(leash, fcntl.F_SETOWN, process.pid)
        fcntl.fcntl(leash, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(leash, fcntl.F_SETFL, fcntl.fcntl(leash, fcntl.F_GETFL) | os.O_ASYNC)
    except BaseException:
        holder.close()  # which kills it, if it has begun
        raise
    finally:
        os.close(leash)
    return process


def end(processes: Sequence["subprocess.Popen[bytes]"], patience_s: float) -> None:
    """End what still runs: asked first, and what runs after `patience_s` is killed."""
    deadline = time.monotonic() + patience_s
    for process in processes:
        process.terminate()
        process.send_signal(signal.SIGCONT)
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
