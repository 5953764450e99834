"""`handoffd fsck`: what lies below the root against the table of what may lie there.

It owns the second look and the words. It writes nothing and repairs nothing: what is broken needs somebody who knows
why (docs/fsck.md). The rule that must stay true: nothing that was only on its way is called broken.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.failure import ExitCode
from handoffd.cli.picture import SHORT_TID, print_json, printable
from handoffd.cli.root import CONFIG, JSON, ROOT, opened
from handoffd.clock import boot_id
from handoffd.custody.examine import Finding, Report, examine, lasting
from handoffd.custody.flaw import FLAWS, Grade

SECOND_LOOK_S = 3.0
"""Longer than a tick of the daemon (1 s) and the moves that one does: what is still there then is not on its way."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fsck")(fsck)


def fsck(as_json: bool = JSON, config: Path | None = CONFIG, root: Path | None = ROOT) -> None:
    """Check everything below the root against the table of legal states; read-only. Exit 1 if something is broken."""
    with opened(config, root) as ground:
        report = examine(ground.path, boot_id())
        if report.findings:
            time.sleep(SECOND_LOOK_S)
            report = lasting(report, examine(ground.path, boot_id()))
    if as_json:
        print_json(_fields(report))
    else:
        for line in _page(ground.path, report):
            typer.echo(line)
    if report.broken:
        raise typer.Exit(ExitCode.FAILED)


def _page(path: Path, report: Report) -> Iterator[str]:
    for grade in Grade:
        for one in sorted(found for found in report.findings if found.grade is grade):
            yield from _lines(one)
    yield f"{path}: {report.open} open, {report.ended} ended, {report.quarantined} in quarantine; {_verdict(report)}"


def _lines(one: Finding) -> Iterator[str]:
    flaw, tid = FLAWS[one.what], "" if one.tid is None else f" {one.tid[:SHORT_TID]}"
    detail = f" ({printable(one.detail)})" if one.detail else ""
    yield f"{one.grade.value:10} {one.what.value}{tid}: {flaw.means}{detail}"
    for path in one.paths:
        yield f"{'':10} {printable(path)}"
    if one.grade is not Grade.UNFINISHED:
        yield f"{'':10} -> {flaw.remedy}"


def _verdict(report: Report) -> str:
    counts = [(grade, sum(one.grade is grade for one in report.findings)) for grade in Grade]
    words = ", ".join(f"{count} {grade.value}" for grade, count in counts if count)
    return words or "nothing wrong"


def _fields(report: Report) -> dict[str, Any]:
    return {
        "open": report.open,
        "ended": report.ended,
        "quarantined": report.quarantined,
        "findings": [
            {
                "what": one.what.value,
                "grade": one.grade.value,
                "tid": one.tid,
                "paths": list(one.paths),
                "detail": one.detail,
                "means": FLAWS[one.what].means,
                "remedy": FLAWS[one.what].remedy,
            }
            for one in sorted(report.findings)
        ],
    }
