"""The play from beginning to end: sets the stage, plays the scenes, shows the check list, clears away.

It owns the directory, the end of all processes and what a failure looks like. The rule that must stay true: whatever
happens, no process is left, and the directory is left only if that was asked for or something was not as promised.
"""

import contextlib
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import TextIO

from handoffd.demo.check import show
from handoffd.demo.process import Actor
from handoffd.demo.scene import SCENES, Cast
from handoffd.demo.stage import NotSeen, Stage
from handoffd.demo.timeline import Timeline
from handoffd.output import ReaderLeft

AGENT = Path(__file__).with_name("agent.py")
CALLER = Path(__file__).with_name("caller.py")
Handler = Callable[[int, FrameType | None], None] | signal.Handlers
ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def play(out: TextIO, *, keep: bool = False, agent: Path = AGENT) -> bool:
    """Play it all and return whether everything was as promised; `agent` is the script that both agents run.

    Raises KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP, with everything cleared away.
    """
    directory = Path(tempfile.mkdtemp(prefix="handoffd-demo-"))
    stage = Stage(directory, Timeline(out))
    leave, verdict = True, False
    with _all_signals_interrupt():
        try:
            verdict = _perform(stage, agent)
            leave = keep or not verdict
        except (KeyboardInterrupt, ReaderLeft):
            leave = keep
            raise
        finally:
            _clear_away(stage, directory, leave)
    return verdict


def _perform(stage: Stage, agent: Path) -> bool:
    timeline = stage.timeline
    timeline.print(f"two hosts on this machine, bob-vm and alice-vm, in {stage.directory}")
    try:
        _set_up(stage)
        cast = _enter(stage, agent)
        for scene in SCENES:
            scene(cast)
    except NotSeen as missing:
        stage.check("everything comes in time", f"never seen: {missing}", False)
    verdict = show(stage.checks, timeline)
    kept = sum(check.kept for check in stage.checks)
    took_s = time.monotonic() - timeline.start_s
    timeline.print(f"\n{kept} of {len(stage.checks)} as promised, in {took_s:.1f} s")
    return verdict


def _set_up(stage: Stage) -> None:
    """Pair both hosts as the README says, start both daemons, wait until each has reached the other."""
    stage.scene("0  two hosts, paired and linked: TLS with pinned certificates, a token each way", "link_down")
    bob_vm, alice_vm = stage.hosts
    for host, peer in ((bob_vm, alice_vm), (alice_vm, bob_vm)):
        stage.processes.append(host.init(peer))
        stage.note(host, "demo", f"handoffd init --host {host.name} --agent {host.agent} --peer {peer.name} ...")
    for process in stage.processes:
        stage.until("the end of `handoffd init`", lambda: process.poll() is not None)  # noqa: B023
        if process.returncode:
            raise NotSeen(f"a pairing; `handoffd init` ended with exit code {process.returncode}")
    bob_vm.hand_files_to(alice_vm)
    alice_vm.hand_files_to(bob_vm)
    stage.note(bob_vm, "demo", "two public files copied each way")
    for host in stage.hosts:
        host.stay_on_loopback()
        host.start()
    for host in stage.hosts:
        stage.serving(host)
    for host in stage.hosts:
        stage.until(f"{host.name}'s link", lambda: stage.link_ups(host))  # noqa: B023


def _enter(stage: Stage, agent: Path) -> Cast:
    """Start the agents: bob, alice, and alice over HTTP."""
    secret = stage.directory / "pair.secret"
    secret.write_text(secrets.token_hex(32))
    secret.chmod(0o600)
    for host in stage.hosts:
        arguments = ("--root", str(host.root), "--name", host.agent, "--secret-file", str(secret))
        stage.actors.append(Actor(host.agent, host.name, agent, stage.log, *arguments))
    there = stage.alice_vm
    arguments = ("--name", there.agent, "--port", str(there.local_port), "--token-file", str(there.token_file))
    stage.actors.append(Actor("alice/http", there.name, CALLER, stage.log, *arguments))
    return Cast(stage, *stage.actors)


# ---------------------------------------------------------------- the end


def _clear_away(stage: Stage, directory: Path, leave: bool) -> None:
    with _handled(signal.SIG_IGN):
        stage.strike()
        if not leave:
            shutil.rmtree(directory, ignore_errors=True)
            return
    places = " and ".join(f"{host.name}/log" for host in stage.hosts)
    stage.timeline.print(f"left for a look: {directory}: {places}, agents.log")
    stage.timeline.print(f"  handoffd ls --root {stage.bob_vm.root}")
    stage.timeline.print(f"  handoffd events --root {stage.alice_vm.root}")


@contextlib.contextmanager
def _all_signals_interrupt() -> Iterator[None]:
    """Let every polite end come as KeyboardInterrupt, so that everything is cleared away."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with _handled(interrupt):
        yield


@contextlib.contextmanager
def _handled(handler: Handler) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in ENDINGS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
