"""The image for users: who it runs as, what it may write, how it says that it is well, and how it stops."""

import json
from collections.abc import Iterator

import pytest
from container import Container
from harness.engine import docker, eventually

IMAGE = "handoffd:latest"
OWN_LIMIT_MB = 100
"""What the image may add to its base: the libraries are some 65 MB, their compiled modules the rest."""
CLOSED = ("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--network", "none")


def inspected(image: str) -> dict:
    return json.loads(docker("image", "inspect", image))[0]


def health(container: Container) -> str:
    return docker("inspect", "--format", "{{.State.Health.Status}}", container.ident)


@pytest.fixture(scope="module")
def volumes() -> Iterator[tuple[str, ...]]:
    """Configuration and root of one host, made by `init` as the page on installation says."""
    names = [docker("volume", "create") for _ in range(2)]
    options = ("--volume", f"{names[0]}:/etc/handoffd", "--volume", f"{names[1]}:/srv/handoff")
    docker(
        *("run", "--rm", "--hostname", "bob-vm", *CLOSED, *options, IMAGE),
        *("init", "--dir", "/etc/handoffd", "--root", "/srv/handoff", "--agent", "bob"),
    )
    yield options
    docker("volume", "rm", *names)


@pytest.fixture
def host(volumes: tuple[str, ...]) -> Iterator[Container]:
    container = Container(IMAGE, *CLOSED, *volumes, "--health-interval", "1s", command=())
    yield container
    container.end()


def test_it_is_an_ordinary_user_and_carries_nothing_to_build_with() -> None:
    config = inspected(IMAGE)["Config"]
    assert config["User"] == "10001:10001"
    assert config["StopSignal"] == "SIGTERM"
    found = docker(
        *("run", "--rm", "--network", "none", "--entrypoint", "sh", IMAGE, "-c"),
        "ls /opt/handoffd/lib/python3*/site-packages; test ! -e /src; ls /opt",
    ).split()
    assert {"pip", "hatchling", "build"} & set(found) == set()


def test_it_adds_little_to_its_base() -> None:
    base, own = (inspected(image)["Size"] / 1e6 for image in ("handoffd-base:local", IMAGE))
    assert own - base < OWN_LIMIT_MB


def test_it_knows_the_commit_it_is_built_of() -> None:
    told = docker("run", "--rm", "--network", "none", IMAGE, "--version")
    assert "not recorded" not in told
    assert "missing" not in told


def test_without_a_configuration_it_says_so_and_ends() -> None:
    container = Container(IMAGE, "--network", "none", command=())
    try:
        assert docker("wait", container.ident) == "2"
        assert "/etc/handoffd/handoffd.yaml" in container.log()
    finally:
        container.end()


def test_it_becomes_healthy_with_everything_taken_away_from_it(host: Container) -> None:
    eventually("healthy", lambda: health(host) == "healthy")
    assert "CapEff:\t0000000000000000" in host.run("cat /proc/1/status", user="10001")
    assert "bob-vm" in host.run("handoffd status", user="10001")


def test_it_says_when_it_is_not_well(host: Container) -> None:
    eventually("healthy", lambda: health(host) == "healthy")
    docker("kill", "--signal", "STOP", host.ident)
    assert "timed out" in host.run("healthy", user="10001", code=1)
    docker("kill", "--signal", "CONT", host.ident)


def test_it_reads_its_configuration_again_and_stops_in_order(host: Container) -> None:
    eventually("healthy", lambda: health(host) == "healthy")
    docker("kill", "--signal", "HUP", host.ident)
    eventually("reloaded", lambda: "config_reloaded" in host.run("cat /srv/handoff/relay/events.jsonl", user="10001"))
    docker("stop", "--time", "120", host.ident)
    assert docker("inspect", "--format", "{{.State.ExitCode}}", host.ident) == "0"
