"""Two hosts that do not know each other yet, and commands that wait for each other."""

import subprocess
from pathlib import Path

from tests.spec.daemon.rig import HANDOFFD, STOP_LIMIT_S, Host, until


class Waiting:
    """A `handoffd invite` that waits; `text` is what it printed."""

    def __init__(self, host: Host, *words: str) -> None:
        self.errors = host.directory / "invite.err"
        command = [*HANDOFFD, "invite", *words, "--config", str(host.config)]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert self.process.stdout is not None
        self.text = self.process.stdout.readline().strip()

    def said(self, words: str) -> None:
        """Wait until it has said these words."""
        until(f"the waiting command says: {words}", lambda: words in self.errors.read_text())

    def ended(self) -> tuple[int, str]:
        """Wait for its end; return exit code and what it said."""
        code = self.process.wait(STOP_LIMIT_S)
        return code, self.errors.read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(STOP_LIMIT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Strangers:
    """Two hosts that run and do not know each other."""

    def __init__(self, directory: Path) -> None:
        self.bob, self.alice = Host(directory / "a", "bob-vm", "bob"), Host(directory / "b", "alice-vm", "alice")
        self.hosts = (self.bob, self.alice)
        self.open: list[Waiting] = []
        for host in self.hosts:
            host.init()

    def start(self) -> None:
        for host in self.hosts:
            host.start()
        for host in self.hosts:
            host.ready()

    def invite(self, *words: str, host: Host | None = None) -> Waiting:
        self.open.append(Waiting(host or self.bob, *(words or ("alice-vm",))))
        return self.open[-1]

    def join(self, text: str, *words: str, host: Host | None = None) -> "subprocess.CompletedProcess[str]":
        command = [*HANDOFFD, "join", *words, "--config", str((host or self.alice).config)]
        return subprocess.run(
            command, input=text, capture_output=True, text=True, timeout=STOP_LIMIT_S * 2, check=False
        )

    def pair(self) -> str:
        """Pair as users do; return what the joining side said."""
        waiting = self.invite()
        joined = self.join(waiting.text)
        assert joined.returncode == 0, joined.stderr
        assert waiting.ended()[0] == 0, waiting.ended()
        self.linked()
        return joined.stdout

    def linked(self) -> None:
        for host in self.hosts:
            until(f"{host.name} is linked", lambda host=host: host.command("status").returncode == 0)  # type: ignore[misc]

    def deliver(self, sender: Host, receiver: Host) -> None:
        tid = sender.hand_over(receiver.agent)
        receiver.archive(receiver.claim(tid))
        assert sender.ended(tid)["reason"] == "completed"

    def end(self) -> None:
        for waiting in self.open:
            waiting.close()


def files(host: Host) -> dict[str, bytes]:
    """What a host has of peers."""
    found = [path for name in ("peers", "peers.d") for path in (host.directory / name).glob("*")]
    return {str(path.relative_to(host.directory)): path.read_bytes() for path in found if path.is_file()}
