"""The compose example: a real pair, brought up by the commands that stand at its top, and one handoff through it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness.engine import COMMAND_S, docker, eventually

EXAMPLE = Path(__file__).parents[1] / "compose"
PROJECT = "handoffd-example"
HOSTS = ("bob-vm", "alice-vm")


def has_plugin() -> bool:
    """Tell whether `docker compose` is there, as the commands say it, or only its older form, `docker-compose`."""
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not plugin and shutil.which("docker-compose") is None:
        pytest.skip("needs docker: neither `docker compose` nor `docker-compose` is here")
    return plugin


def commands_at_its_top() -> list[str]:
    lines = re.findall(r"^#   (\S.*)$", (EXAMPLE / "compose.yaml").read_text(), re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines if line.startswith("docker compose")]


def link_state(status: str, peer: str) -> str:
    """Return the state of a link as `handoffd status --json` tells it; empty while it tells nothing."""
    with suppress(ValueError):
        return next((str(one["state"]) for one in json.loads(status)["peers"] if one["peer"] == peer), "")
    return ""


class Pair:
    """The two hosts of the example, by the commands of its reader."""

    def __init__(self, *, plugin: bool) -> None:
        self.plugin = plugin

    def run(self, line: str) -> str:
        """Run one line in the example's directory and return what it printed.

        The older form of compose has no `up --wait`: there it is done by hand.
        """
        by_hand = not self.plugin and " up " in line
        done = self._shell(line.replace(" --wait", "") if by_hand else line)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        if by_hand:
            eventually("both are healthy", lambda: all(self.health(host) == "healthy" for host in HOSTS))
        return done.stdout

    def health(self, host: str) -> str:
        ident = self._shell(f"docker compose ps -q {host}").stdout.strip()
        return docker("inspect", "-f", "{{.State.Health.Status}}", ident)

    def down(self) -> None:
        self._shell("docker compose down --volumes --timeout 5")

    def _shell(self, line: str) -> "subprocess.CompletedProcess[str]":
        command = f"{'docker compose' if self.plugin else 'docker-compose'} --project-name {PROJECT}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line.replace("docker compose", command)],
            cwd=EXAMPLE,
            env={**os.environ, "HANDOFFD_IMAGE": "handoffd:latest"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )


@pytest.fixture
def pair() -> Iterator[Pair]:
    pair = Pair(plugin=has_plugin())
    yield pair
    pair.down()


def test_two_hosts_come_up_meet_and_pass_a_handoff(pair: Pair) -> None:
    lines = commands_at_its_top()
    assert len(lines) == 4
    for line in lines:
        pair.run(line)
    assert [pair.health(host) for host in HOSTS] == ["healthy", "healthy"]
    # Before it is, there is something to warn of, and the command ends with 1.
    status = "docker compose exec -T bob-vm handoffd status --json || true"
    eventually("the link is up", lambda: link_state(pair.run(status), "alice-vm") == "up")

    secret = "umask 077; echo a-secret-of-two-agents-that-is-long-enough > /tmp/pair.secret"
    for host in HOSTS:
        pair.run(f"docker compose exec -T {host} sh -c '{secret}'")
    agents = "--root /srv/handoff --secret-file /tmp/pair.secret"
    pair.run(f"docker compose exec -T -d alice-vm handoffd listen --agent alice {agents} --exec cat")
    sent = pair.run(f"docker compose exec -T bob-vm handoffd send --from bob --to alice {agents} --reason x --wait")
    assert "completed" in sent
