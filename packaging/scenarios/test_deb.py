"""The Debian package in a bare Debian: installed, used, upgraded, removed, purged. The tests follow each other."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from container import Container
from harness.engine import eventually

from conftest import BASE_IMAGE, needs

AS_DAEMON = "runuser -u handoffd -g handoff --"
# Flushing each file takes longer than everything else here, and nobody pulls a plug.
DPKG = "DEBIAN_FRONTEND=noninteractive dpkg --force-unsafe-io"
DATA = "/var/lib/handoffd"
MARKS = f"find {DATA} /etc/handoffd -type f -print0 | sort -z | xargs -0 sha256sum"


def newer(package: Path, place: Path) -> Path:
    """Return a copy of the package that differs in nothing but a higher version."""
    tree = place / "tree"
    subprocess.run(["dpkg-deb", "--raw-extract", package, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace("-1+deb12\n", "-2+deb12\n"))
    subprocess.run(["dpkg-deb", "--root-owner-group", "-Znone", "--build", tree, place / "newer.deb"], check=True)
    shutil.rmtree(tree)
    return place / "newer.deb"


@pytest.fixture(scope="module")
def package(dist: Path) -> Path:
    (found,) = dist.glob("handoffd_*_*.deb")
    return found


@pytest.fixture(scope="module")
def debian(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    # The root file system of a container is none a daemon would take for its root.
    container = Container(BASE_IMAGE, "--network", "none", "--hostname", "bob-vm", "--tmpfs", DATA)
    container.put(package, "/one.deb")
    container.put(newer(package, tmp_path_factory.mktemp("deb")), "/two.deb")
    container.run("useradd --create-home bob")
    yield container
    container.end()


def test_lintian_finds_nothing(package: Path) -> None:
    needs("lintian")
    found = subprocess.run(
        ["lintian", "--allow-root", "--fail-on=error,warning", package],
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


def test_it_installs_and_says_what_to_do_next(debian: Container) -> None:
    told = debian.run(f"{DPKG} -i /one.deb")
    assert "not configured yet: see /usr/share/doc/handoffd/README.Debian" in told
    assert debian.run("dpkg --audit; dpkg --verify handoffd") == ""
    assert debian.run(f"stat -c '%a %U:%G' /etc/handoffd {DATA} {DATA}/handoff").split("\n")[:3] == [
        "700 handoffd:handoff",
        "3770 handoffd:handoff",
        "2770 handoffd:handoff",
    ]
    version = debian.run("handoffd --version", user="bob")
    assert ", /usr/lib/handoffd/bin/python3\n" in version
    assert "missing" not in version
    assert "not recorded" not in version


def test_the_unit_waits_for_a_configuration(debian: Container) -> None:
    unit = debian.run("cat /usr/lib/systemd/system/handoffd.service")
    assert "\nConditionPathExists=/etc/handoffd/handoffd.yaml\n\n[Service]\n" in unit
    assert "\nExecStart=/usr/bin/handoffd run --config /etc/handoffd/handoffd.yaml\n" in unit
    assert f"\nReadWritePaths={DATA}\n" in unit
    assert "/opt/" not in unit
    assert "/srv/" not in unit
    debian.run("test -L /etc/systemd/system/multi-user.target.wants/handoffd.service")


def test_it_works_as_its_readme_says(debian: Container) -> None:
    readme = debian.run("cat /usr/share/doc/handoffd/README.Debian")
    commands = [line.split("  #")[0].strip() for line in readme.splitlines() if line.startswith("    ")]
    join, init, check, start = commands
    assert start == "systemctl start handoffd"
    debian.run(join.replace("AGENT_USER", "bob"))
    debian.run(init)
    assert "SHA256:" in debian.run(check)
    debian.begin(f"{AS_DAEMON} handoffd run >/tmp/daemon.log 2>&1; echo $? >/tmp/daemon.code")
    eventually("the daemon serves", lambda: "is serving" in debian.run("cat /tmp/daemon.log 2>/dev/null || true"))

    debian.run("umask 077; echo a-secret-of-two-agents-that-is-long-enough > ~/secret", user="bob")
    debian.run(
        f"umask 007; handoffd send --from bob --to alice --secret-file ~/secret --root {DATA} --reason x", user="bob"
    )
    assert "bob-vm" in debian.run(f"{AS_DAEMON} handoffd status")
    debian.run("pkill --exact --oldest handoffd")
    code = eventually("the daemon has ended", lambda: debian.run("cat /tmp/daemon.code 2>/dev/null || true"))
    assert code == "0\n"


def test_an_upgrade_keeps_everything(debian: Container) -> None:
    before = debian.run(MARKS)
    told = debian.run(f"{DPKG} -i /two.deb")
    assert "not configured" not in told
    assert debian.run("dpkg-query -W -f '${Version}' handoffd").endswith("-2+deb12")
    assert debian.run(MARKS) == before


def test_a_removal_keeps_configuration_and_handoffs_and_nothing_else(debian: Container) -> None:
    before = debian.run(MARKS)
    debian.run(f"{DPKG} --remove handoffd")
    assert debian.run(MARKS) == before
    debian.run("test ! -e /usr/lib/handoffd && test ! -e /usr/bin/handoffd")


def test_installed_again_it_has_everything_it_had(debian: Container) -> None:
    before = debian.run(MARKS)
    debian.run(f"{DPKG} -i /one.deb")
    assert debian.run(MARKS) == before
    debian.run(f"{AS_DAEMON} handoffd check")


def test_a_purge_keeps_handoffs_unless_told_otherwise(debian: Container) -> None:
    told = debian.run(f"{DPKG} --purge handoffd")
    assert f"handoffs and their records stay in {DATA}" in told
    assert debian.run(f"find {DATA} -name '*.json'") != ""
    debian.run("test ! -e /etc/handoffd")


def test_a_purge_asks_and_takes_a_yes(debian: Container) -> None:
    debian.run(f"{DPKG} -i /one.deb")
    told = debian.run("DEBIAN_FRONTEND=teletype dpkg --force-unsafe-io --purge handoffd", feed="yes\n")
    assert "Remove handoffs and their records as well?" in told
    assert debian.run(f"find {DATA} -mindepth 1") == ""


def test_a_yes_given_beforehand_holds(debian: Container) -> None:
    debian.run(f"{DPKG} -i /one.deb")
    debian.run(f"echo '{{}}' > {DATA}/handoff/left.json")
    debian.run("echo 'handoffd handoffd/purge-data boolean true' | debconf-set-selections")
    debian.run(f"{DPKG} --purge handoffd")
    left = debian.run(f"find / -xdev -name '*handoffd*' -print; find {DATA} -mindepth 1")
    assert left.splitlines() == [DATA]  # empty, and only because it is a file system of its own here
