"""`handoffd demo`: it keeps its promises, says so when one is broken, and leaves nothing behind."""

import contextlib
import io
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from handoffd.demo import kill, play
from handoffd.demo.play import AGENT
from handoffd.demo.stage import END_PATIENCE_S, LIMIT_S

COMMAND = "import sys; from handoffd.__main__ import outcome; sys.exit(outcome(['demo']))"

DEADLINE_S = 60.0

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    """Where the demonstration makes its directory. pytest's own comes first: it asks tempfile as well."""
    directory = Path(tempfile.mkdtemp(prefix="h-"))
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    monkeypatch.setenv("TMPDIR", str(directory))
    yield directory
    assert processes_below(directory) == []
    shutil.rmtree(directory)


def processes_below(directory: Path) -> list[str]:
    """Return the command lines of all processes that name the directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace").replace("\0", " ")
            found += [words] if str(directory) in words else []
    return found


def altered_agent(directory: Path, old: str, new: str) -> Path:
    """Return an agent script with one passage changed."""
    text = AGENT.read_text()
    assert text.count(old) == 1
    script = directory / "altered.py"
    script.write_text(text.replace(old, new))
    return script


def verdicts(out: io.StringIO) -> list[str]:
    return [line.split()[0] for line in out.getvalue().splitlines() if line.startswith(("  ok  ", "  NO  "))]


def let_pass(out: io.StringIO) -> int:
    """Return how many transfers were not caught; each is a handoff more."""
    return out.getvalue().count("lets this call pass and tries again")


def test_everything_promised_is_seen_and_nothing_is_left(place):
    out = io.StringIO()
    assert play(out), out.getvalue()
    assert verdicts(out) == ["ok"] * 18
    assert list(place.iterdir()) == []
    assert "\x1b" not in out.getvalue()


def test_it_can_be_kept_for_a_look(place):
    out = io.StringIO()
    assert play(out, keep=True), out.getvalue()
    (kept,) = place.iterdir()
    assert f"left for a look: {kept}" in out.getvalue()
    assert len(list((kept / "bob-vm/shared/archive").glob("*.original"))) == 4 + let_pass(out)


def test_an_agent_that_archives_other_bytes_than_it_says_is_found_out(place, tmp_path):
    liar = altered_agent(tmp_path, 'self.put("archive", name, content)', 'self.put("archive", name, content + b" ")')
    out = io.StringIO()
    assert not play(out, agent=liar)
    broken = [line for line in out.getvalue().splitlines() if line.startswith("  NO  ")]
    assert len(broken) == 4
    assert all("final transcript" in line and "is not" in line for line in broken)
    assert "14 of 18 as promised" in out.getvalue()


def test_a_transfer_that_was_not_caught_is_let_pass_and_another_is_caught(monkeypatch):
    missed = [0]
    see = kill._unread
    monkeypatch.setattr(kill, "_unread", lambda errand: missed.pop() if missed else see(errand))
    out = io.StringIO()
    assert play(out), out.getvalue()
    assert missed == []
    assert (passed := let_pass(out)) >= 1, "and more where another program had the processor"
    assert f"{7 + passed} of {7 + passed} handoffs" in out.getvalue()


def test_an_agent_that_dies_is_named_and_its_traceback_is_kept(place, tmp_path):
    dying = altered_agent(
        tmp_path, "        return self.claim(self.see()[", "        1 / 0\n        return self.claim(self.see()["
    )
    out = io.StringIO()
    assert not play(out, agent=dying)
    assert "never seen: an answer of alice, which ended with exit code 1" in out.getvalue()
    (kept,) = place.iterdir()
    assert "ZeroDivisionError" in (kept / "agents.log").read_text()


def test_the_command_exits_with_1_when_something_is_not_as_promised():
    script = f"from handoffd.demo import host; host.HANDOFFD = ('false',); {COMMAND}"
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert "`handoffd init` ended with exit code 1" in done.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_it_ends_what_it_started_and_removes_its_directory(place, number):
    with subprocess.Popen(
        [sys.executable, "-m", "handoffd", "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout:
            if line.startswith("1 "):  # the first scene: daemons and agents run
                break
        assert len(processes_below(place)) == 5
        process.send_signal(number)
        process.stdout.read()
        errors = process.stderr.read()
    assert process.returncode == 130
    assert errors == "handoffd: interrupted; everything that ran was ended\n"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("scene", ["1 ", "2 ", "4 "])
def test_killed_it_leaves_no_process(place, scene):
    """Whatever it is at, also with a daemon that it has stopped."""
    with subprocess.Popen([sys.executable, "-m", "handoffd", "demo"], stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            if line.startswith(scene):
                break
        assert processes_below(place)
        if scene == "4 ":
            assert any("holds the daemon still" in line for line in process.stdout)
        process.kill()
    deadline = time.monotonic() + DEADLINE_S
    while left := processes_below(place):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)


def test_it_ends_by_itself_within_half_a_minute():
    assert LIMIT_S + END_PATIENCE_S < 30
