"""A bare container without a network, and commands run in it.

It knows nothing of handoffs. The rule that must stay true: what a test started it also ends, by the id it was given.
"""

import subprocess
from pathlib import Path

from harness.engine import COMMAND_S, docker


class Container:
    """One running container of an image that has a shell."""

    def __init__(self, image: str, *options: str, command: tuple[str, ...] = ("sleep", "infinity")) -> None:
        self.ident = docker("run", "--detach", *options, image, *command)

    def run(self, command: str, *, user: str = "0", code: int = 0, feed: str = "") -> str:
        """Run a line of shell and return what it printed, errors too; it must end with this exit code."""
        done = subprocess.run(
            ["docker", "exec", "--interactive", "--user", user, self.ident, "sh", "-ec", command],
            input=feed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == code, f"{command}\nexit {done.returncode}, not {code}:\n{done.stdout}"
        return done.stdout

    def begin(self, command: str, *, user: str = "0") -> None:
        """Start a line of shell and leave it running."""
        docker("exec", "--detach", "--user", user, self.ident, "sh", "-c", command)

    def log(self) -> str:
        """Return what its first process has printed, errors too."""
        asked = ["docker", "logs", self.ident]
        done = subprocess.run(asked, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
        return done.stdout

    def put(self, file: Path, place: str) -> None:
        """Copy a file or a directory of this machine into the container."""
        docker("cp", str(file), f"{self.ident}:{place}")

    def end(self) -> None:
        """Remove it, whatever it does."""
        docker("rm", "--force", "--volumes", self.ident, check=False)
