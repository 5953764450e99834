"""`handoffd install-service`: the daemon as a service of the user's own systemd.

It owns which files are written and which commands are run, and says each; the units' words are in `userunit`. The rule
that must stay true: a unit that somebody else wrote is left alone, and without a running systemd the files are there
all the same.
"""

import os
import pwd
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import typer

from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.root import CONFIG
from handoffd.cli.userunit import MARK, SERVICE, units
from handoffd.config import load, locate

SYSTEMCTL_LIMIT_S = 150.0
"""Longer than TimeoutStartSec of the unit: `systemctl restart` waits for recovery."""
LINGER = Path("/var/lib/systemd/linger")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("install-service")(install_service)


def install_service(
    config: Path | None = CONFIG,
    start: bool = typer.Option(True, "--start/--no-start", help="Start it now and with each login, or write only."),
    remove: bool = typer.Option(False, "--remove", help="Stop it and remove what was written."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be done, and do nothing."),
) -> int:
    """Run the daemon as a service of your own systemd (for a user; root has the system unit)."""
    if os.geteuid() == 0:
        raise Failure(
            "this is for a user's own systemd; as root use the system unit, with `User=` for the agents' user: "
            "the Debian package brings it, else see systemd/README.md",
            ExitCode.USAGE,
        )
    work = _Work(_directory(), dry_run)
    if remove:
        return work.remove()
    path = locate(config, os.environ).absolute()
    load(path)  # a service that cannot start is not installed
    return work.install(units(_program(), path), start)


def _directory() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd/user"


def _program() -> list[str]:
    """Return what starts this very installation, whatever PATH a service has."""
    command = Path(sys.executable).with_name("handoffd")
    return [str(command)] if os.access(command, os.X_OK) else [sys.executable, "-P", "-m", "handoffd"]


class _Work:
    """What is written and run, each told; in a dry run told only."""

    def __init__(self, directory: Path, dry_run: bool) -> None:
        self.directory, self.dry_run = directory, dry_run

    def install(self, texts: dict[str, str], start: bool) -> int:
        self._refuse_foreign(texts)
        changed = [self._write(self.directory / name, text) for name, text in texts.items()]
        if not _manager_answers():
            print("no systemd of yours answers here; when it does: systemctl --user enable --now handoffd")
            return ExitCode.OK
        self._systemctl("daemon-reload")
        if start:
            self._systemctl("enable", *texts)
            self._systemctl("restart" if any(changed) else "start", SERVICE)
        if not self.dry_run:
            _tell_how_to_go_on(start)
        return ExitCode.OK

    def remove(self) -> int:
        names = [name for name in units([], Path()) if (self.directory / name).exists()]
        if not names:
            print(f"no unit of handoffd in {self.directory}")
            return ExitCode.OK
        self._refuse_foreign(names)
        answers = _manager_answers()
        if answers:
            self._systemctl("disable", "--now", *names)
        for name in names:
            self._delete(self.directory / name)
        if answers:
            self._systemctl("daemon-reload")
        return ExitCode.OK

    def _refuse_foreign(self, names: Iterable[str]) -> None:
        for path in (self.directory / name for name in names):
            if path.exists() and not path.read_text().startswith(MARK):
                raise Failure(f"{path} was not made by this command and is left as it is; move it away first")

    def _write(self, path: Path, text: str) -> bool:
        """Write one unit; False if it is there already, just so."""
        if path.exists() and path.read_text() == text:
            print(f"kept     {path}")
            return False
        if self.dry_run:
            print(f"would write {path}:", *text.splitlines(), sep="\n    ")
            return True
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text)
        fresh.rename(path)
        print(f"wrote    {path}")
        return True

    def _delete(self, path: Path) -> None:
        if not self.dry_run:
            path.unlink()
        print(f"{'would remove' if self.dry_run else 'removed '} {path}")

    def _systemctl(self, *words: str) -> None:
        command = ("systemctl", "--user", *words)
        if self.dry_run:
            print(f"would run {shlex.join(command)}")
            return
        print(f"run      {shlex.join(command)}", flush=True)
        if _exit_code(command) != 0:
            raise Failure(f"`{shlex.join(command)}` failed; see: journalctl --user -u handoffd")


def _manager_answers() -> bool:
    """Tell whether a systemd of this user is there to be asked."""
    return shutil.which("systemctl") is not None and _exit_code(("systemctl", "--user", "show-environment"), True) == 0


def _exit_code(command: tuple[str, ...], silent: bool = False) -> int:
    stream = subprocess.DEVNULL if silent else None
    try:
        ended = subprocess.run(command, stdout=stream, stderr=stream, check=False, timeout=SYSTEMCTL_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise Failure(f"`{shlex.join(command)}` did not end within {SYSTEMCTL_LIMIT_S:.0f} s") from None
    return ended.returncode


def _tell_how_to_go_on(started: bool) -> None:
    if started:
        print("it runs; see: systemctl --user status handoffd, journalctl --user -u handoffd")
    user = pwd.getpwuid(os.geteuid()).pw_name
    if not (LINGER / user).exists():
        print(f"it ends when you log out; to keep it, and start it at boot: loginctl enable-linger {user}")
