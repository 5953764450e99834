"""`handoffd completion`: what a shell is given really completes, at a real prompt where the shell is here."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from handoffd.cli import invoke

LIMIT_S = 60
SHELLS = ("bash", "zsh", "fish")
TAB = b"\t"

# A busy machine takes its time to start a shell; each wait has its own limit.
pytestmark = pytest.mark.timeout(5 * LIMIT_S)


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert invoke(["completion", shell]) == 0
    return capsys.readouterr().out


def needed(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"needs {shell}: no {shell} here")
    return found


def environment(home: Path) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {"PATH": path, "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


class Prompt:
    """An interactive shell at a terminal of its own."""

    def __init__(self, command: list[str], home: Path) -> None:
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=environment(home), cwd=home, start_new_session=True
        )
        os.close(slave)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read_until(self, pattern: bytes) -> bytes:
        """Return what the terminal shows up to the pattern; fails if it does not come."""
        seen, deadline = b"", time.monotonic() + LIMIT_S
        while re.search(pattern, seen) is None:
            assert time.monotonic() < deadline, seen
            if select.select([self.master], [], [], 1)[0]:
                seen += os.read(self.master, 4096)
        return seen

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.master)


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_accepts_its_script(shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "script").write_text(script(shell, capsys))
    parsed = subprocess.run([needed(shell), "-n", tmp_path / "script"], capture_output=True, text=True, check=False)
    assert (parsed.returncode, parsed.stderr) == (0, "")


def test_a_shell_nobody_wrote_a_script_for_is_refused_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["completion", "tcsh"]) == 2
    assert (
        "'shell': 'tcsh' is not one of 'bash', 'zsh', 'fish'; see `handoffd completion --help`"
        in capsys.readouterr().err
    )


@pytest.fixture
def bash(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "rc").write_text(script("bash", capsys) + "PS1='ready> '\nbind 'set bell-style none'\n")
    (tmp_path / "some-file.yaml").touch()
    prompt = Prompt([needed("bash"), "--noprofile", "--rcfile", str(tmp_path / "rc"), "-i"], tmp_path)
    prompt.read_until(b"ready> ")
    yield prompt
    prompt.end()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        (b"handoffd completi", rb"handoffd completion "),
        (b"handoffd run --con", rb"handoffd run --config "),
        (b"handoffd completion zs", rb"handoffd completion zsh "),
        (b"handoffd check --config some", rb"handoffd check --config some-file\.yaml "),
    ],
)
def test_bash_completes_commands_options_values_and_files(bash: Prompt, typed: bytes, completed: bytes) -> None:
    bash.type(typed + TAB)
    bash.read_until(completed)


ZSH_SETUP = {
    "from a directory of fpath": b"fpath=($PWD $fpath); autoload -U compinit; compinit -D -u",
    "sourced": b"autoload -U compinit; compinit -D -u; source ./_handoffd",
}


@pytest.mark.slow
@pytest.mark.parametrize("way", ZSH_SETUP)
def test_zsh_completes_a_command_each_time(way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    zsh = needed("zsh")
    (tmp_path / "_handoffd").write_text(script("zsh", capsys))
    prompt = Prompt([zsh, "-f", "-i"], tmp_path)
    try:
        prompt.type(ZSH_SETUP[way] + b"; PS1='ready''> '\n")
        prompt.read_until(b"ready> ")
        for _ in range(2):
            prompt.type(b"handoffd completi" + TAB)
            prompt.read_until(rb"on ")
            prompt.type(b"bash >/dev/null\n")
            prompt.read_until(b"ready> ")
    finally:
        prompt.end()


@pytest.mark.slow
def test_fish_completes_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fish = needed("fish")
    (tmp_path / "handoffd.fish").write_text(script("fish", capsys))
    asked = subprocess.run(
        [fish, "--no-config", "-c", 'source handoffd.fish; complete -C "handoffd completi"'],
        cwd=tmp_path,
        env=environment(tmp_path),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    )
    assert [line.split("\t")[0] for line in asked.stdout.splitlines()] == ["completion"]
