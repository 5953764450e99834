"""The Debian package under a real systemd, in a container whose first process it is: the hardened unit at work.

Bob's host is the package; alice's is a daemon without a unit beside it. The tests follow each other.
"""

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import Container
from harness.engine import NotSeen, docker, eventually

from conftest import BASE_IMAGE

AS_DAEMON = "runuser -u handoffd -g handoff --"
AS_ALICE = "runuser -u alice -- env HOME=/home/alice"
DATA = "/var/lib/handoffd"
CONFIG = "/etc/handoffd/handoffd.yaml"
OPTIONS = (
    "--hostname=bob-vm",
    # What systemd needs to be one: to mount for itself, and control groups to put services into.
    "--cap-add=SYS_ADMIN",
    "--security-opt=apparmor=unconfined",
    "--security-opt=seccomp=unconfined",
    "--cgroupns=host",
    "--volume=/sys/fs/cgroup:/sys/fs/cgroup:rw",
    "--tmpfs=/run",
    "--tmpfs=/tmp",
    "--env=container=docker",
    "--stop-signal=SIGRTMIN+3",
    # The root file system of a container is none a daemon would take for its root; these outlive a restart.
    f"--volume={DATA}",
    "--volume=/home/alice",
)
AGENT = f"""[Unit]
Requires=handoff-agents.target
After=handoff-agents.target
[Service]
User=bob
UMask=007
ExecStart=/usr/bin/handoffd listen --root {DATA} --agent bob --secret-file /home/bob/secret --exec /bin/cat
[Install]
WantedBy=handoff-agents.target
"""


@pytest.fixture(scope="module")
def bob(dist: Path) -> Iterator[Container]:
    name = f"handoffd-systemd-{secrets.token_hex(4)}"
    try:
        container = Container(BASE_IMAGE, f"--name={name}", *OPTIONS, command=("/sbin/init",))
    except AssertionError as error:
        docker("rm", "--force", "--volumes", name, check=False)
        # No tool is missing: whoever runs this engine does not allow it.
        pytest.skip(f"this engine lets no container run systemd: {error}")
    try:
        try:
            eventually("systemd has started", lambda: booted(container))
        except NotSeen as error:  # nothing of ours is there yet
            pytest.skip(f"systemd does not start in a container of this engine: {error}")
        (package,) = dist.glob("handoffd_*_*.deb")
        container.put(package, "/handoffd.deb")
        container.run("useradd --create-home bob; useradd alice; chown alice /home/alice")
        yield container
    finally:
        container.end()


def booted(container: Container) -> bool:
    asked = ["docker", "exec", container.ident, "systemctl", "is-system-running"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip() in ("running", "degraded")


def shown(container: Container, unit: str, *properties: str) -> dict[str, str]:
    """Return what systemd says of a unit."""
    told = container.run(f"systemctl show {unit} --property={','.join(properties)}")
    return dict(line.split("=", 1) for line in told.splitlines())


def is_up(container: Container, after: str) -> bool:
    """Tell whether the daemon serves, in another process than this one."""
    now = shown(container, "handoffd", "ActiveState", "MainPID")
    return now["ActiveState"] == "active" and now["MainPID"] not in ("0", after)


def process(container: Container) -> str:
    return shown(container, "handoffd", "MainPID")["MainPID"]


def restarts(container: Container) -> int:
    return int(shown(container, "handoffd", "NRestarts")["NRestarts"])


def test_not_configured_is_not_started(bob: Container) -> None:
    bob.run("DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io -i /handoffd.deb")
    told = shown(bob, "handoffd", "ActiveState", "ConditionResult", "UnitFileState")
    assert told == {"ActiveState": "inactive", "ConditionResult": "no", "UnitFileState": "enabled"}


def test_started_means_serving_and_agents_come_after(bob: Container) -> None:
    bob.run(f"usermod -aG handoff bob; {AS_DAEMON} handoffd init --dir /etc/handoffd --root {DATA} --agent bob")
    bob.run("umask 077; echo a-secret-of-two-agents-that-is-long-enough > ~/secret", user="bob")
    bob.run("cat > /etc/systemd/system/agent.service; systemctl daemon-reload; systemctl enable agent", feed=AGENT)
    bob.run("systemctl start handoffd")
    told = shown(bob, "handoffd", "ActiveState", "StatusText")
    assert told["ActiveState"] == "active"
    assert told["StatusText"].startswith("serving 127.0.0.1:8787")
    bob.run(f"{AS_DAEMON} handoffd doctor")


def test_behind_its_walls_it_pairs_and_carries(bob: Container) -> None:
    bob.run(
        f"{AS_ALICE} handoffd init --host alice-vm --root /home/alice/root --agent alice"
        " --local-port 9787 --listen-port 9788"
    )
    bob.run("cp -p ~bob/secret ~alice/secret && chown alice ~alice/secret")
    alices_host(bob)
    bob.run(
        f"{AS_DAEMON} handoffd invite alice-vm --url https://127.0.0.1:8788"
        f" | {AS_ALICE} handoffd join - --url https://127.0.0.1:9788"
    )
    hand_over(bob)


def alices_host(bob: Container) -> None:
    bob.begin(f"{AS_ALICE} handoffd run >/tmp/alice.log 2>&1")
    eventually("alice's daemon serves", lambda: "is serving" in bob.run("cat /tmp/alice.log 2>/dev/null || true"))
    bob.begin(
        f"{AS_ALICE} handoffd listen --root /home/alice/root --agent alice --secret-file /home/alice/secret --exec cat"
    )


def hand_over(bob: Container) -> None:
    told = bob.run(
        f"umask 007; handoffd send --root {DATA} --from bob --to alice --secret-file ~/secret --reason x --wait",
        user="bob",
    )
    assert "\ncompleted " in told


def test_killed_it_is_started_again(bob: Container) -> None:
    before, count = process(bob), restarts(bob)
    bob.run("systemctl kill --signal=KILL handoffd")
    eventually("the daemon serves again", lambda: is_up(bob, before))
    assert restarts(bob) == count + 1
    hand_over(bob)


def test_standing_still_it_is_started_again(bob: Container) -> None:
    before, count = process(bob), restarts(bob)
    bob.run(f"kill -STOP {before}")
    eventually("the daemon serves again", lambda: is_up(bob, before))
    assert restarts(bob) == count + 1
    assert "Watchdog timeout" in bob.run("journalctl --no-pager --unit handoffd")
    hand_over(bob)


def test_a_bad_configuration_is_not_taken_up(bob: Container) -> None:
    before = process(bob)
    bob.run(f"cp -p {CONFIG} /tmp/good; echo 'colour: red' >> {CONFIG}; systemctl reload handoffd")
    eventually("the fault is told", lambda: "colour" in bob.run("journalctl --no-pager --unit handoffd"))
    assert process(bob) == before
    hand_over(bob)


def test_a_start_that_a_person_must_mend_is_not_repeated_and_agents_go_on(bob: Container) -> None:
    bob.run("systemctl start agent")
    bob.run("systemctl restart handoffd", code=1)
    told = shown(bob, "handoffd", "ActiveState", "ExecMainStatus", "NRestarts")
    assert told == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    assert bob.run("systemctl is-active agent handoff-agents.target").split() == ["active", "active"]
    bob.run(f"cp -p /tmp/good {CONFIG}; systemctl start handoffd")
    hand_over(bob)


def test_an_orderly_stop_is_one_and_agents_go_on(bob: Container) -> None:
    bob.run("systemctl stop handoffd")
    assert shown(bob, "handoffd", "Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}
    assert bob.run("systemctl is-active agent").strip() == "active"


def test_after_a_boot_agents_start_after_the_daemon(bob: Container) -> None:
    docker("restart", bob.ident)
    eventually("systemd has started", lambda: booted(bob))
    daemon = shown(bob, "handoffd", "ActiveState", "ActiveEnterTimestampMonotonic")
    agent = shown(bob, "agent", "ActiveState", "ExecMainStartTimestampMonotonic")
    assert daemon["ActiveState"] == agent["ActiveState"] == "active"
    assert int(daemon["ActiveEnterTimestampMonotonic"]) <= int(agent["ExecMainStartTimestampMonotonic"])
    alices_host(bob)
    hand_over(bob)
