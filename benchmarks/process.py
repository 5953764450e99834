"""What a process costs: processor time, resident memory, system calls; and starting and ending one.

Linux only: it reads /proc and runs strace. It ends only what it started.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

END_LIMIT_S = 20
FLUSHES = frozenset({"fsync", "fdatasync", "syncfs"})

# A line of `strace -c`: % time, seconds, usecs/call, calls, errors (may be absent), name.
_COUNT = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", re.MULTILINE)


class CannotTrace(Exception):
    """strace is missing or may not attach; the message says which."""


def module(name: str, *arguments: str) -> list[str]:
    """Return the command line that runs a module of this package with this interpreter."""
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


@contextlib.contextmanager
def running(command: Sequence[str], errors: IO[bytes] | None = None) -> Iterator["subprocess.Popen[str]"]:
    """Run a command with its output as text on a pipe; end it with SIGTERM, and with SIGKILL if that is not enough."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def first_line(process: "subprocess.Popen[str]") -> str:
    """Return the first line a process prints. Raises RuntimeError if it ends without one."""
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    if not line:
        raise RuntimeError(f"{process.args!r} ended with {process.wait()} before it was ready")
    return line


def processor_ns(pid: int) -> int:
    """Return the time all threads of a process spent on a processor, to the nanosecond (schedstat, not ticks)."""
    return sum(int(task.joinpath("schedstat").read_text().split()[0]) for task in Path(f"/proc/{pid}/task").iterdir())


def resident_bytes(pid: int) -> int:
    """Return the resident set size of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def processor_share(pid: int, period_s: float) -> float:
    """Return the share of one core a process uses over a period from now, 0 to the number of cores."""
    before, started = processor_ns(pid), time.monotonic_ns()
    time.sleep(period_s)
    return (processor_ns(pid) - before) / (time.monotonic_ns() - started)


@contextlib.contextmanager
def counted_calls(pids: Sequence[int]) -> Iterator[Counter[str]]:
    """Count the system calls of processes and all their threads; the counter fills at the end. Raises CannotTrace."""
    if not shutil.which("strace"):
        raise CannotTrace("strace is not installed")
    calls: Counter[str] = Counter()
    with tempfile.NamedTemporaryFile("r") as report:
        attach = [part for pid in pids for part in ("-p", str(pid))]
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", report.name, *attach], stderr=subprocess.PIPE, text=True)
        try:
            _await_attached(tracer, len(pids))
            yield calls
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.communicate(timeout=END_LIMIT_S)
        calls.update({name: int(count) for count, name in _COUNT.findall(report.read()) if name != "total"})


def _await_attached(tracer: "subprocess.Popen[str]", count: int) -> None:
    assert tracer.stderr is not None
    for _ in range(count):
        line = tracer.stderr.readline()
        if "attached" not in line:
            raise CannotTrace(line.strip() or "strace ended at once")
