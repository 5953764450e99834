"""Every section of the benchmark, with little of everything: it runs, fills the table, and leaves no process behind."""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks.__main__ import PAGE, _measure
from benchmarks.effort import Effort
from benchmarks.measure import NeverArrived
from benchmarks.section import SECTIONS, STANDARD
from benchmarks.table import BEGIN, END, HEADINGS, Row, as_markdown, write_into

PROJECT = Path(__file__).parents[2]
PATIENCE_S = 300


@pytest.fixture
def place() -> Iterator[Path]:
    """On memory where there is some, for speed; a short name in any case, because a unix socket is made below it."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="h-", dir=memory if memory.is_dir() else None) as directory:
        yield Path(directory)


def processes_below(directory: Path) -> list[str]:
    """Command lines of processes that name this directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:  # it has just ended
            continue
        if bytes(directory) in line:
            found.append(line.replace(b"\0", b" ").decode())
    return found


@pytest.mark.slow
@pytest.mark.timeout(PATIENCE_S + 60)
@pytest.mark.parametrize("section", SECTIONS)
def test_a_quick_run_of_each_section_fills_the_table_and_ends_what_it_started(section: str, place: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--quick", "--only", section, "--directory", str(place)]
    run = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line for line in run.stdout.splitlines() if line.startswith("|")]
    assert tuple(cell.strip() for cell in lines[0].strip("|").split("|")) == HEADINGS
    measured = [line.split("|")[2:4] for line in lines[2:]]
    assert measured
    assert all(any(map(str.strip, cells)) for cells in measured), run.stdout
    assert list(place.iterdir()) == []
    assert processes_below(place) == []


def test_what_was_measured_before_a_failure_is_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def half(_: Path, __: Effort) -> Iterator[Row]:
        yield Row("memory", 1.0, " MiB")
        raise NeverArrived("nobody answered")

    monkeypatch.setitem(SECTIONS, "long", half)
    rows, failures = _measure(argparse.Namespace(only=["long"], long=False, quick=True), tmp_path)
    assert [row.figure for row in rows] == ["memory"]
    assert failures == ["not measured: long: nobody answered"]


def test_the_page_names_every_section_and_has_a_place_for_the_table() -> None:
    text = PAGE.read_text()
    (command,) = [line for line in text.splitlines() if line.startswith(".venv/bin/python -m benchmarks --only")]
    assert [name for name in SECTIONS if name not in command] == []
    assert text.index(BEGIN) < text.index(END)
    assert [name for name in STANDARD if name not in SECTIONS] == []


def test_a_table_is_written_between_its_marks_and_nowhere_else(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    rows = [
        Row("drained", 2_345.6, "/s", limit=3_000, sense="at least"),
        Row("against the floor", 3.0, " ms", floor=1.5, limit=2.5, limits_ratio=True),
    ]
    write_into(page, as_markdown(rows))
    before, table, after = page.read_text().replace(END, BEGIN).split(BEGIN)
    assert (before, after) == ("before\n", "\nafter\n")
    assert "| drained           |         | 2,346/s  |       | at least 3,000/s   | no  |" in table
    assert "| against the floor | 1.50 ms | 3.00 ms  | 2.00  | at most 2.5x floor | yes |" in table
