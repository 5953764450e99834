"""strace on a process: counts its mutating calls, or makes one of them its last, or fail."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

MUTATING = (
    *("openat", "creat", "truncate", "ftruncate", "fallocate"),
    *("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendfile", "copy_file_range"),
    *("rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat"),
    *("mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "chmod", "fchmod", "fchmodat"),
    *("chown", "fchown", "lchown", "fchownat", "utime", "utimes", "utimensat", "futimesat"),
    *("fsync", "fdatasync", "sync", "syncfs", "sync_file_range", "msync"),
)
"""Every call that changes a file system or makes a change durable; `openat` counts where it creates or cuts.

Not every machine has all of them, which `?` in front of a name allows strace.
"""
MARK = "getsid"
"""Called by the process when its start is done, and for nothing else."""
ENDS_WITHIN_S = 60.0

_LINE = re.compile(r"(?:\[pid +\d+\] |\d+ +)?([a-z0-9_]+)\((.*)")
_CREATES = re.compile(r"\bO_(?:CREAT|TRUNC|TMPFILE)\b")


def cannot_trace() -> str | None:
    """Return why there is nothing to be had from strace here, as tests say it; or None."""
    if shutil.which("strace") is None:
        return "needs strace: it makes the calls fail"
    tried = subprocess.run(["strace", "-o", os.devnull, "true"], capture_output=True, check=False)
    return "needs strace: it may not trace here" if tried.returncode else None


@dataclass(frozen=True)
class Call:
    """The `number`-th call of that name in one process, from 1. `starting`: it belongs to the engine's start."""

    name: str
    number: int
    starting: bool = False


@dataclass(frozen=True)
class Blow:
    """What befalls a call: the process is killed on entering it (`code` empty), or it fails with that errno."""

    call: Call
    code: str = ""

    def __str__(self) -> str:
        return f"{self.code or 'SIGKILL'} at {self.call.name} {self.call.number}"


class Tracer:
    """An strace attached to a process that waits for its first command."""

    def __init__(self, pid: int, output: Path, blow: Blow | None = None) -> None:
        self._output = output
        command = [
            "strace",
            "-f",
            "-p",
            str(pid),
            "-o",
            str(output),
            "-e",
            "trace=" + ",".join(f"?{name}" for name in (*MUTATING, MARK)),
        ]
        if blow is not None:
            kind = f"error={blow.code}" if blow.code else "signal=SIGKILL"
            command += ["-e", f"inject={blow.call.name}:{kind}:when={blow.call.number}"]
        self._strace = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline()
        # From here on the process stops before it does anything: strace has asked the kernel for that.
        if "attached" not in said:
            raise RuntimeError(f"strace cannot attach: {said}{self._strace.stderr.read()}")

    def finish(self) -> None:
        """Wait until the traced process has ended, and strace with it."""
        assert self._strace.stderr is not None
        self._strace.wait(ENDS_WITHIN_S)
        self._strace.stderr.close()

    @property
    def struck(self) -> bool:
        """Whether the blow fell."""
        text = self._output.read_text(errors="replace")
        return "(INJECTED)" in text or "+++ killed by SIGKILL +++" in text

    def calls(self) -> list[Call]:
        """Return the mutating calls it made, in order."""
        return mutating(self._output.read_text(errors="replace"))


def mutating(text: str) -> list[Call]:
    """Return the mutating calls of an strace output."""
    counts: dict[str, int] = {}
    found: list[tuple[str, int]] = []
    started = 0
    for name, arguments in (match.groups() for match in map(_LINE.match, text.splitlines()) if match):
        if name == MARK:
            started = len(found)
            continue
        counts[name] = counts.get(name, 0) + 1
        if name != "openat" or _CREATES.search(arguments):
            found.append((name, counts[name]))
    return [Call(*one, starting=index < started) for index, one in enumerate(found)]
