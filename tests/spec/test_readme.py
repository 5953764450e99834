"""README.md: its ten-minute guide is carried out as it is written, on two pretended machines.

Pretended are the names and places of the machines: `/etc`, `/srv` and the home directories lie in a scratch directory,
hosts and ports are this machine's, `sudo`, `scp` and `systemctl` are stand-ins. Everything else runs as written.
"""

import contextlib
import getpass
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from handoffd.demo.host import held_ports

PROJECT = Path(__file__).parents[2]
README = PROJECT / "README.md"
LIMIT_S = 60
HOSTS = ("bob-vm", "alice-vm")
BLOCK = re.compile(r"<!-- on (both|bob-vm|alice-vm)(?:: ([^>]+))? -->\n```sh\n(.*?)```", re.DOTALL)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3 * LIMIT_S)]

STAND_INS = {
    "sudo": '#!/bin/bash\nexec "$@"\n',
    # scp [-p] FILE... HOST:PLACE, where PLACE is the same place on the other machine
    "scp": """#!/bin/bash
set -e
[[ $1 != -p ]] || shift
host=${@: -1} place=${host#*:} host=${host%%:*}
place=${place/#$WORLD\\/$HERE/$WORLD\\/$host}
exec cp -p "${@:1:$#-1}" "${place:-$WORLD/$host/home/}"
""",
    # What the unit says is started, and waited for as Type=notify has it.
    "systemctl": """#!/bin/bash
set -e
case "$*" in
  daemon-reload) ;;
  "enable --now handoffd")
    grep -q "^ReadWritePaths=$WORLD/$HERE/srv/voice-shared$" "$WORLD/$HERE/systemd/handoffd.service.d/local.conf"
    command=$(sed -n "s#^ExecStart=##p" "$WORLD/$HERE/systemd/handoffd.service")
    command=${command//\\/opt\\/handoffd/$WORLD\\/opt} command=${command//\\/etc/$WORLD\\/$HERE\\/etc}
    $command 2>"$WORLD/$HERE/log" &
    echo $! >"$WORLD/$HERE/pid"
    for _ in {1..200}; do curl -sf "http://127.0.0.1:$PORT/readyz" >/dev/null && exit; sleep 0.1; done
    exit 1 ;;
  "status --no-pager handoffd") kill -0 "$(<"$WORLD/$HERE/pid")" ;;
  *) echo "systemctl $*: not in the play" >&2; exit 1 ;;
esac
""",
}


class Block(NamedTuple):
    """Commands of the guide, where they run, and what is said about them."""

    host: str
    note: str
    commands: str


def blocks() -> list[Block]:
    return [Block(*(part or "" for part in found)) for found in BLOCK.findall(README.read_text())]


class Machine:
    """One of the two hosts."""

    def __init__(self, world: Path, name: str) -> None:
        self.world, self.name = world, name
        self.place = world / name
        for part in ("etc", "srv", "home", "systemd"):
            (self.place / part).mkdir(parents=True)
        ports = contextlib.ExitStack()
        weakref.finalize(self, ports.close)
        self.tls_port, self.local_port = ports.enter_context(held_ports())
        self.other: Machine | None = None
        self.background: list[subprocess.Popen[str]] = []

    def here(self, commands: str) -> str:
        """Return commands with names and places of this machine put in."""
        assert self.other is not None
        return (
            commands.replace("/etc/systemd/system", str(self.place / "systemd"))
            .replace("/etc/handoffd", str(self.place / "etc/handoffd"))
            .replace("/srv/voice-shared", str(self.place / "srv/voice-shared"))
            .replace(f"https://{self.other.name}:8788", f"https://127.0.0.1:{self.other.tls_port}")
            .replace("127.0.0.1:8787", f"127.0.0.1:{self.local_port}")
            .replace(
                f"--host {self.name}",
                f"--host {self.name} --listen-port {self.tls_port} --local-port {self.local_port}",
            )
        )

    def environment(self) -> dict[str, str]:
        return {
            "PATH": f"{self.world / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.place / "home"),
            "USER": getpass.getuser(),
            "HANDOFFD_CONFIG": str(self.place / "etc/handoffd/handoffd.yaml"),
            "WORLD": str(self.world),
            "HERE": self.name,
            "PORT": str(self.local_port),
        }

    def start(self, commands: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            ["bash", "-euo", "pipefail", "-c", self.here(commands)],
            cwd=PROJECT,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, commands: str, given: str = "") -> str:
        # Into a file: the daemon that a command leaves behind would keep a pipe open.
        with (self.place / "output").open("w+") as output:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", self.here(commands)],
                cwd=PROJECT,
                env=self.environment(),
                input=given,
                stdout=output,
                stderr=output,
                timeout=LIMIT_S,
                text=True,
                check=False,
            )
            output.seek(0)
            text = output.read()
        assert done.returncode == 0, f"on {self.name}:\n{commands}\n{text}"
        return text

    def end(self) -> None:
        for process in self.background:
            os.killpg(process.pid, signal.SIGTERM)
            process.communicate(timeout=LIMIT_S)
        if (self.place / "pid").exists():
            pid = int((self.place / "pid").read_text())
            os.kill(pid, signal.SIGTERM)
            deadline = time.monotonic() + LIMIT_S
            while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
                time.sleep(0.02)


@pytest.fixture
def machines() -> Iterator[dict[str, Machine]]:
    # Not tmp_path: the path of a unix socket below a root must fit into 107 bytes.
    world = Path(tempfile.mkdtemp(prefix="h-"))
    (world / "bin").mkdir()
    for name, text in STAND_INS.items():
        (world / "bin" / name).write_text(text)
        (world / "bin" / name).chmod(0o755)
    (world / "opt").symlink_to(Path(sys.executable).parent.parent)
    bob, alice = (Machine(world, name) for name in HOSTS)
    bob.other, alice.other = alice, bob
    try:
        yield {"bob-vm": bob, "alice-vm": alice}
    finally:
        for machine in (bob, alice):
            machine.end()
        shutil.rmtree(world)


class Guide:
    """The blocks of the README in turn; `outputs` is what each printed, by host."""

    def __init__(self, machines: dict[str, Machine]) -> None:
        self.machines = machines
        self.left = blocks()

    def follow(self, containing: str, given: str = "") -> dict[str, str]:
        """Carry out the next block, which must hold these words; `given` is typed in."""
        block = self.left.pop(0)
        assert containing in block.commands
        hosts = HOSTS if block.host == "both" else (block.host,)
        return {host: self.machines[host].run(self.without_installation(block), given) for host in hosts}

    def start(self, containing: str) -> "subprocess.Popen[str]":
        """Start the next block, which goes on by itself."""
        block = self.left.pop(0)
        assert containing in block.commands
        machine = self.machines[block.host]
        machine.background.append(machine.start(block.commands))
        return machine.background[-1]

    @staticmethod
    def without_installation(block: Block) -> str:
        """Return the commands; of the installation, which has its own test, what is left."""
        lines = block.commands.splitlines()
        return "\n".join(line for line in lines if block.note != "install" or "/opt/" not in line)


def fingerprints(text: str) -> dict[str, str]:
    return dict(re.findall(r"^  (\S+) +(SHA256:\S+)  agents", text, re.MULTILINE))


def invite_in(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if line.startswith("handoffd1."))


def shared_directory() -> str:
    """Return the command for those whose agents have no shared directory yet."""
    (command,) = re.findall(r"`(sudo install -d [^`]*voice-shared)`", README.read_text())
    return command


def test_every_block_of_commands_says_where_it_runs():
    text = README.read_text()
    assert text.count("```sh\n") == len(blocks()) + 1  # the first is for the checkout: make demo, make test


def test_the_guide_leads_to_a_handoff_between_two_machines(machines):
    guide, bob, alice = Guide(machines), machines["bob-vm"], machines["alice-vm"]
    guide.follow("install -d")
    for machine in (bob, alice):
        machine.run(shared_directory())
        guide.follow("handoffd init")
        config = machine.place / "etc/handoffd/handoffd.yaml"
        config.write_text(config.read_text().replace("0.0.0.0", "127.0.0.1"))
    guide.follow("systemctl enable")

    inviting = guide.start("handoffd invite")
    joined = guide.follow("handoffd join", invite_in(inviting))["alice-vm"]
    invited = inviting.communicate(timeout=LIMIT_S)[0]
    assert inviting.returncode == 0
    bob.background.clear()
    assert fingerprints(joined) == fingerprints(invited)
    assert set(fingerprints(joined)) == set(HOSTS)

    guide.follow("bob-alice.secret")
    listener = guide.start("handoffd listen")
    sent = guide.follow("handoffd send")["bob-vm"]
    assert "completed" in sent
    (ended,) = json.loads(bob.run("handoffd ls --json"))
    assert ended["tid"][:12] in sent

    block = guide.left[0]
    guide.left[0] = block._replace(commands=block.commands.replace("trace T ", f"trace {ended['tid'][:12]} "))
    story = guide.follow("handoffd trace")["bob-vm"]
    assert {"bob-vm", "alice-vm"} <= set(story.split())

    os.killpg(listener.pid, signal.SIGINT)
    assert '"context_summary":"wants to move the meeting"' in listener.communicate(timeout=LIMIT_S)[0]
    alice.background.clear()

    bob.run("handoffd send --from bob --to alice --secret-file ~/bob-alice.secret")
    answers = guide.follow("curl")["alice-vm"]
    assert '"to_agent":"alice"' in answers
    assert '"status":"completed"' in answers.replace(" ", "")
    assert guide.left == []


def test_the_installation_works_as_written(tmp_path):
    (block,) = [block for block in blocks() if block.note == "install"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sudo").write_text(STAND_INS["sudo"])
    (tmp_path / "bin/sudo").chmod(0o755)
    commands = block.commands
    for place in ("/opt/handoffd", "/usr/local/bin", "/etc/handoffd"):
        commands = commands.replace(place, f"{tmp_path}{place}")
    (tmp_path / "opt").mkdir()
    (tmp_path / "etc").mkdir()
    (tmp_path / "usr/local/bin").mkdir(parents=True)
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "USER": getpass.getuser()}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=PROJECT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=2 * LIMIT_S,
        check=False,
    )
    if "NewConnectionError" in done.stderr or "Temporary failure in name resolution" in done.stderr:
        pytest.skip("needs network: pip reaches no package index")
    assert done.returncode == 0, done.stderr
    version = subprocess.run(
        [tmp_path / "usr/local/bin/handoffd", "--version"], capture_output=True, text=True, check=True
    )
    assert version.stdout.startswith("handoffd ")
