"""The frame around the code: locks, links, decisions."""

import re
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
LOCKS = sorted((PROJECT / "requirements").glob("*.txt"))
DECISIONS = sorted((PROJECT / "docs" / "adr").glob("[0-9]*.md"))
PAGES = [
    page
    for folder in (
        ".",
        "docs",
        "docs/adr",
        "docs/news",
        "model",
        "packaging",
        "requirements",
        "systemd",
        "integration",
        "benchmarks",
    )
    for page in sorted((PROJECT / folder).glob("*.md"))
]


def requirements(lock: Path) -> list[str]:
    """Each requirement of a lock on one line, with its hashes."""
    return lock.read_text().replace("\\\n", " ").splitlines()


def pinned(lock: Path) -> set[str]:
    return {line.split("==")[0].lower() for line in requirements(lock)}


def declared(*, extra: str | None = None) -> set[str]:
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lines = project["optional-dependencies"][extra] if extra else project["dependencies"]
    return {re.split(r"[<>=;!~ ]", line)[0].lower() for line in lines}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_every_locked_package_has_a_version_and_hashes(lock: Path) -> None:
    loose = [line for line in requirements(lock) if not re.match(r"[a-z0-9-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]
    assert loose == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_names_no_package_index(lock: Path) -> None:
    assert "://" not in lock.read_text()


def test_the_locks_cover_what_is_declared() -> None:
    assert declared() <= pinned(PROJECT / "requirements/run.txt")
    assert declared(extra="dev") <= pinned(PROJECT / "requirements/dev.txt")


def test_the_locks_agree_with_each_other() -> None:
    versions: dict[str, set[str]] = {}
    for lock in LOCKS:
        for line in requirements(lock):
            name, version = line.split()[0].split("==")
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_every_runtime_dependency_has_its_reason_written_down() -> None:
    reasons = (PROJECT / "docs/adr/0003-runtime-dependencies.md").read_text()
    assert [name for name in sorted(declared()) if name not in reasons] == []


def test_the_list_of_decisions_is_complete_and_titled_as_the_pages_are() -> None:
    listed = re.findall(
        r"^\| \[(\d{4})\]\((\S+)\) \| (.+) \|$", (PROJECT / "docs/adr/README.md").read_text(), re.MULTILINE
    )
    titles = [page.read_text().splitlines()[0] for page in DECISIONS]
    assert [(page.name[:4], page.name) for page in DECISIONS] == [(number, name) for number, name, _ in listed]
    assert titles == [f"# {number}: {title}" for number, _, title in listed]


@pytest.mark.parametrize("page", DECISIONS, ids=lambda path: path.name)
def test_a_decision_says_what_why_and_what_follows(page: Path) -> None:
    chapters = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    assert chapters == ["Situation", "Decision", "Why not otherwise", "What follows"]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    lost = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert lost == []


def test_news_fragments_have_a_kind_that_the_changelog_knows() -> None:
    kinds = {"added", "changed", "fixed", "removed", "security"}
    fragments = [path for path in (PROJECT / "docs/news").glob("*.md") if path.name != "README.md"]
    assert [path.name for path in fragments if path.name.split(".")[1] not in kinds] == []
