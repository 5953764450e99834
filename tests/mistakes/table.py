"""The table of mistakes, as read from table/*.toml, and how one is planted into a copy of the package.

It owns the text of the patches and knows nothing of what catches them. The rule that must stay true: a patch that does
not fit the code any more is an error with a clear word, never a mistake that is not planted.
"""

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

import handoffd

PACKAGE = Path(handoffd.__file__).parent
TABLE = Path(__file__).with_name("table")


class DoesNotFit(AssertionError):
    """The code that a mistake is to change reads otherwise now."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One patch. `file` is relative to the package, `edits` are old and new text.

    `tests`: what must notice it where the simulator does not play the rule; empty where the simulator must.
    """

    name: str
    chapter: str
    rule: str
    breaks: str
    file: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]

    def planted(self) -> str:
        """Return the file's text with the mistake in it. Raises DoesNotFit."""
        text = (PACKAGE / self.file).read_text()
        for old, new in self.edits:
            if text.count(old) != 1:
                found = "is not" if old not in text else "is more than once"
                raise DoesNotFit(
                    f"mistake {self.name!r}: this {found} in {self.file}, bring its patch up to date:\n{old}"
                )
            text = text.replace(old, new)
        return text

    def plant(self, where: Path) -> None:
        """Copy the package to `where` and break the copy."""
        # Other processes may be compiling the sound text: `.pyc.NUMBER` is there for a moment.
        shutil.copytree(PACKAGE, where / PACKAGE.name, ignore=shutil.ignore_patterns("*.pyc.*"))
        target = where / PACKAGE.name / self.file
        target.write_text(self.planted())
        # Made from the sound text, and valid for this one too if both were written within one second.
        for compiled in (target.parent / "__pycache__").glob(f"{target.stem}.*.pyc"):
            compiled.unlink()


def mistakes() -> list[Mistake]:
    """Return all mistakes, in the order of the specification's chapters."""
    return [_mistake(path, entry) for path in sorted(TABLE.glob("*.toml")) for entry in _entries(path)]


def _entries(path: Path) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = tomllib.loads(path.read_text())["mistake"]
    return entries


def _mistake(path: Path, entry: dict[str, object]) -> Mistake:
    also = entry.get("also", [])
    assert isinstance(also, list)
    return Mistake(
        name=str(entry["name"]),
        chapter=path.stem.partition("-")[2],
        rule=str(entry["rule"]),
        breaks=str(entry["breaks"]),
        file=str(entry["file"]),
        edits=((str(entry["old"]), str(entry["new"])), *((str(old), str(new)) for old, new in also)),
        tests=tuple(map(str, entry.get("tests", []))),  # type: ignore[call-overload]
    )
