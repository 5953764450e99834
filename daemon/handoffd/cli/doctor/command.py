"""`handoffd doctor`: what is wrong here, and what to do about it.

It owns the order of the examinations, their bulkhead and the exit code. The rule that must stay true: an examination
that fails itself never hides the others, and is told.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import typer

from handoffd import __version__
from handoffd.cli.doctor import paper, peer, process, queue, report, roundtrip, secret, storage
from handoffd.cli.doctor.finding import Finding, Level, unchecked
from handoffd.cli.doctor.patient import Patient, meet
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.picture import print_json
from handoffd.cli.root import CONFIG, JSON, who_may
from handoffd.config import ConfigError, locate

Examination = Callable[[Patient], Iterator[Finding]]

EXAMINATIONS: tuple[Examination, ...] = (
    paper.configuration,
    paper.certificates,
    secret.secrets,
    storage.storage,
    storage.disk,
    storage.watch,
    process.daemon,
    process.ports,
    queue.queues,
    peer.peers,
    roundtrip.round_trips,
)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    config: Path | None = CONFIG,
    secret_file: list[Path] = typer.Option(
        [],
        "--secret-file",
        help="Also judge the secret in this file; repeat for more.",
        show_default=False,
        readable=False,
    ),
    offline: bool = typer.Option(False, "--offline", help="Ask no peer, send no canary."),
    as_json: bool = JSON,
) -> int:
    """Find what is wrong with this host and its links, prove a round trip to each peer, and name the remedies."""
    try:
        patient = meet(locate(config, os.environ), tuple(secret_file))
    except ConfigError as error:
        if as_json:
            print_json(report.fields(paper.problems(error.problems), "", __version__))
        raise
    except PermissionError as error:
        raise Failure(who_may(Path(error.filename).parent, error), ExitCode.PERMISSION) from None
    findings = [one for exam in EXAMINATIONS for one in _examined(exam, patient, offline=offline)]
    if as_json:
        print_json(report.fields(findings, patient.host, __version__))
    else:
        for line in report.page(findings, patient.host):
            typer.echo(line)
    failed = any(one.level is Level.FAILURE for one in findings)
    return ExitCode.FAILED if failed else ExitCode.OK


def _examined(exam: Examination, patient: Patient, *, offline: bool) -> list[Finding]:
    if offline and exam in (peer.peers, roundtrip.round_trips):
        return [unchecked(exam.__name__.replace("_", " "), "--offline")]
    found = []
    try:
        for one in exam(patient):
            found.append(one)
    except OSError as error:
        found.append(
            unchecked(exam.__name__.replace("_", " "), f"{error.filename or exam.__name__}: {error.strerror or error}")
        )
    return found
