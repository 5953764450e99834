"""What doctor says of a host, run within the test's own process."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

from tests.spec.daemon.rig import Host

from handoffd.__main__ import outcome as command_line


@dataclass
class Report:
    """What one run of doctor said."""

    code: int
    out: str
    err: str

    def lines(self, head: str) -> list[str]:
        return [line for line in self.out.splitlines() if line.startswith(head)]

    def failure(self, word: str) -> str:
        """Return the one line of this fault."""
        found = [line for line in self.lines("FAIL") if line.split()[1] == word]
        assert len(found) == 1, f"not one {word} in\n{self.out}{self.err}"
        assert self.code == 1
        assert "; " in found[0], "a remedy follows"
        return found[0]

    def healthy(self) -> "Report":
        assert (self.code, self.lines("FAIL")) == (0, []), self.out + self.err
        return self


def doctor(host: Host, *words: str, config: Path | None = None) -> Report:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = command_line(["doctor", "--config", str(config or host.config), *words])
    return Report(code, out.getvalue(), err.getvalue())
