"""docs/quick-start.md, carried out as it is written in two bare containers, with agents that know nothing of handoffd.

Pretended is the package index, by a directory of wheels. The six commands are the page's; so is their order.
"""

import re
import secrets
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from container import Container
from harness.engine import COMMAND_S, docker, eventually

from conftest import BASE_IMAGE

PAGE = Path(__file__).parents[2] / "docs/quick-start.md"
AGENTS = Path(__file__).parents[2] / "integration/agents"
COMMAND = re.compile(r"<!-- on (bob-vm|alice-vm)(?:: ([a-z ]+))? -->\n```sh\n(.*?)```", re.DOTALL)
ROOT = "/srv/voice-shared"
AT_MOST = 6


class Command(NamedTuple):
    host: str
    note: str
    line: str


def commands() -> list[Command]:
    return [Command(host, note, line.strip()) for host, note, line in COMMAND.findall(PAGE.read_text())]


@pytest.fixture
def hosts(dist: Path, wheels: Path) -> Iterator[dict[str, Container]]:
    # A run that was killed may have left one of its own.
    network = docker("network", "create", "--internal", f"handoffd-newcomer-{secrets.token_hex(4)}")
    made: dict[str, Container] = {}
    try:
        for name in ("bob-vm", "alice-vm"):
            # As in the images of Python, and other than in Debian's, pip may install for the whole container.
            options = [
                "--hostname",
                name,
                "--network",
                network,
                "--network-alias",
                name,
                "--tmpfs",
                ROOT,
                "--workdir",
                "/root",
            ]
            made[name] = Container(
                BASE_IMAGE,
                *options,
                "--env",
                "PIP_NO_INDEX=1",
                "--env",
                "PIP_FIND_LINKS=/wheels",
                "--env",
                "PIP_BREAK_SYSTEM_PACKAGES=1",
                "--env",
                "PIP_ROOT_USER_ACTION=ignore",
            )
            made[name].put(wheels, "/wheels")
            (wheel,) = dist.glob("handoffd-*.whl")
            made[name].put(wheel, f"/root/{wheel.name}")
            made[name].put(AGENTS, "/agents")
            made[name].run("umask 077; echo what-the-agents-have-shared-all-along > /agents/pair.secret")
        yield made
    finally:
        for container in made.values():
            container.end()
        docker("network", "rm", network)


class Stopwatch:
    """Seconds of each step, for the page."""

    def __init__(self) -> None:
        self.steps: dict[str, float] = {}
        self.last = time.monotonic()

    def note(self, step: str) -> None:
        now = time.monotonic()
        self.steps[step], self.last = now - self.last, now


def test_six_commands_lead_to_the_first_handoff(
    hosts: dict[str, Container], capsys: pytest.CaptureFixture[str]
) -> None:
    left = commands()
    assert len(left) == AT_MOST
    bob, alice = hosts["bob-vm"], hosts["alice-vm"]
    watch = Stopwatch()

    for command in left[:2]:
        hosts[command.host].run(command.line)
    watch.note("install")

    for command in left[2:4]:
        assert command.note == "goes on"
        hosts[command.host].begin(f"{command.line} >/tmp/output 2>&1")
    for host in hosts.values():
        eventually("it serves", lambda one=host: "is serving" in one.run("cat /tmp/output 2>/dev/null || true"))
    watch.note("init --run")

    pair(hosts, *left[4:])
    watch.note("invite, join")

    alice.begin(
        f"python3 /agents/listener.py --root {ROOT} --agent alice --secret-file /agents/pair.secret --ledger /tmp/alice"
    )
    bob.run(
        f"python3 /agents/initiator.py --root {ROOT} --from bob --to alice --secret-file /agents/pair.secret"
        " --ledger /tmp/bob --caller Anna"
    )
    eventually("its outcome is with bob", lambda: bob.run(f"ls {ROOT}/archive").strip())
    watch.note("first handoff")
    assert "completed" in bob.run("handoffd ls")
    with capsys.disabled():
        print("", *(f"{step}: {took:.1f} s" for step, took in watch.steps.items()), sep="\n    ")


def pair(hosts: dict[str, Container], invite: Command, join: Command) -> None:
    """Type the invite that one host prints into the other, as its user would; both must end well."""
    inviting = subprocess.Popen(
        ["docker", "exec", hosts[invite.host].ident, *invite.line.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    limit = threading.Timer(COMMAND_S, inviting.kill)
    limit.start()
    try:
        assert inviting.stdout is not None
        line = inviting.stdout.readline()
        joined = hosts[join.host].run(join.line, feed=line)
        _, told = inviting.communicate()
    finally:
        limit.cancel()
        inviting.kill()
        inviting.wait()
    assert inviting.returncode == 0, told
    prints = [set(re.findall(r"SHA256:[0-9A-F:]+", text)) for text in (joined, told)]
    assert prints[0] == prints[1]
    assert len(prints[0]) == 2
