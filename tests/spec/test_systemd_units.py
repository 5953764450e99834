"""systemd/: the units are valid, closed, and leave open what the daemon needs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from handoffd.app.process import EXIT_CONFIG, EXIT_PERMISSION
from handoffd.demo.host import held_ports

UNITS = Path(__file__).parents[2] / "systemd"
SERVICE = UNITS / "handoffd.service"
# systemd's own scale from 0 (closed) to 10; a network service with its own files cannot come much below 1.
EXPOSURE_LIMIT = 2.0
PR_SET_MDWE = 65


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    if shutil.which(command[0]) is None:
        package = "systemd" if str(command[0]).startswith("systemd-") else command[0]
        pytest.skip(f"needs {package}: no {command[0]} here")
    return subprocess.run(command, capture_output=True, text=True, check=False)


def setting(name: str, path: Path = SERVICE) -> list[str]:
    lines = path.read_text().splitlines()
    return [line.split("=", 1)[1] for line in lines if line.startswith(name + "=")]


def test_systemd_accepts_the_units_without_a_warning(tmp_path: Path) -> None:
    shutil.copy(UNITS / "handoff-agents.target", tmp_path)
    unit = SERVICE.read_text().replace("/opt/handoffd/bin/handoffd", sys.executable)
    (tmp_path / SERVICE.name).write_text(unit)
    verdict = run("systemd-analyze", "verify", tmp_path / SERVICE.name, tmp_path / "handoff-agents.target")
    assert verdict.stdout + verdict.stderr == ""
    assert verdict.returncode == 0


def test_systemd_finds_little_that_the_service_could_reach() -> None:
    threshold = f"--threshold={EXPOSURE_LIMIT * 10:.0f}"
    verdict = run("systemd-analyze", "security", "--offline=yes", threshold, "--no-pager", SERVICE)
    assert verdict.returncode == 0, verdict.stdout
    assert "Overall exposure level" in verdict.stdout


def test_users_and_directories_are_made_as_the_service_expects_them(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root: users and owners of a scratch system are to be made")
    for tool, command in {"sysusers": ["systemd-sysusers"], "tmpfiles": ["systemd-tmpfiles", "--create"]}.items():
        drop_in = tmp_path / f"etc/{tool}.d/handoffd.conf"
        drop_in.parent.mkdir(parents=True)
        shutil.copy(UNITS / f"handoffd.{tool}.conf", drop_in)
        made = run(*command, f"--root={tmp_path}", drop_in.name)
        assert made.returncode == 0, made.stderr
    roots = [tmp_path / path.lstrip("/") for path in setting("ReadWritePaths") if not path.startswith("-")]
    assert [oct(root.stat().st_mode & 0o7777) for root in roots] == ["0o3770"]
    assert {path.stat().st_mode & 0o7777 for path in roots[0].iterdir()} == {0o2770}
    assert sorted(path.name for path in roots[0].iterdir()) == ["archive", "claimed", "handoff", "rejected"]
    assert (tmp_path / "etc/handoffd").stat().st_mode & 0o7777 == 0o700
    assert f"{setting('User')[0]}:x:" in (tmp_path / "etc/passwd").read_text()
    assert f"{setting('Group')[0]}:x:" in (tmp_path / "etc/group").read_text()


def test_agents_wait_for_the_mark_that_the_service_sets_when_it_has_recovered() -> None:
    mark = setting("AssertPathExists", UNITS / "handoff-agents.target")
    assert setting("ExecStartPost") == [f"/usr/bin/touch {mark[0]}"]
    assert Path(mark[0]).parent == Path("/run") / setting("RuntimeDirectory")[0]


def test_it_is_never_given_up_but_for_what_a_person_must_mend() -> None:
    assert setting("StartLimitIntervalSec") == ["0"]
    assert setting("RestartSec") == ["2"]
    assert setting("RestartPreventExitStatus") == [f"{EXIT_CONFIG} {EXIT_PERMISSION}"]


def test_recovery_can_read_the_boot_id() -> None:
    assert setting("ProcSubset") == []


def test_what_the_daemon_imports_runs_without_writable_code() -> None:
    if not _kernel_can_deny_writable_code():
        pytest.skip("needs linux-6.3: this kernel cannot deny memory that is writable and executable")
    child = subprocess.run([sys.executable, "-c", DENIED], capture_output=True, text=True, check=False)
    assert child.returncode == 0, child.stderr
    assert child.stdout.splitlines() == ["denied", "served"]


def _kernel_can_deny_writable_code() -> bool:
    probe = f"import ctypes, sys; sys.exit(ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) != 0)"
    return subprocess.run([sys.executable, "-c", probe], check=False).returncode == 0


DENIED = f"""
import ctypes, mmap
assert ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0) == 0
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC)
except OSError:
    print("denied")

import asyncio, ssl, tempfile
import aiohttp.web, asyncinotify, pydantic, uvloop, watchfiles, yaml
from cryptography.hazmat.primitives.asymmetric import ec

# A callback from C into Python is what needs code made at run time, where it is needed at all.
callback = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 7)
assert callback() == 7
ec.generate_private_key(ec.SECP256R1())

async def serve():
    with tempfile.TemporaryDirectory() as directory, asyncinotify.Inotify() as inotify:
        inotify.add_watch(directory, asyncinotify.Mask.CREATE)
        open(directory + "/file", "w").close()
        await asyncio.wait_for(inotify.get(), 5)
        runner = aiohttp.web.AppRunner(aiohttp.web.Application())
        await runner.setup()
        await aiohttp.web.TCPSite(runner, "127.0.0.1", 0).start()
        await runner.cleanup()
    print("served")

uvloop.run(serve())
"""


@pytest.mark.slow
def test_the_daemon_makes_only_system_calls_that_the_service_allows(tmp_path: Path) -> None:
    if run("strace", "-o", os.devnull, "true").returncode != 0:
        pytest.skip("needs strace: it may not trace here")
    allowed = allowed_system_calls()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(60)
        trace = tmp_path / "trace"
        daemon = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", trace, "--", *HANDOFFD, "run", "--config", configuration(tmp_path)],
            env={**os.environ, "NOTIFY_SOCKET": told.getsockname()},
        )
        try:
            wait_for(told, "READY=1")
            traced = int(trace.read_text().split(maxsplit=1)[0])
            os.kill(traced, signal.SIGHUP)
            wait_for(told, "RELOADING=1")
            wait_for(told, "READY=1")
            os.kill(traced, signal.SIGTERM)
            assert daemon.wait(60) == 0
        finally:
            daemon.kill()
            daemon.wait()
    made = set(re.findall(r"^\d+ +([a-z0-9_]+)\(", trace.read_text(), re.MULTILINE))
    assert {"renameat2", "fsync", "inotify_add_watch", "linkat"} <= made
    assert made - allowed == set()


HANDOFFD = [sys.executable, "-m", "handoffd"]


def configuration(directory: Path) -> Path:
    """A host with one agent on ports that are free just now, as `handoffd init` writes it."""
    with held_ports() as (tls_port, local_port):
        ports = {"--listen-port": tls_port, "--local-port": local_port}
    (directory / "shared").mkdir()
    options = [f"{option}={port}" for option, port in ports.items()]
    options += ["--host=bob-vm", "--agent=bob", f"--dir={directory}", f"--root={directory}/shared"]
    subprocess.run([*HANDOFFD, "init", *options], check=True, capture_output=True)
    return directory / "handoffd.yaml"


def wait_for(told: socket.socket, message: str) -> None:
    """Read what the daemon tells its manager until the message comes; the socket's time-out is the deadline."""
    while message not in told.recv(4096).decode().splitlines():
        pass


def allowed_system_calls() -> set[str]:
    """Apply the unit's SystemCallFilter lines in their order, as systemd does."""
    allowed: set[str] = set()
    for line in setting("SystemCallFilter"):
        calls = set().union(*(members(name) for name in line.lstrip("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def members(name: str) -> set[str]:
    """The calls of one of systemd's groups, with those of the groups in it."""
    if not name.startswith("@"):
        return {name}
    lines = run("systemd-analyze", "syscall-filter", name).stdout.split("\n")[1:]
    names = {line.strip() for line in lines if line.strip() and not line.strip().startswith("#")}
    return set().union(*(members(inner) for inner in names))
