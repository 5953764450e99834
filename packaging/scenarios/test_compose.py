"""The compose example: a real pair, brought up by the commands that stand at its top, and one handoff through it."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from harness.engine import COMMAND_S, docker, eventually

EXAMPLE = Path(__file__).parents[1] / "compose"
PROJECT = "handoffd-example"


def compose_command() -> str:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0
    if not plugin and shutil.which("docker-compose") is None:
        pytest.skip("needs docker: neither `docker compose` nor `docker-compose` is here")
    return f"{'docker compose' if plugin else 'docker-compose'} --project-name {PROJECT}"


def commands_at_its_top() -> list[str]:
    lines = re.findall(r"^#   (\S.*)$", (EXAMPLE / "compose.yaml").read_text(), re.MULTILINE)
    return [line.split("  #")[0].strip() for line in lines if line.startswith("docker compose")]


def link_state(status: str, peer: str) -> str:
    """Return the state of a link as `handoffd status --json` tells it; empty while it tells nothing."""
    with suppress(ValueError):
        return next((str(one["state"]) for one in json.loads(status)["peers"] if one["peer"] == peer), "")
    return ""


@pytest.fixture
def shell() -> Iterator[Callable[[str], str]]:
    command = compose_command()

    def run(line: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", line.replace("docker compose", command)],
            cwd=EXAMPLE,
            env={**os.environ, "HANDOFFD_IMAGE": "handoffd:latest"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    yield run
    subprocess.run(
        ["bash", "-c", f"{command} down --volumes --timeout 5"], cwd=EXAMPLE, capture_output=True, check=False
    )


def test_two_hosts_come_up_meet_and_pass_a_handoff(shell: Callable[[str], str]) -> None:
    lines = commands_at_its_top()
    assert len(lines) == 4
    for line in lines:
        shell(line)
    for host in ("bob-vm", "alice-vm"):
        ident = shell(f"docker compose ps -q {host}").strip()
        eventually(
            f"{host} is healthy",
            lambda one=ident: docker("inspect", "-f", "{{.State.Health.Status}}", one) == "healthy",
        )
    # Before it is, there is something to warn of, and the command ends with 1.
    status = "docker compose exec -T bob-vm handoffd status --json || true"
    eventually("the link is up", lambda: link_state(shell(status), "alice-vm") == "up")

    secret = "umask 077; echo a-secret-of-two-agents-that-is-long-enough > /tmp/pair.secret"
    for host in ("bob-vm", "alice-vm"):
        shell(f"docker compose exec -T {host} sh -c '{secret}'")
    agents = "--root /srv/handoff --secret-file /tmp/pair.secret"
    shell(f"docker compose exec -T -d alice-vm handoffd listen --agent alice {agents} --exec cat")
    sent = shell(f"docker compose exec -T bob-vm handoffd send --from bob --to alice {agents} --reason x --wait")
    assert "completed" in sent
