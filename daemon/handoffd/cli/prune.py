"""`handoffd prune`: delete old files of archive/ and rejected/, and tell first which.

It owns the age, the pace and the words; which files nobody needs, custody/old.py knows. The rules that must stay true:
without --delete nothing is deleted, nor by a user who may not write it down; a file that changed since it was looked
at stays; and the daemon never waits for a disk that is busy with this.
"""

import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from handoffd.cli.confirm import YES, confirm
from handoffd.cli.failure import ExitCode, Failure
from handoffd.cli.note import journal_of
from handoffd.cli.picture import print_json
from handoffd.cli.root import CONFIG, JSON, ROOT, Root, opened
from handoffd.custody.layout import ARCHIVE, REJECTED
from handoffd.custody.old import Old, Survey, survey
from handoffd.journal import Journal

DEFAULT_AGE = "30d"
LEAST_AGE_S = 3_600.0
"""Younger files are still looked at: by `send --wait`, by an agent that tells its user how a call ended."""
PORTION = 100
PAUSE_S = 0.05
"""Between two portions: what the daemon flushes meanwhile shares the disk's journal with at most one of them."""
_UNIT_S = {"h": 3_600.0, "d": 86_400.0, "w": 604_800.0}
_AGE = re.compile(r"([0-9]{1,6})([hdw])\Z")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("prune")(prune)


def prune(
    older_than: str = typer.Option(DEFAULT_AGE, "--older-than", help="How long ago it ended: 12h, 30d, 8w."),
    only: str | None = typer.Option(None, "--only", help="Only `archive` or only `rejected`.", show_default=False),
    delete: bool = typer.Option(False, "--delete", help="Delete; without it only tell what would be."),
    yes: bool = YES,
    as_json: bool = JSON,
    config: Path | None = CONFIG,
    root: Path | None = ROOT,
) -> None:
    """Delete old files of archive/ and rejected/ that nothing needs any more. Tells, unless --delete is given."""
    age_s, directories = _age_s(older_than), _directories(only)
    with opened(config, root) as ground:
        found = survey(ground.path, directories, ground.now - age_s)
        if not as_json:
            for line in _page(found, directories, older_than):
                typer.echo(line)
        if delete and found.old:
            journal = journal_of(ground)  # who may not write it down may not delete
            confirm(f"Delete {_count(_files(found.old), 'file')} below {ground.path} for good?", yes=yes)
            deleted = _delete(ground, found.old, journal)
        else:
            deleted = []
    if as_json:
        print_json(_fields(found, deleted, directories, dry_run=not delete))
    elif delete:
        typer.echo(f"deleted {_count(_files(deleted), 'file')}, {_bytes(sum(one.size for one in deleted))}")
    elif found.old:
        typer.echo(f"nothing was deleted; `handoffd prune --older-than {older_than} --delete` does it")


def _age_s(text: str) -> float:
    found = _AGE.match(text)
    if found is None:
        raise Failure(
            f"--older-than {text}: give a number and h, d or w, such as 30d; six digits at most", ExitCode.USAGE
        )
    age_s = int(found[1]) * _UNIT_S[found[2]]
    if age_s < LEAST_AGE_S:
        raise Failure(f"--older-than {text}: at least 1h; what ended just now may still be looked at", ExitCode.USAGE)
    return age_s


def _directories(only: str | None) -> tuple[str, ...]:
    if only is None:
        return (ARCHIVE, REJECTED)
    if only not in (ARCHIVE, REJECTED):
        raise Failure(f"--only {only}: {ARCHIVE} or {REJECTED}; nothing else is ever pruned", ExitCode.USAGE)
    return (only,)


def _delete(ground: Root, wanted: list[Old], journal: Journal) -> list[Old]:
    """Delete in portions, oldest first, and write one line of the journal."""
    os.nice(10)
    deleted: list[Old] = []
    try:
        for number, one in enumerate(sorted(wanted, key=lambda one: one.changed_ns)):
            if number and number % PORTION == 0:
                time.sleep(PAUSE_S)
            if _delete_one(ground.path / one.directory, one):
                deleted.append(one)
    finally:
        words = ", ".join(f"{count} of {place}/" for place, count in Counter(one.directory for one in deleted).items())
        journal.write("pruned", detail=f"{words or 'nothing'}: {_files(deleted)} files")
        journal.flush()
    return deleted


def _delete_one(place: Path, one: Old) -> bool:
    """Delete a handoff's files, the reason last; False if any has changed since it was looked at."""
    if any(_changed_ns(place / name) > one.changed_ns for name in one.names):
        return False
    for name in one.names:  # sorted: NAME, NAME.original, NAME.reason
        (place / name).unlink(missing_ok=True)
    return True


def _changed_ns(path: Path) -> int:
    try:
        return path.lstat().st_ctime_ns
    except FileNotFoundError:
        return 0


def _page(found: Survey, directories: tuple[str, ...], age: str) -> Iterator[str]:
    for directory in directories:
        here = [one for one in found.old if one.directory == directory]
        files = f"{_count(_files(here), 'file')}, {_bytes(sum(one.size for one in here))}"
        yield f"{directory + '/':10} {_count(len(here), 'handoff')} older than {age}: {files}"
    kept = {"younger": found.young, "still needed by the daemon": found.needed, "not a handoff's": found.foreign}
    words = ", ".join(f"{count} {why}" for why, count in kept.items() if count)
    yield f"{'kept':10} {words or 'nothing'}"


def _fields(found: Survey, deleted: list[Old], directories: tuple[str, ...], *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "found": {
            directory: [name for one in found.old if one.directory == directory for name in one.names]
            for directory in directories
        },
        "deleted_files": _files(deleted),
        "deleted_bytes": sum(one.size for one in deleted),
        "kept": {"young": found.young, "needed": found.needed, "foreign": found.foreign},
    }


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _files(found: list[Old]) -> int:
    return sum(len(one.names) for one in found)


def _bytes(size: int) -> str:
    number, unit = float(size), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if number < 1024:
            break
        number, unit = number / 1024, larger
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
