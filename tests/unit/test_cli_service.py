"""`handoffd install-service`: what it writes, what it asks of systemd, and what it leaves alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from handoffd.cli import invoke
from handoffd.cli.userunit import units

ANSWERS, SILENT = "exit 0", "exit 1"


class Home:
    """A user's home with a configuration, and a systemctl that notes what it is asked."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.monkeypatch = place, monkeypatch
        self.units = place / ".config/systemd/user"
        (place / "bin").mkdir()
        (place / "root").mkdir()
        monkeypatch.setattr(os, "geteuid", lambda: 12345 if os.getuid() == 0 else os.getuid())
        monkeypatch.setattr("pwd.getpwuid", lambda uid: type("Entry", (), {"pw_name": "bob"}))
        monkeypatch.setenv("HOME", str(place))
        monkeypatch.setenv("PATH", f"{place / 'bin'}:/usr/bin:/bin")
        for name in ("XDG_CONFIG_HOME", "HANDOFFD_CONFIG"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.chdir(place)
        self.systemctl(ANSWERS)

    def systemctl(self, script: str) -> None:
        program = self.place / "bin/systemctl"
        program.write_text(f'#!/bin/sh\necho "$@" >>{self.place}/asked\n{script}\n')
        program.chmod(0o755)

    def asked(self) -> list[str]:
        lines = (self.place / "asked").read_text().splitlines()
        return [line.removeprefix("--user ") for line in lines if "show-environment" not in line]

    def configure(self) -> Path:
        own = ["--host=bob-vm", "--agent=bob", f"--root={self.place}/root", f"--dir={self.place}/.config/handoffd"]
        assert invoke(["init", *own]) == 0
        return self.place / ".config/handoffd/handoffd.yaml"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Home:
    made = Home(tmp_path, monkeypatch)
    made.configure()
    capsys.readouterr()
    return made


def install(*more: str) -> int:
    return invoke(["install-service", *more])


def test_it_writes_both_units_starts_the_daemon_and_says_so(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert install() == 0

    service = (home.units / "handoffd.service").read_text()
    command = Path(sys.executable).with_name("handoffd")
    assert f"\nExecStart={command} run --config {home.place}/.config/handoffd/handoffd.yaml\n" in service
    assert home.asked() == [
        "daemon-reload",
        "enable handoffd.service handoff-agents.target",
        "restart handoffd.service",
    ]
    told = capsys.readouterr().out
    assert f"wrote    {home.units}/handoffd.service\n" in told
    assert "loginctl enable-linger bob" in told


def test_again_it_changes_nothing_and_restarts_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    install()
    (home.place / "asked").unlink()
    assert install() == 0
    assert home.asked()[-1] == "start handoffd.service"
    assert f"kept     {home.units}/handoffd.service\n" in capsys.readouterr().out


def test_without_a_systemd_the_files_are_there_all_the_same(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.systemctl(SILENT)
    assert install() == 0
    assert sorted(path.name for path in home.units.iterdir()) == ["handoff-agents.target", "handoffd.service"]
    assert home.asked() == []
    assert "when it does: systemctl --user enable --now handoffd\n" in capsys.readouterr().out


def test_a_dry_run_shows_everything_and_does_nothing(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert install("--dry-run") == 0
    assert not home.units.exists()
    assert home.asked() == []
    told = capsys.readouterr().out
    assert "would run systemctl --user restart handoffd.service\n" in told
    assert "\n    Type=notify\n" in told


def test_it_can_write_and_not_start(home: Home) -> None:
    assert install("--no-start") == 0
    assert home.asked() == ["daemon-reload"]


def test_a_start_that_fails_is_told_with_where_to_look(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.systemctl('case "$*" in *restart*) exit 1;; esac')
    assert install() == 1
    assert "failed; see: journalctl --user -u handoffd" in capsys.readouterr().err


def test_a_unit_that_somebody_else_wrote_is_left_alone(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.units.mkdir(parents=True)
    (home.units / "handoffd.service").write_text("[Service]\nExecStart=/bin/true\n")
    assert install() == 1
    assert install("--remove") == 1
    assert (home.units / "handoffd.service").read_text() == "[Service]\nExecStart=/bin/true\n"
    assert "was not made by this command" in capsys.readouterr().err


def test_it_takes_away_what_it_wrote(home: Home) -> None:
    install()
    (home.place / "asked").unlink()
    assert install("--remove") == 0
    assert list(home.units.iterdir()) == []
    assert home.asked() == ["disable --now handoffd.service handoff-agents.target", "daemon-reload"]
    assert install("--remove") == 0


def test_a_service_that_could_not_start_is_not_installed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.place / ".config/handoffd/handoffd.yaml").write_text("hots: bob-vm\n")
    assert install() == 2
    assert "hots" in capsys.readouterr().err
    assert not home.units.exists()


def test_root_is_sent_to_the_system_unit(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert install() == 2
    assert "systemd/README.md" in capsys.readouterr().err


def test_systemd_accepts_the_units_without_a_warning(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("needs systemd: no systemd-analyze here")
    for name, text in units(["/usr/bin/env"], Path("/home/bob smith/50%/$x/handoffd.yaml")).items():
        (tmp_path / name).write_text(text)
    verdict = subprocess.run(
        ["systemd-analyze", "--user", "verify", *tmp_path.iterdir()],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verdict.returncode, verdict.stdout + verdict.stderr) == (0, "")


def test_a_path_is_quoted_as_systemd_reads_it() -> None:
    service = units(["/opt/handoffd/bin/handoffd"], Path("/home/bob smith/50%/$x"))["handoffd.service"]
    assert '\nExecStart=/opt/handoffd/bin/handoffd run --config "/home/bob smith/50%%/$$x"\n' in service
